// The C ABI between .NET and libtorch. One generic call reaches every operator of the dispatcher; beside it stands only
// what the dispatcher cannot do. A function that can fail returns its error: null where all went well, else a message that
// the caller gives back to hb_free_error. Tensors cross the border as owned pointers to at::Tensor.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/from_blob.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "allocator.h"
#include "block_products.h"
#include "border.h"
#include "row_products.h"

using handbook::Error;
using handbook::guarded;
using handbook::tensor;

namespace {

void* own(at::Tensor value) { return value.defined() ? new at::Tensor(std::move(value)) : nullptr; }

enum Tag : int32_t {
  kNone = 0,
  kTensor = 1,
  kInt = 2,
  kDouble = 3,
  kBool = 4,
  kIntList = 5,
  kDoubleList = 6,
  kTensorList = 7,
  kString = 8,
  kDevice = 9,  // i: type << 32 | index + 1
  kDefault = 10,
  kOptionalTensorList = 11,
};

struct Value {
  int32_t tag;
  int32_t count;
  union {
    int64_t i;
    double d;
    void* p;
  };
};

c10::Device device_of(int64_t code) {
  return c10::Device(static_cast<c10::DeviceType>(code >> 32), static_cast<c10::DeviceIndex>((code & 0xffffffff) - 1));
}

c10::IValue to_ivalue(const Value& value) {
  switch (value.tag) {
    case kNone:
      return {};
    case kTensor:
      return value.p == nullptr ? c10::IValue(at::Tensor()) : c10::IValue(*tensor(value.p));
    case kInt:
      return c10::IValue(value.i);
    case kDouble:
      return c10::IValue(value.d);
    case kBool:
      return c10::IValue(value.i != 0);
    case kIntList: {
      const auto* items = static_cast<const int64_t*>(value.p);
      return c10::IValue(c10::List<int64_t>(c10::ArrayRef<int64_t>(items, value.count)));
    }
    case kDoubleList: {
      const auto* items = static_cast<const double*>(value.p);
      return c10::IValue(c10::List<double>(c10::ArrayRef<double>(items, value.count)));
    }
    case kTensorList: {
      auto** items = static_cast<void**>(value.p);
      c10::List<at::Tensor> list;
      for (int32_t i = 0; i < value.count; ++i) list.push_back(*tensor(items[i]));
      return c10::IValue(list);
    }
    case kOptionalTensorList: {
      auto** items = static_cast<void**>(value.p);
      c10::List<c10::optional<at::Tensor>> list;
      for (int32_t i = 0; i < value.count; ++i)
        list.push_back(items[i] == nullptr ? c10::optional<at::Tensor>() : c10::optional<at::Tensor>(*tensor(items[i])));
      return c10::IValue(list);
    }
    case kString:
      return c10::IValue(std::string(static_cast<const char*>(value.p), value.count));
    case kDevice:
      return c10::IValue(device_of(value.i));
    default:
      throw std::runtime_error("an argument of unknown kind");
  }
}

}  // namespace

HB_API void hb_free_error(Error error) {
  if (error != handbook::g_no_memory) free(error);
}

HB_API const char* hb_version() { return TORCH_VERSION; }

HB_API void hb_initialize() { handbook::install_allocator(); }

// ---- operators ----------------------------------------------------------------------------------------------------

/// The operator's handle, or null where this installation does not have it.
HB_API void* hb_find(const char* name, const char* overload) {
  try {
    auto found = c10::Dispatcher::singleton().findSchema({name, overload});
    return found ? new c10::OperatorHandle(*found) : nullptr;
  } catch (...) {
    return nullptr;
  }
}

/// The operator's schema in words: arguments with types, names and defaults, and results. The text goes back to hb_free_error.
HB_API Error hb_schema(void* op, char** text) {
  return guarded([&] {
    std::ostringstream words;
    words << static_cast<c10::OperatorHandle*>(op)->schema();
    *text = handbook::error_of(words.str().c_str());
  });
}

