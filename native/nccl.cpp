// NCCL through its C API, found at run time: one build serves machines with and without, and no header of NVIDIA's is needed. Streams and
// events are those of c10's guards. A collective follows what the caller's stream was given before it, on a stream of the group's own.

#include "carrier.h"

#ifdef HB_C10D

#include <ATen/ops/zeros.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>

#include "device_support.h"  // what CMake found
#include "rank_sums.h"

#ifdef HB_CUDA
#include <c10/cuda/CUDAStream.h>
#endif

namespace handbook {

namespace {

// nccl.h of NCCL 2, whose ABI keeps these.
struct UniqueId {
  char internal[128];
};
using Comm = void*;
using Stream = void*;
enum Type : int { kInt8 = 0, kUint8 = 1, kInt32 = 2, kInt64 = 4, kHalf = 6, kFloat = 7, kDouble = 8, kBFloat16 = 9 };
constexpr int kSumOp = 0, kMaxOp = 2, kMinOp = 3;

struct Library {
  const char* (*get_error_string)(int);
  int (*get_unique_id)(UniqueId*);
  int (*comm_init_rank)(Comm*, int, UniqueId, int);
  int (*comm_destroy)(Comm);
  int (*comm_abort)(Comm);
  int (*all_reduce)(const void*, void*, size_t, int, int, Comm, Stream);
  int (*broadcast)(const void*, void*, size_t, int, int, Comm, Stream);
  int (*reduce_scatter)(const void*, void*, size_t, int, int, Comm, Stream);
  int (*all_gather)(const void*, void*, size_t, int, Comm, Stream);
  int (*send)(const void*, size_t, int, int, Comm, Stream);
  int (*recv)(void*, size_t, int, int, Comm, Stream);
  int (*group_start)();
  int (*group_end)();
  std::string problem;  // empty where all of it was found
};

template <typename Function>
void take(Library& library, void* from, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(from, name));
  if (function == nullptr && library.problem.empty())
    library.problem = std::string("this libnccl has no ") + name + ": it is older than 2.7\n  fix: install a newer one";
}

/// libtorch's own, where it was linked with one; else the system's.
void* open(std::string& problem) {
  if (const char* named = std::getenv("HANDBOOK_NCCL"); named != nullptr && *named != '\0') {
    if (void* found = dlopen(named, RTLD_NOW)) return found;
    problem = std::string("HANDBOOK_NCCL could not be loaded: ") + dlerror() + "\n  fix: name NCCL's library, libnccl.so.2";
    return nullptr;
  }
#ifdef HB_CUDA
  void* torch = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_NOLOAD);
  if (torch != nullptr && dlsym(torch, "ncclSend") != nullptr) return torch;
  for (const char* name : {"libnccl.so.2", "libnccl.so"})
    if (void* found = dlopen(name, RTLD_NOW)) return found;
  problem = "NCCL's library, libnccl.so.2, was not found\n  fix: install it (libnccl2), or set HANDBOOK_NCCL to its file";
#else
  problem = HB_NO_CUDA;
#endif
  return nullptr;
}

const Library& library() {
  static const Library found = [] {
    Library made{};
    void* from = open(made.problem);
    if (from == nullptr) return made;
    take(made, from, "ncclGetErrorString", made.get_error_string);
    take(made, from, "ncclGetUniqueId", made.get_unique_id);
    take(made, from, "ncclCommInitRank", made.comm_init_rank);
    take(made, from, "ncclCommDestroy", made.comm_destroy);
    take(made, from, "ncclCommAbort", made.comm_abort);
    take(made, from, "ncclAllReduce", made.all_reduce);
    take(made, from, "ncclBroadcast", made.broadcast);
    take(made, from, "ncclReduceScatter", made.reduce_scatter);
    take(made, from, "ncclAllGather", made.all_gather);
    take(made, from, "ncclSend", made.send);
    take(made, from, "ncclRecv", made.recv);
    take(made, from, "ncclGroupStart", made.group_start);
    take(made, from, "ncclGroupEnd", made.group_end);
    return made;
  }();
  return found;
}

void check(int status, const char* call) {
  if (status != 0) throw std::runtime_error(std::string(call) + ": " + library().get_error_string(status));
}

int type_of(const at::Tensor& t) {
  switch (t.scalar_type()) {
    case at::kByte:
      return kUint8;
    case at::kChar:
      return kInt8;
    case at::kInt:
      return kInt32;
    case at::kLong:
      return kInt64;
    case at::kHalf:
      return kHalf;
    case at::kFloat:
      return kFloat;
    case at::kDouble:
      return kDouble;
    case at::kBFloat16:
      return kBFloat16;
    default:
      throw std::runtime_error(std::string("NCCL adds up no ") + toString(t.scalar_type()));
  }
}

int operation_of(int reduction) { return reduction == kSum ? kSumOp : reduction == kMax ? kMaxOp : kMinOp; }

/// The device that the calling thread uses, of the one kind beside the CPU.
const c10::impl::DeviceGuardImplInterface& devices() {
  for (const auto kind : {c10::DeviceType::CUDA, c10::DeviceType::PrivateUse1})
    if (c10::impl::hasDeviceGuardImpl(kind) && c10::impl::getDeviceGuardImpl(kind)->deviceCount() > 0)
      return *c10::impl::getDeviceGuardImpl(kind);
  throw std::runtime_error("NCCL needs a GPU, and libtorch sees none");
}

