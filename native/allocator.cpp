// A CPU allocator that keeps its pages.
//
// libtorch takes every large CPU tensor from the system and gives it back at once, so each training step pays for
// hundreds of megabytes of fresh, zeroed pages. This arena reserves address space once, hands out the best-fitting free
// block, merges neighbours when they are freed, and never returns pages unless asked. Small blocks stay with malloc.

#include "allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>
#include <torch/version.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <set>

#define HB_TORCH_AT_LEAST(major, minor) \
  (TORCH_VERSION_MAJOR > (major) || (TORCH_VERSION_MAJOR == (major) && TORCH_VERSION_MINOR >= (minor)))

namespace handbook {
namespace {

constexpr size_t kAlign = 64;
constexpr size_t kHeader = 64;                // keeps the alignment and holds the block's size
constexpr size_t kSmall = 64 * 1024;          // below: malloc
constexpr size_t kGrain = 16 * 1024;          // arena blocks are multiples of this
constexpr size_t kReserve = size_t{1} << 40;  // address space only; pages exist when they are touched

struct Header {
  size_t size;  // whole block with header; arena blocks are multiples of kGrain
  size_t arena;
};

std::atomic<int64_t> g_used{0};
std::atomic<int64_t> g_peak{0};

void count(int64_t bytes) {
  const int64_t now = g_used.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  int64_t peak = g_peak.load(std::memory_order_relaxed);
  while (now > peak && !g_peak.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

class Arena {
 public:
  void* allocate(size_t size) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (base_ == nullptr && !reserve()) return nullptr;
    auto fit = by_size_.lower_bound({size, nullptr});
    if (fit != by_size_.end()) {
      char* at = fit->second;
      const size_t found = fit->first;
      by_size_.erase(fit);
      free_.erase(at);
      if (found > size) insert(at + size, found - size);
      return at;
    }
    // The last free block may be grown at the end of the arena.
    char* at = base_ + end_;
    size_t grow = size;
    if (!free_.empty()) {
      auto last = std::prev(free_.end());
      if (last->first + last->second == at) {
        at = last->first;
        grow = size - last->second;
        by_size_.erase({last->second, last->first});
        free_.erase(last);
      }
    }
    if (end_ + grow > reserved_) return nullptr;
    end_ += grow;
    return at;
  }

  void release(char* at, size_t size) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto next = free_.lower_bound(at);
    if (next != free_.end() && at + size == next->first) {
      size += next->second;
      by_size_.erase({next->second, next->first});
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second == at) {
        at = before->first;
        size += before->second;
        by_size_.erase({before->second, before->first});
        free_.erase(before);
      }
    }
    insert(at, size);
  }

  void trim() {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& block : free_) madvise(block.first, block.second, MADV_DONTNEED);
  }

  int64_t touched() {
    std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<int64_t>(end_);
  }

 private:
  bool reserve() {
    for (size_t size = kReserve; size >= (size_t{1} << 34); size >>= 1) {
      void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (at == MAP_FAILED) continue;
      madvise(at, size, MADV_HUGEPAGE);
      base_ = static_cast<char*>(at);
      reserved_ = size;
      return true;
    }
    return false;
  }

  void insert(char* at, size_t size) {
    free_[at] = size;
    by_size_.insert({size, at});
  }

  std::mutex mutex_;
  std::map<char*, size_t> free_;  // address -> size
  std::set<std::pair<size_t, char*>> by_size_;
  char* base_ = nullptr;
  size_t reserved_ = 0;
  size_t end_ = 0;
};

Arena& arena() {
  static Arena* instance = new Arena();  // outlives every tensor, also those freed while the process ends
  return *instance;
}

void* take(size_t bytes) {
  const size_t whole = bytes + kHeader;
  void* at = nullptr;
  size_t size = whole;
  size_t in_arena = 0;
  if (whole >= kSmall) {
    size = (whole + kGrain - 1) / kGrain * kGrain;
    at = arena().allocate(size);
    in_arena = at != nullptr;
  }
  if (at == nullptr && posix_memalign(&at, kAlign, size) != 0) return nullptr;
  auto* header = static_cast<Header*>(at);
  header->size = size;
  header->arena = in_arena;
  count(static_cast<int64_t>(size));
  return static_cast<char*>(at) + kHeader;
}

void give_back(void* data) {
  if (data == nullptr) return;
  char* at = static_cast<char*>(data) - kHeader;
  const Header header = *reinterpret_cast<Header*>(at);
  g_used.fetch_sub(static_cast<int64_t>(header.size), std::memory_order_relaxed);
  if (header.arena)
    arena().release(at, header.size);
  else
    std::free(at);
}

class HandbookAllocator final : public c10::Allocator {
 public:
#if HB_TORCH_AT_LEAST(2, 3)
  c10::DataPtr allocate(size_t bytes) override { return make(bytes); }
  void copy_data(void* target, const void* source, std::size_t bytes) const override { std::memcpy(target, source, bytes); }
#else
  c10::DataPtr allocate(size_t bytes) const override { return make(bytes); }
#endif
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }

 private:
  static c10::DataPtr make(size_t bytes) {
    if (bytes == 0) return {nullptr, nullptr, &give_back, c10::Device(c10::DeviceType::CPU)};
    void* data = take(bytes);
    if (data == nullptr) throw std::bad_alloc();
    return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
};

}  // namespace

void install_allocator() {
  static HandbookAllocator* installed = [] {
    auto* allocator = new HandbookAllocator();
    c10::SetCPUAllocator(allocator, /*priority=*/100);
    return allocator;
  }();
  (void)installed;
}

void memory_statistics(int64_t& used, int64_t& peak, int64_t& touched) {
  used = g_used.load();
  peak = g_peak.load();
  touched = arena().touched();
}

void reset_peak() { g_peak.store(g_used.load()); }

void trim() { arena().trim(); }

}  // namespace handbook
