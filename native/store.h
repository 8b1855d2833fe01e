// A handle of C# to a c10d store.
#pragma once

#include "process_groups.h"  // what CMake found

#ifdef HB_C10D

#include <torch/csrc/distributed/c10d/Store.hpp>

namespace handbook {

using StorePointer = c10::intrusive_ptr<c10d::Store>;

inline StorePointer& store(void* handle) { return *static_cast<StorePointer*>(handle); }

}  // namespace handbook

#endif