class Nccl final : public Carrier {
 public:
  Nccl(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size) : guard_(devices()), device_(guard_.getDevice()), rank_(rank) {
    UniqueId id{};
    const std::string key = "nccl";
    if (rank == 0) {
      check(library().get_unique_id(&id), "ncclGetUniqueId");
      store->set(key, std::vector<uint8_t>(id.internal, id.internal + sizeof(id.internal)));
    } else {
      const auto text = store->get(key);  // waits for it
      if (text.size() != sizeof(id.internal)) throw std::runtime_error("the store's name of the group is damaged");
      std::memcpy(id.internal, text.data(), sizeof(id.internal));
    }
    stream_ = guard_.getStreamFromGlobalPool(device_, false);
    check(library().comm_init_rank(&comm_, size, id, rank), "ncclCommInitRank");
  }

  ~Nccl() override {
    std::lock_guard<std::mutex> lock(ends_);
    if (comm_ != nullptr) library().comm_destroy(comm_);
  }

  bool reduces() const override { return true; }

  std::shared_ptr<void> mark() override {
    void* event = nullptr;
    guard_.record(&event, guard_.getStream(device_), device_.index(), c10::EventFlag::PYTORCH_DEFAULT);
    return {event, [this](void* made) {
              if (made != nullptr) guard_.destroyEvent(made, device_.index());
            }};
  }

  void follow(const std::shared_ptr<void>& event) override {
    guard_.setDevice(device_);
    guard_.exchangeStream(stream_);  // what operators do here comes in its order too
    if (event) guard_.block(event.get(), stream_);
  }

  void finish() override { guard_.synchronizeStream(stream_); }

  void broadcast(at::Tensor bytes, int root) override {
    check(library().broadcast(bytes.data_ptr(), bytes.data_ptr(), bytes.nbytes(), kUint8, root, comm_, native()), "ncclBroadcast");
  }

  void all_reduce(at::Tensor values, int reduction) override {
    check(library().all_reduce(values.data_ptr(), values.data_ptr(), static_cast<size_t>(values.numel()), type_of(values),
                               operation_of(reduction), comm_, native()),
          "ncclAllReduce");
  }

  void reduce_scatter(at::Tensor output, at::Tensor input, int reduction) override {
    check(library().reduce_scatter(input.data_ptr(), output.data_ptr(), static_cast<size_t>(output.numel()), type_of(input),
                                   operation_of(reduction), comm_, native()),
          "ncclReduceScatter");
  }

  void all_gather(at::Tensor output, at::Tensor input) override {
    check(library().all_gather(input.data_ptr(), output.data_ptr(), input.nbytes(), kUint8, comm_, native()), "ncclAllGather");
  }

  void all_to_all(at::Tensor output, at::Tensor input, std::vector<int64_t> out_bytes, std::vector<int64_t> in_bytes) override {
    auto *from = static_cast<char*>(input.data_ptr()), *to = static_cast<char*>(output.data_ptr());
    check(library().group_start(), "ncclGroupStart");
    for (size_t peer = 0; peer < out_bytes.size(); ++peer) {
      if (in_bytes[peer] > 0) check(library().send(from, in_bytes[peer], kUint8, static_cast<int>(peer), comm_, native()), "ncclSend");
      if (out_bytes[peer] > 0) check(library().recv(to, out_bytes[peer], kUint8, static_cast<int>(peer), comm_, native()), "ncclRecv");
      from += in_bytes[peer];
      to += out_bytes[peer];
    }
    check(library().group_end(), "ncclGroupEnd");
  }

  void barrier() override {
    if (!one_.defined()) one_ = at::zeros({1}, at::TensorOptions().dtype(at::kFloat).device(device_));
    all_reduce(one_, kSum);
  }

  /// Messages have no tags here: those of two ranks follow one another, by tag and then as they were asked for.
  void exchange(std::vector<Message> messages) override {
    std::stable_sort(messages.begin(), messages.end(), [](const Message& a, const Message& b) { return a.tag < b.tag; });
    check(library().group_start(), "ncclGroupStart");
    for (const auto& message : messages) {
      auto* data = message.bytes.data_ptr();
      const auto count = message.bytes.nbytes();
      check(message.goes ? library().send(data, count, kUint8, message.peer, comm_, native())
                         : library().recv(data, count, kUint8, message.peer, comm_, native()),
            message.goes ? "ncclSend" : "ncclRecv");
    }
    check(library().group_end(), "ncclGroupEnd");
  }

  void abort() override {
    std::lock_guard<std::mutex> lock(ends_);
    if (comm_ != nullptr) library().comm_abort(comm_);
    comm_ = nullptr;
  }

 private:
  Stream native() const {
    if (comm_ == nullptr) throw std::runtime_error("the group was stopped");
#ifdef HB_CUDA
    if (device_.is_cuda()) return c10::cuda::CUDAStream(stream_).stream();
#endif
    return nullptr;
  }

  const c10::impl::DeviceGuardImplInterface& guard_;
  const c10::Device device_;
  const int rank_;
  c10::Stream stream_{c10::Stream::DEFAULT, c10::Device(c10::kCPU)};
  Comm comm_ = nullptr;
  std::mutex ends_;
  at::Tensor one_;
};

}  // namespace

const char* nccl_missing() { return library().problem.empty() ? nullptr : library().problem.c_str(); }

std::unique_ptr<Carrier> over_nccl(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size) {
  if (nccl_missing() != nullptr) throw std::runtime_error(nccl_missing());
  return std::make_unique<Nccl>(store, rank, size);
}

}  // namespace handbook

#endif
