// Process groups on libtorch's own c10d. A group runs its collectives on a thread of its own, in the order they were asked for, so
// that each may be made of several steps and none holds the caller; a handle waits for its end. Data is moved as bytes, whatever its
// type. Sums of 16-bit floats, and those that ask for it, are taken in the order of the ranks: every rank gets its part of everyone's
// values, adds them up in at least float32, and the parts are gathered. The bits then depend neither on the library's algorithm nor on
// how a buffer was cut.

#include "border.h"
#include "carrier.h"
#include "process_groups.h"  // what CMake found
#include "rank_sums.h"
#include "store.h"

#ifdef HB_C10D

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <type_traits>
#include <vector>

using handbook::combine;
using handbook::Error;
using handbook::guarded;
using handbook::kMax;
using handbook::kSum;
using handbook::Message;
using handbook::store;
using handbook::tensor;

namespace {

using std::chrono::milliseconds;

#if TORCH_VERSION_MAJOR >= 2
using Backend = c10d::Backend;
#else
using Backend = c10d::ProcessGroup;
#endif

}  // namespace

// ---- groups -------------------------------------------------------------------------------------------------------

namespace {

/// What a group, its thread and its handles share.
struct Work;

struct Group {
  std::unique_ptr<handbook::Carrier> carrier;
  int rank = 0;
  int size = 1;

  std::mutex lock;
  std::condition_variable changed;
  std::deque<std::function<void()>> queue;
  std::vector<std::pair<Message, std::shared_ptr<Work>>> posted;  // messages that wait for those that go with them
  int pending = 0;                                                // asked for and not at their end
  bool stopped = false;
  bool closing = false;
};

struct Work {
  std::shared_ptr<Group> group;
  bool done = false;
  bool is_message = false;
  std::exception_ptr failure;
};

using GroupPointer = std::shared_ptr<Group>;
using WorkPointer = std::shared_ptr<Work>;

GroupPointer& group(void* handle) { return *static_cast<GroupPointer*>(handle); }

void finish(const WorkPointer& work, const std::function<void()>& body) {
  std::exception_ptr failure;
  try {
    body();
  } catch (...) {
    failure = std::current_exception();
  }
  std::lock_guard<std::mutex> guard(work->group->lock);
  work->failure = failure;
  work->done = true;
  --work->group->pending;
  work->group->changed.notify_all();
}

/// The group's thread: one operation after the other.
void serve(const GroupPointer& group) {
  for (;;) {
    std::function<void()> next;
    {
      std::unique_lock<std::mutex> guard(group->lock);
      group->changed.wait(guard, [&] { return group->closing || !group->queue.empty(); });
      if (group->queue.empty()) return;
      next = std::move(group->queue.front());
      group->queue.pop_front();
    }
    next();
  }
}

WorkPointer begin(const GroupPointer& group) {
  auto work = std::make_shared<Work>();
  work->group = group;
  std::lock_guard<std::mutex> guard(group->lock);
  if (group->stopped) throw std::runtime_error("the group was stopped");
  ++group->pending;
  return work;
}

/// Puts an operation at the end of the group's queue.
void* enqueue(const GroupPointer& group, std::function<void()> body) {
  auto work = begin(group);
  auto handle = std::make_unique<WorkPointer>(work);
  {
    std::lock_guard<std::mutex> guard(group->lock);
    group->queue.emplace_back([work, body = std::move(body)] { finish(work, body); });
    group->changed.notify_all();
  }
  return handle.release();
}

// ---- Gloo ----

class Gloo final : public handbook::Carrier {
 public:
  explicit Gloo(c10::intrusive_ptr<Backend> backend) : backend_(std::move(backend)) {}

  void broadcast(at::Tensor bytes, int root) override {
    std::vector<at::Tensor> list{bytes};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    backend_->broadcast(list, options)->wait();
  }

  void all_reduce(at::Tensor values, int reduction) override {
    std::vector<at::Tensor> list{values};
    c10d::AllreduceOptions options;
    options.reduceOp = reduction == kSum ? c10d::ReduceOp::SUM : reduction == kMax ? c10d::ReduceOp::MAX : c10d::ReduceOp::MIN;
    backend_->allreduce(list, options)->wait();
  }

  void all_gather(at::Tensor output, at::Tensor input) override {
    std::vector<std::vector<at::Tensor>> outs{output.chunk(backend_->getSize())};
    std::vector<at::Tensor> ins{input};
    backend_->allgather(outs, ins, c10d::AllgatherOptions())->wait();
  }

