// Devices beside the CPU: how many, which one a thread uses, waiting for one, and what CUDA's streams and caching allocator say. The first
// goes through c10's guards, which every libtorch has; the rest needs c10_cuda, and says what is missing where it is not there.

#include <ATen/Context.h>
#include <c10/core/Device.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdint>
#include <stdexcept>

#include "border.h"
#include "device_support.h"  // what CMake found

#ifdef HB_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>
#endif

using handbook::Error;
using handbook::guarded;

namespace {

/// Null where this libtorch has no such devices.
const c10::impl::DeviceGuardImplInterface* devices(int type) {
  const auto kind = static_cast<c10::DeviceType>(type);
  return c10::impl::hasDeviceGuardImpl(kind) ? c10::impl::getDeviceGuardImpl(kind) : nullptr;
}

const c10::impl::DeviceGuardImplInterface& needed(int type) {
  const auto* found = devices(type);
  if (found == nullptr)
    throw std::runtime_error("this libtorch has no devices of kind " + c10::DeviceTypeName(static_cast<c10::DeviceType>(type)));
  return *found;
}

#ifdef HB_CUDA
template <typename Stats>
void copy_statistics(const Stats& stats, int64_t* values) {
  const auto& used = stats.allocated_bytes[0];  // index 0: of all kinds
  const auto& held = stats.reserved_bytes[0];
  values[0] = used.current;
  values[1] = used.peak;
  values[2] = held.current;
  values[3] = held.peak;
  values[4] = stats.num_alloc_retries;
  values[5] = stats.num_ooms;
}
#endif

}  // namespace

/// Null where CUDA's streams and allocator can be asked, else what is missing.
HB_API const char* hb_cuda_missing() {
#ifdef HB_CUDA
  return nullptr;
#else
  return HB_NO_CUDA;
#endif
}

/// Devices of a kind; 0 where this libtorch or the driver has none.
HB_API int hb_device_count(int type) {
  const auto* found = devices(type);
  return found == nullptr ? 0 : found->deviceCount();
}

/// The device that operators of the calling thread make tensors on where none is named.
HB_API Error hb_device_get(int type, int* index) {
  return guarded([&] { *index = needed(type).getDevice().index(); });
}

HB_API Error hb_device_set(int type, int index) {
  return guarded([&] { needed(type).setDevice(c10::Device(static_cast<c10::DeviceType>(type), static_cast<c10::DeviceIndex>(index))); });
}

/// Waits until a device has done all that it was given by any stream of c10's default.
HB_API Error hb_device_synchronize(int type, int index) {
  return guarded([&] {
    const auto& guard = needed(type);
    const c10::Device device(static_cast<c10::DeviceType>(type), static_cast<c10::DeviceIndex>(index));
    guard.synchronizeStream(guard.getStream(device));
  });
}

/// The driver's handle of the stream that operators of the calling thread use on a CUDA device.
HB_API Error hb_cuda_stream(int index, void** stream) {
  return guarded([&] {
#ifdef HB_CUDA
    *stream = c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(index)).stream();
#else
    (void)index, (void)stream;
    throw std::runtime_error(HB_NO_CUDA);
#endif
  });
}

/// Bytes of tensors now and at most, bytes held from the card now and at most, allocations that had to give cached memory back, and those
/// that failed.
HB_API Error hb_cuda_memory(int index, int64_t* values) {
  return guarded([&] {
#ifdef HB_CUDA
    copy_statistics(c10::cuda::CUDACachingAllocator::getDeviceStats(static_cast<c10::DeviceIndex>(index)), values);
#else
    (void)index, (void)values;
    throw std::runtime_error(HB_NO_CUDA);
#endif
  });
}

/// Begins new peaks of hb_cuda_memory at what is in use now.
HB_API Error hb_cuda_reset_peak(int index) {
  return guarded([&] {
#ifdef HB_CUDA
    c10::cuda::CUDACachingAllocator::resetPeakStats(static_cast<c10::DeviceIndex>(index));
#else
    (void)index;
    throw std::runtime_error(HB_NO_CUDA);
#endif
  });
}

/// Rules of all operators: whether float32 products may round their operands to ten bits, and whether only operators are taken that give
/// the same bits every time.
HB_API Error hb_cuda_rules(int tf32, int deterministic) {
  return guarded([&] {
    at::globalContext().setAllowTF32CuBLAS(tf32 != 0);
    at::globalContext().setAllowTF32CuDNN(tf32 != 0);
    at::globalContext().setDeterministicAlgorithms(deterministic != 0, false);
  });
}

/// Gives memory that no tensor uses back to the card.
HB_API Error hb_cuda_trim() {
  return guarded([&] {
#ifdef HB_CUDA
    c10::cuda::CUDACachingAllocator::emptyCache();
#else
    throw std::runtime_error(HB_NO_CUDA);
#endif
  });
}