namespace {

void drop_results(const Value* results, int count) {
  for (int i = 0; i < count; ++i)
    if (results[i].tag == kTensor) delete tensor(results[i].p);
}

}  // namespace

/// Calls an operator. Missing trailing arguments and kDefault take the schema's default. Tensor lists are returned flat.
HB_API Error hb_call(void* op, const Value* arguments, int count, Value* results, int capacity, int* produced) {
  return guarded([&] {
    const auto& handle = *static_cast<c10::OperatorHandle*>(op);
    const auto& schema = handle.schema().arguments();
    torch::jit::Stack stack;
    stack.reserve(schema.size());
    for (size_t i = 0; i < schema.size(); ++i) {
      const bool given = static_cast<int>(i) < count && arguments[i].tag != kDefault;
      if (given) {
        stack.push_back(to_ivalue(arguments[i]));
      } else if (schema[i].default_value()) {
        stack.push_back(*schema[i].default_value());
      } else {
        throw std::runtime_error("argument '" + schema[i].name() + "' is missing");
      }
    }
    handle.callBoxed(&stack);
    *produced = 0;
    auto put = [&](Value value) {
      if (*produced < capacity) {
        results[*produced] = value;
      } else if (value.tag == kTensor) {
        delete tensor(value.p);
      }
      ++*produced;
    };
    auto put_tensor = [&](const at::Tensor& value) {
      Value result{};
      result.tag = kTensor;
      result.p = own(value);
      put(result);
    };
    for (auto& item : stack) {
      Value result{};
      if (item.isTensor()) {
        put_tensor(item.toTensor());
      } else if (item.isTensorList()) {
        for (const at::Tensor& each : item.toTensorVector()) put_tensor(each);
      } else if (item.isInt()) {
        result.tag = kInt;
        result.i = item.toInt();
        put(result);
      } else if (item.isBool()) {
        result.tag = kBool;
        result.i = item.toBool();
        put(result);
      } else if (item.isDouble()) {
        result.tag = kDouble;
        result.d = item.toDouble();
        put(result);
      } else if (item.isScalar()) {
        result.tag = kDouble;
        result.d = item.toScalar().toDouble();
        put(result);
      } else if (item.isNone()) {
        put(result);
      } else {
        drop_results(results, std::min(*produced, capacity));
        throw std::runtime_error("a result of a kind that is not supported: " + item.tagKind());
      }
    }
    if (*produced > capacity) {
      drop_results(results, capacity);
      throw std::runtime_error(std::to_string(*produced) + " results, where at most " + std::to_string(capacity) + " were expected");
    }
  });
}

// ---- tensors ------------------------------------------------------------------------------------------------------

HB_API void hb_free(void* handle) { delete tensor(handle); }

HB_API void* hb_copy_handle(void* handle) { return own(*tensor(handle)); }

/// A tensor over foreign memory; release(context) is called when its last reference is gone.
HB_API Error hb_from_blob(void* data, const int64_t* sizes, const int64_t* strides, int dims, int dtype, int64_t device,
                          void (*release)(void*), void* context, void** result) {
  return guarded([&] {
    auto options = at::TensorOptions().dtype(static_cast<c10::ScalarType>(dtype)).device(device_of(device));
    at::IntArrayRef shape(sizes, dims);
    auto deleter = [release, context](void*) {
      if (release != nullptr) release(context);
    };
    at::Tensor made = strides == nullptr ? at::from_blob(data, shape, deleter, options)
                                         : at::from_blob(data, shape, at::IntArrayRef(strides, dims), deleter, options);
    *result = own(made);
  });
}

struct Info {
  int64_t sizes[8];
  int64_t strides[8];
  void* data;
  int64_t device;
  int32_t dims;
  int32_t dtype;
  int32_t flags;  // 1 requires grad, 2 contiguous, 4 has gradient, 8 is leaf
  int32_t reserved;
};