  void all_to_all(at::Tensor output, at::Tensor input, std::vector<int64_t> out_bytes, std::vector<int64_t> in_bytes) override {
    backend_->alltoall_base(output, input, out_bytes, in_bytes, c10d::AllToAllOptions())->wait();
  }

  void barrier() override { backend_->barrier(c10d::BarrierOptions())->wait(); }

  std::function<void()> send(const Message& message) override {
    std::vector<at::Tensor> list{message.bytes};
    auto work = message.goes ? backend_->send(list, message.peer, message.tag) : backend_->recv(list, message.peer, message.tag);
    return [work] { work->wait(); };
  }

 private:
  c10::intrusive_ptr<Backend> backend_;
};

// ---- moving bytes ----

at::Tensor bytes_of(const at::Tensor& t) {
  if (!t.is_cpu()) return t.detach().view({-1}).view(at::kByte);
  return at::from_blob(t.data_ptr(), {static_cast<int64_t>(t.nbytes())}, t.options().dtype(at::kByte).requires_grad(false));
}

void move(at::Tensor& to, const at::Tensor& from) {
  if (from.is_cpu()) {
    std::memmove(to.data_ptr(), from.data_ptr(), from.nbytes());
  } else {
    to.copy_(from);
  }
}

/// `output` gets everyone's `input`, by rank; input may lie in output, at its own place.
void all_gather(Group& group, const at::Tensor& output, const at::Tensor& input) {
  if (input.nbytes() == 0) return;
  at::Tensor in = bytes_of(input), out = bytes_of(output);
  if (group.size == 1) {
    if (in.data_ptr() != out.data_ptr()) move(out, in);
    return;
  }
  group.carrier->all_gather(out, in);
}

/// Counts are in elements, by rank.
void all_to_all(Group& group, const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& out_counts,
                const std::vector<int64_t>& in_counts) {
  at::Tensor in = bytes_of(input), out = bytes_of(output);
  if (group.size == 1) {
    move(out, in);
    return;
  }
  auto scaled = [&](std::vector<int64_t> counts) {
    for (auto& count : counts) count *= static_cast<int64_t>(input.element_size());
    return counts;
  };
  group.carrier->all_to_all(out, in, scaled(out_counts), scaled(in_counts));
}

// ---- reductions in the order of the ranks ----

/// Everyone's `values`, together, in place.
void reduce_in_order(Group& group, const at::Tensor& values, int reduction) {
  constexpr int64_t kGathered = 16 << 10, kPiece = 8 << 20;  // bytes: below the first one step beats two; the second bounds the buffers
  const int64_t size = group.size, count = values.numel(), width = static_cast<int64_t>(values.element_size());
  if (size == 1 || count == 0) return;
  const auto flat = values.view({count});
  if (count * width <= kGathered) {
    auto parts = at::empty({size * count}, flat.options());
    all_gather(group, parts, flat);
    combine(parts, flat, group.size, reduction);
    return;
  }
  const int64_t piece = kPiece / width / size * size;
  at::Tensor parts, gathered;
  for (int64_t begin = 0; begin < count; begin += piece) {
    const int64_t length = std::min(piece, count - begin), share = (length + size - 1) / size;
    if (!parts.defined()) {
      parts = at::empty({size * share}, flat.options());
      gathered = at::empty({share}, flat.options());
    }
    const auto part_of = [&](int64_t rank) { return std::clamp<int64_t>(length - rank * share, 0, share); };
    std::vector<int64_t> in(size), out(size, part_of(group.rank));
    for (int64_t rank = 0; rank < size; ++rank) in[rank] = part_of(rank);
    const auto here = flat.narrow(0, begin, length);
    const auto mine = gathered.narrow(0, 0, out[0]);
    all_to_all(group, parts.narrow(0, 0, size * out[0]), here, out, in);
    combine(parts, mine, group.size, reduction);
    if (length == size * share) {
      all_gather(group, here, mine);
    } else {  // the last share is shorter
      all_gather(group, parts.narrow(0, 0, size * share), gathered.narrow(0, 0, share));
      std::memcpy(here.data_ptr(), parts.data_ptr(), length * width);
    }
  }
}

bool adds_by_itself(const Group& group, const at::Tensor& values) {
  const auto type = values.scalar_type();
  return group.carrier->reduces() || type == at::kFloat || type == at::kDouble || type == at::kLong || type == at::kInt;
}

Error started(void* group_handle, void** result, std::function<void(Group&)> body) {
  return guarded([&] {
    auto& shared = group(group_handle);
    *result = enqueue(shared, [raw = shared.get(), mark = shared->carrier->mark(), body = std::move(body)] {
      raw->carrier->follow(mark);
      body(*raw);
      raw->carrier->finish();
    });
  });
}

void* made(std::unique_ptr<handbook::Carrier> carrier, int rank, int size) {
  auto group = std::make_shared<Group>();
  group->carrier = std::move(carrier);
  group->rank = rank;
  group->size = size;
  auto handle = std::make_unique<GroupPointer>(group);
  std::thread(serve, group).detach();
  return handle.release();
}

}  // namespace

