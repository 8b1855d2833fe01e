#pragma once
#include <cstdint>

namespace handbook {

/// Installs the arena as libtorch's CPU allocator; later calls do nothing.
void install_allocator();

/// Bytes in use, the peak since the last reset, and the bytes of the arena that have ever been touched.
void memory_statistics(int64_t& used, int64_t& peak, int64_t& touched);
void reset_peak();

/// Gives pages of free blocks back to the system.
void trim();

}  // namespace handbook