HB_API Error hb_info(void* handle, Info* info) {
  return guarded([&] {
    const at::Tensor& t = *tensor(handle);
    const int64_t dims = t.dim();
    if (dims > 8) throw std::runtime_error("a tensor of more than 8 dimensions");
    info->dims = static_cast<int32_t>(dims);
    for (int64_t i = 0; i < dims; ++i) {
      info->sizes[i] = t.size(i);
      info->strides[i] = t.stride(i);
    }
    info->data = t.device().is_meta() ? nullptr : t.data_ptr();
    info->dtype = static_cast<int32_t>(t.scalar_type());
    const auto device = t.device();
    info->device = (static_cast<int64_t>(device.type()) << 32) | static_cast<uint32_t>(device.index() + 1);
    info->flags = (t.requires_grad() ? 1 : 0) | (t.is_contiguous() ? 2 : 0) | (t.is_leaf() ? 8 : 0);
    if (t.is_leaf() && t.grad().defined()) info->flags |= 4;
  });
}

HB_API Error hb_requires_grad(void* handle, int value) {
  return guarded([&] { tensor(handle)->requires_grad_(value != 0); });
}

HB_API Error hb_grad(void* handle, void** result) {
  return guarded([&] { *result = own(tensor(handle)->grad()); });
}

HB_API Error hb_set_grad(void* handle, void* grad) {
  return guarded([&] { tensor(handle)->mutable_grad() = grad == nullptr ? at::Tensor() : *tensor(grad); });
}

// ---- autograd -----------------------------------------------------------------------------------------------------

HB_API int hb_grad_mode() { return at::GradMode::is_enabled() ? 1 : 0; }

HB_API void hb_set_grad_mode(int enabled) { at::GradMode::set_enabled(enabled != 0); }

/// Backward of a node written in C#: reads `inputs` borrowed gradients (null: none), fills `outputs` owned gradients (null: none).
/// Answers null, or a handle of what went wrong there.
using ManagedBackward = void* (*)(void* context, void** gradients, int inputs, void** results, int outputs);
using ManagedRelease = void (*)(void* handle);

namespace {

/// An exception of C# on its way through libtorch, from whichever of libtorch's threads it was thrown on to the caller of backward.
class ManagedFailure : public std::runtime_error {
 public:
  ManagedFailure(void* handle, ManagedRelease release)
      : std::runtime_error("a backward function in C# failed"), handle_(std::make_shared<Handle>(handle, release)) {}

  /// The handle, which is the caller's from here on.
  void* take() const { return std::exchange(handle_->value, nullptr); }

 private:
  struct Handle {
    Handle(void* value, ManagedRelease release) : value(value), release(release) {}
    ~Handle() {
      if (value != nullptr) release(value);
    }
    void* value;
    ManagedRelease release;
  };
  std::shared_ptr<Handle> handle_;  // exceptions are copied
};

struct ManagedNode : torch::autograd::Node {
  ManagedBackward backward = nullptr;
  ManagedRelease release = nullptr;
  void* context = nullptr;
  std::mutex lock;

  ~ManagedNode() override { drop(); }

  void drop() {
    if (context != nullptr && release != nullptr) release(context);
    context = nullptr;
  }

  std::string name() const override { return "ManagedNode"; }

  void release_variables() override {
    std::lock_guard<std::mutex> guard(lock);
    drop();
  }

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    std::lock_guard<std::mutex> guard(lock);
    if (context == nullptr)
      throw std::runtime_error("backward was called a second time on a graph that was freed; keep it with retainGraph");
    std::vector<void*> in(gradients.size());
    for (size_t i = 0; i < gradients.size(); ++i) in[i] = gradients[i].defined() ? &gradients[i] : nullptr;
    std::vector<void*> out(num_outputs(), nullptr);
    void* failure = backward(context, in.data(), static_cast<int>(in.size()), out.data(), static_cast<int>(out.size()));
    torch::autograd::variable_list results(out.size());
    for (size_t i = 0; i < out.size(); ++i) {
      if (out[i] == nullptr) continue;
      results[i] = std::move(*tensor(out[i]));
      delete tensor(out[i]);
    }
    if (failure != nullptr) throw ManagedFailure(failure, release);
    return results;
  }
};