/// Null where groups of this kind (0 Gloo, 1 NCCL) can be made, else what is missing.
HB_API const char* hb_group_missing(int kind) { return kind == 0 ? nullptr : handbook::nccl_missing(); }

/// A group over Gloo. Returns when all its ranks have come. `interface` names a network interface, else `host` an address of this machine.
HB_API Error hb_group_gloo(void* store_handle, int rank, int size, const char* host, const char* interface, int timeout_ms, void** result) {
  return guarded([&] {
    auto options = c10d::ProcessGroupGloo::Options::create(milliseconds(timeout_ms));
    options->threads = 2;
    if (interface != nullptr) {
      options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(interface));
    } else {
      options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(host));
    }
    *result =
        made(std::make_unique<Gloo>(c10::make_intrusive<c10d::ProcessGroupGloo>(store(store_handle), rank, size, options)), rank, size);
  });
}

/// A group over NCCL, on the device that the calling thread uses.
HB_API Error hb_group_nccl(void* store_handle, int rank, int size, void** result) {
  return guarded([&] { *result = made(handbook::over_nccl(store(store_handle), rank, size), rank, size); });
}

/// From here on every wait of the group ends at once, and nothing new begins.
HB_API void hb_group_stop(void* handle) {
  auto& shared = group(handle);
  std::lock_guard<std::mutex> guard(shared->lock);
  shared->stopped = true;
  shared->carrier->abort();
  shared->changed.notify_all();
}

/// Lets go of a group. Where an operation has not ended, because a rank is gone or silent, its connections stay until the process ends:
/// closing them would wait for that rank.
HB_API void hb_group_free(void* handle) {
  auto shared = group(handle);
  delete static_cast<GroupPointer*>(handle);
  std::lock_guard<std::mutex> guard(shared->lock);
  if (shared->pending > 0) {
    new GroupPointer(shared);
    return;
  }
  shared->closing = true;
  shared->changed.notify_all();
}

// ---- operations ---------------------------------------------------------------------------------------------------

HB_API Error hb_broadcast(void* handle, void* values, int root, void** result) {
  return started(handle, result, [t = *tensor(values), root](Group& group) {
    if (t.nbytes() == 0 || group.size == 1) return;
    group.carrier->broadcast(bytes_of(t), root);
  });
}

HB_API Error hb_all_reduce(void* handle, void* values, int reduction, int in_order, void** result) {
  return started(handle, result, [t = *tensor(values), reduction, in_order](Group& group) {
    if (t.numel() == 0 || group.size == 1) return;
    if (!adds_by_itself(group, t) || (in_order != 0 && t.is_cpu())) return reduce_in_order(group, t, reduction);
    group.carrier->all_reduce(t, reduction);
  });
}

/// `counts`: elements of the result of each rank; they follow one another in `input`.
HB_API Error hb_reduce_scatter(void* handle, void* output, void* input, const int64_t* counts, int reduction, void** result) {
  std::vector<int64_t> in(counts, counts + group(handle)->size);
  return started(handle, result, [out = *tensor(output), t = *tensor(input), in = std::move(in), reduction](Group& group) {
    if (t.numel() == 0) return;
    const int64_t mine = out.numel();
    if (group.carrier->reduces() && std::all_of(in.begin(), in.end(), [&](int64_t count) { return count == mine; }))
      return group.carrier->reduce_scatter(out, t, reduction);
    if (!t.is_cpu()) throw std::runtime_error("parts of different lengths are offered for tensors on the CPU");
    auto parts = at::empty({std::max<int64_t>(group.size * mine, 1)}, t.options()).narrow(0, 0, group.size * mine);
    all_to_all(group, parts, t, std::vector<int64_t>(group.size, mine), in);
    combine(parts, out, group.size, reduction);
  });
}

