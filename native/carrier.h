// Who moves what a group sends: Gloo between CPUs, NCCL between GPUs.
#pragma once

#include "process_groups.h"  // what CMake found

#ifdef HB_C10D

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

namespace handbook {

/// A message between two ranks.
struct Message {
  at::Tensor bytes;
  bool goes;  // else it comes
  int peer;
  int tag;
};

/// Everything but `mark` and `send` runs on the group's thread, and has ended when `finish` returns. Tensors are of bytes but where a
/// reduction is named.
class Carrier {
 public:
  virtual ~Carrier() = default;

  /// Whether it adds up values of any type and scatters sums.
  virtual bool reduces() const { return false; }

  /// What the calling thread has given its device to do so far, for `follow` to wait for.
  virtual std::shared_ptr<void> mark() { return nullptr; }
  virtual void follow(const std::shared_ptr<void>&) {}
  virtual void finish() {}

  virtual void broadcast(at::Tensor bytes, int root) = 0;
  virtual void all_reduce(at::Tensor values, int reduction) = 0;
  virtual void reduce_scatter(at::Tensor, at::Tensor, int) {}
  virtual void all_gather(at::Tensor output, at::Tensor input) = 0;
  virtual void all_to_all(at::Tensor output, at::Tensor input, std::vector<int64_t> out_bytes, std::vector<int64_t> in_bytes) = 0;
  virtual void barrier() = 0;

  /// Begins to pass a message at once; the result waits for its end. Null: messages are passed together, by `exchange`.
  virtual std::function<void()> send(const Message&) { return nullptr; }
  virtual void exchange(std::vector<Message>) {}

  /// Ends what is under way, from another thread.
  virtual void abort() {}
};

/// Null where NCCL can be used, else what is missing.
const char* nccl_missing();

/// NCCL on the device that the calling thread uses; returns when all ranks have come.
std::unique_ptr<Carrier> over_nccl(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size);

}  // namespace handbook

#endif