/// A new node, held as this libtorch holds its nodes: by std::shared_ptr, in newer ones by c10::intrusive_ptr.
template <typename Made, typename Pointer>
Pointer make_node() {
  if constexpr (std::is_same_v<Pointer, std::shared_ptr<torch::autograd::Node>>) {
    return Pointer(new Made(), [](auto* node) { deleteNode(node); });  // looked up by its argument: newer ones do not declare it
  } else {
    return c10::make_intrusive<Made>();
  }
}

using NodePointer = decltype(torch::autograd::Edge::function);

}  // namespace

/// Accumulates gradients. `failure` gets the handle of an exception of C# that ended it, which is then the caller's; null otherwise.
HB_API Error hb_backward(void** roots, void** gradients, int count, int retain_graph, int create_graph, void** failure) {
  *failure = nullptr;
  return guarded([&] {
    std::vector<at::Tensor> outputs, grads;
    for (int i = 0; i < count; ++i) {
      outputs.push_back(*tensor(roots[i]));
      grads.push_back(gradients == nullptr || gradients[i] == nullptr ? at::Tensor() : *tensor(gradients[i]));
    }
    c10::optional<bool> retain;
    if (retain_graph != 0) retain = true;
    try {
      torch::autograd::backward(outputs, grads, retain, create_graph != 0);
    } catch (const ManagedFailure& error) {
      *failure = error.take();
      throw;
    }
  });
}

/// Makes the outputs of a C# forward (computed without gradients) part of the graph. `attached` says whether a node was made; where
/// no input asks for gradients it is not, and the context stays the caller's.
HB_API Error hb_attach(void** inputs, int input_count, void** outputs, int output_count, ManagedBackward backward, ManagedRelease release,
                       void* context, int* attached) {
  *attached = 0;
  return guarded([&] {
    if (!at::GradMode::is_enabled()) return;
    torch::autograd::variable_list in;
    bool any = false;
    for (int i = 0; i < input_count; ++i) {
      in.push_back(inputs[i] == nullptr ? at::Tensor() : *tensor(inputs[i]));
      any = any || (in.back().defined() && in.back().requires_grad());
    }
    if (!any) return;
    NodePointer node = make_node<ManagedNode, NodePointer>();
    auto* managed = static_cast<ManagedNode*>(node.get());
    node->set_next_edges(torch::autograd::collect_next_edges(in));
    for (int i = 0; i < output_count; ++i) torch::autograd::set_history(*tensor(outputs[i]), node);
    managed->backward = backward;
    managed->release = release;
    managed->context = context;
    *attached = 1;
  });
}

// ---- threads, memory ----------------------------------------------------------------------------------------------

HB_API int hb_threads() { return at::get_num_threads(); }

HB_API Error hb_set_threads(int count) {
  return guarded([&] { at::set_num_threads(count); });
}

/// Runs body(context, 0 … pieces-1) on the same OpenMP threads that libtorch uses.
HB_API void hb_parallel(int pieces, void (*body)(void*, int), void* context) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(at::get_num_threads())
  for (int i = 0; i < pieces; ++i) body(context, i);
}

/// Whether processor and compiler have the instruction that multiplies bfloat16.
static bool multiplies_bfloat16() {
#ifdef HB_AVX512_BF16
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

/// handbook::row_products where processor and compiler have its instruction; null elsewhere.
HB_API void* hb_row_products() {
#ifdef HB_AVX512_BF16
  if (multiplies_bfloat16()) return reinterpret_cast<void*>(&handbook::row_products);
#endif
  return nullptr;
}

/// handbook::block_product, likewise.
HB_API void* hb_block_product() {
#ifdef HB_AVX512_BF16
  if (multiplies_bfloat16()) return reinterpret_cast<void*>(&handbook::block_product);
#endif
  return nullptr;
}

HB_API void hb_memory(int64_t* used, int64_t* peak, int64_t* touched) { handbook::memory_statistics(*used, *peak, *touched); }

HB_API void hb_reset_peak() { handbook::reset_peak(); }

HB_API void hb_trim() { handbook::trim(); }