HB_API Error hb_all_gather(void* handle, void* output, void* input, void** result) {
  return started(handle, result, [out = *tensor(output), in = *tensor(input)](Group& group) { all_gather(group, out, in); });
}

HB_API Error hb_all_to_all(void* handle, void* output, void* input, const int64_t* out_counts, const int64_t* in_counts, void** result) {
  const int size = group(handle)->size;
  std::vector<int64_t> outs(out_counts, out_counts + size), ins(in_counts, in_counts + size);
  return started(handle, result, [out = *tensor(output), in = *tensor(input), outs = std::move(outs), ins = std::move(ins)](Group& group) {
    all_to_all(group, out, in, outs, ins);
  });
}

HB_API Error hb_barrier(void* handle, void** result) {
  return started(handle, result, [](Group& group) {
    if (group.size > 1) group.carrier->barrier();
  });
}

namespace {

/// Messages between two ranks do not queue: one may wait for another that is sent later. Where they cannot be under way by themselves, all
/// that were posted go together when somebody waits for one of them.
Error passed(void* handle, void* values, void** result, bool goes, int peer, int tag) {
  return guarded([&] {
    auto& shared = group(handle);
    auto t = *tensor(values);
    auto work = begin(shared);
    auto taken = std::make_unique<WorkPointer>(work);
    if (t.nbytes() == 0) {
      finish(work, [] {});
      *result = taken.release();
      return;
    }
    const Message message{bytes_of(t), goes, peer, tag};
    std::function<void()> posted;
    std::exception_ptr failure;
    try {
      posted = shared->carrier->send(message);
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) {
      finish(work, [&] { std::rethrow_exception(failure); });
    } else if (posted) {
      std::thread([work, posted, t] { finish(work, posted); }).detach();
    } else {
      std::lock_guard<std::mutex> guard(shared->lock);
      work->is_message = true;
      shared->posted.emplace_back(message, work);
    }
    *result = taken.release();
  });
}

/// Passes all messages that were posted.
void exchange(const GroupPointer& group) {
  std::vector<std::pair<Message, WorkPointer>> all;
  {
    std::lock_guard<std::mutex> guard(group->lock);
    all.swap(group->posted);
  }
  if (all.empty()) return;
  auto body = [group, all, mark = group->carrier->mark()] {
    std::exception_ptr failure;
    try {
      std::vector<Message> messages;
      for (const auto& each : all) messages.push_back(each.first);
      group->carrier->follow(mark);
      group->carrier->exchange(std::move(messages));
      group->carrier->finish();
    } catch (...) {
      failure = std::current_exception();
    }
    for (const auto& each : all)
      finish(each.second, [&] {
        if (failure) std::rethrow_exception(failure);
      });
  };
  std::lock_guard<std::mutex> guard(group->lock);
  group->queue.emplace_back(std::move(body));
  group->changed.notify_all();
}

}  // namespace

HB_API Error hb_send(void* handle, void* values, int to, int tag, void** result) { return passed(handle, values, result, true, to, tag); }

HB_API Error hb_receive(void* handle, void* values, int from, int tag, void** result) {
  return passed(handle, values, result, false, from, tag);
}

/// Waits for the end of an operation; negative: as long as it takes. `outcome`: 0 ended, 1 not yet, 2 the group was stopped.
HB_API Error hb_work_wait(void* handle, int64_t timeout_ms, int* outcome) {
  return guarded([&] {
    auto& work = **static_cast<WorkPointer*>(handle);
    auto& shared = *work.group;
    if (work.is_message) exchange(work.group);
    std::unique_lock<std::mutex> guard(shared.lock);
    const auto ready = [&] { return work.done || shared.stopped; };
    if (timeout_ms < 0) {
      shared.changed.wait(guard, ready);
    } else {
      shared.changed.wait_for(guard, milliseconds(timeout_ms), ready);
    }
    *outcome = work.done ? 0 : shared.stopped ? 2 : 1;
    if (work.done && work.failure) std::rethrow_exception(work.failure);
  });
}

HB_API void hb_work_free(void* handle) { delete static_cast<WorkPointer*>(handle); }

#else

HB_API const char* hb_group_missing(int) { return HB_NO_C10D; }

#endif
