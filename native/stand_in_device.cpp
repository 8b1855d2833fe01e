// A device for tests that stands in for a GPU where there is none: its memory is the host's, its operators are those of the CPU, but
// libtorch keeps it apart from the CPU as it does a GPU, on a thread of its own in backward. Tensors of both in one operator are refused.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr auto kKind = c10::DeviceType::PrivateUse1;
std::atomic<int64_t> g_reads{0}, g_limit{0};

/// One device, whose streams and events have nothing to wait for: all is done when it is asked for.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kKind; }
  c10::Device exchangeDevice(c10::Device) const override { return getDevice(); }
  c10::Device getDevice() const override { return c10::Device(kKind, 0); }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device device) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, stream.device()); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void synchronizeStream(const c10::Stream&) const override {}
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

void release(void* storage) { delete static_cast<c10::Storage*>(storage); }

/// The same memory as a tensor of another device.
at::Tensor alias(const at::Tensor& t, c10::Device device, c10::DispatchKey key) {
  const c10::Storage& storage = t.storage();
  c10::Storage shared;
  if (storage.data_ptr().get_deleter() == &release) {  // made here: back to what it was made of
    shared = *static_cast<c10::Storage*>(storage.data_ptr().get_context());
  } else {
    const void* data = storage.data();
    c10::DataPtr pointer(const_cast<void*>(data), new c10::Storage(storage), &release, device);
    shared = c10::Storage(c10::Storage::use_byte_size_t(), storage.nbytes(), std::move(pointer), nullptr, false);
  }
  at::Tensor result = at::detail::make_tensor<c10::TensorImpl>(std::move(shared), c10::DispatchKeySet(key), t.dtype());
  auto* impl = result.unsafeGetTensorImpl();
  impl->set_sizes_and_strides(t.sizes(), t.strides());
  impl->set_storage_offset(t.storage_offset());
  if (t.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
  return result;
}

at::Tensor on_host(const at::Tensor& t) {
  return t.defined() && t.device().type() == kKind ? alias(t, c10::Device(c10::kCPU), c10::DispatchKey::CPU) : t;
}
at::Tensor on_device(const at::Tensor& t) {
  return t.defined() && t.device().is_cpu() ? alias(t, c10::Device(kKind, 0), c10::DispatchKey::PrivateUse1) : t;
}

/// What a call's tensors were before they became the host's, so that those written in place are given back as they are.
struct Arguments {
  std::vector<std::pair<at::Tensor, at::Tensor>> known;  // host, before
  bool device = false, host = false;

  at::Tensor take(const at::Tensor& t) {
    if (!t.defined()) return t;
    device |= t.device().type() == kKind;
    host |= t.device().is_cpu() && t.dim() > 0;
    at::Tensor own = on_host(t);
    known.emplace_back(own, t);
    return own;
  }
  at::Tensor give(const at::Tensor& t) const {
    for (const auto& pair : known)
      if (t.is_same(pair.first)) return pair.second;
    return device ? on_device(t) : t;
  }
};

/// Refuses a new tensor that is too large, in the words of a full GPU.
void require_room(const at::Tensor& made) {
  const int64_t limit = g_limit, bytes = static_cast<int64_t>(made.nbytes());
  if (limit > 0 && bytes > limit)
    throw c10::OutOfMemoryError({__func__, __FILE__, static_cast<uint32_t>(__LINE__)},
                                "CUDA out of memory. Tried to allocate " + std::to_string(bytes >> 20) +
                                    ".00 MiB. GPU 0 has a total capacity of 1.00 GiB of which 0 bytes is free.");
}

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const size_t count = op.schema().arguments().size(), first = stack->size() - count;
  Arguments all;
  for (size_t i = first; i < stack->size(); ++i) {
    c10::IValue& value = (*stack)[i];
    if (value.isTensor()) {
      value = all.take(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& each : value.toTensorVector()) list.push_back(all.take(each));
      value = list;
    } else if (value.isDevice() && value.toDevice().type() == kKind) {
      all.device = true;
      value = c10::Device(c10::kCPU);
    }
  }
  TORCH_CHECK(!all.device || !all.host, "Expected all tensors to be on the same device, but found tensors of the CPU beside others in ",
              op.schema().name());
  if (op.schema().name() == "aten::_local_scalar_dense" || op.schema().name() == "aten::equal") ++g_reads;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    op.callBoxed(stack);
  }
  for (size_t i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i) {
    c10::IValue& value = (*stack)[i];
    if (value.isTensor()) {
      if (all.device && all.known.empty()) require_room(value.toTensor());
      value = all.give(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& each : value.toTensorVector()) list.push_back(all.give(each));
      value = list;
    }
  }
}

/// Copies cross the border; those to the host are counted.
at::Tensor& copy(at::Tensor& self, const at::Tensor& source, bool) {
  if (source.device().type() == kKind && self.device().is_cpu()) ++g_reads;
  at::AutoDispatchBelowADInplaceOrView below;
  on_host(self).copy_(on_host(source));
  return self;
}

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) { m.impl("copy_", copy); }

/// libtorch's number of this kind of device.
extern "C" __attribute__((visibility("default"))) int hb_stand_in_kind() { return static_cast<int>(kKind); }

/// How often the host has waited for values of the device so far.
extern "C" __attribute__((visibility("default"))) int64_t hb_stand_in_reads() { return g_reads; }

/// The largest tensor that may be made of nothing but its size, as if there were no room for more; 0 for any.
extern "C" __attribute__((visibility("default"))) void hb_stand_in_limit(int64_t bytes) { g_limit = bytes; }

/// A tensor of the CPU over the same memory, for kernels that take its addresses; the caller frees it.
extern "C" __attribute__((visibility("default"))) void* hb_stand_in_on_cpu(void* tensor) {
  return new at::Tensor(on_host(*static_cast<at::Tensor*>(tensor)));
}
