// Runs CUDA kernels on the CPU. Each CUDA thread is a fibre that runs until a barrier or a shuffle; which fibre goes first after each
// of them is drawn from a seed, and for two seeds of three one warp runs ahead as far as it can, so that a missing barrier gives another
// answer for some seed. Shared memory is full of NaN when a block begins. What no thread can pass, and what never ends, is reported and not
// waited for. Kernels of one process run one after the other.
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#define EMULATOR 1
#define __device__ static
#define __forceinline__
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __shared__ static __attribute__((section("emulated_shared")))

struct dim3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

extern __attribute__((visibility("hidden"))) char __start_emulated_shared[], __stop_emulated_shared[];
__shared__ char emulated_shared_is_there[16] __attribute__((used));

namespace emulator {
constexpr size_t kStack = 64 * 1024, kGuard = 256;
constexpr unsigned kWarp = 32, kRounds = 200000;
enum class Wait { none, block, warp, done };

struct Fibre {
  dim3 thread;
  Wait wait;
  jmp_buf at;
  std::unique_ptr<char[]> stack;
  unsigned char slot[2][64];
  int turn;
  bool fresh = true;
};

struct Block {
  std::vector<std::unique_ptr<Fibre>> fibres;
  std::vector<unsigned> order;
  Fibre* now = nullptr;
  unsigned count = 0;
  dim3 index, size, grid;
  jmp_buf scheduler;
  uint64_t seed = 1;
  void (*body)(void*) = nullptr;
  void* context = nullptr;
};
inline Block block;
inline char* dynamic_shared = nullptr;
inline std::string error;

// Barriers by the place where they stand; one of them may be left out.
inline std::vector<std::string> sites;
inline std::vector<char> passed;
inline int left_out = -1;

inline int site(const char* file, int line) {
  const std::string name = std::string(file) + ":" + std::to_string(line);
  for (size_t i = 0; i < sites.size(); ++i)
    if (sites[i] == name) return (int)i;
  sites.push_back(name), passed.push_back(0);
  return (int)sites.size() - 1;
}

__attribute__((noinline)) inline void pause(Wait wait) {
  block.now->wait = wait;
  if (_setjmp(block.now->at) == 0) _longjmp(block.scheduler, 1);
}

inline void barrier(int place, Wait wait) {
  passed[place] = 1;
  if (place != left_out) pause(wait);
}

/// The life of a fibre: it runs a thread, waits for the next block, and is that block's thread.
inline void enter() {
  for (;;) {
    block.body(block.context);
    pause(Wait::done);
  }
}

/// Runs a fibre until it waits; a new one is entered through its context, later ones are jumped into.
inline void resume(Fibre& f) {
  block.now = &f;
  if (_setjmp(block.scheduler) != 0) return;
  if (!f.fresh) _longjmp(f.at, 1);
  f.fresh = false;
  ucontext_t start;
  getcontext(&start);
  start.uc_stack.ss_sp = f.stack.get(), start.uc_stack.ss_size = kStack, start.uc_link = nullptr;
  makecontext(&start, enter, 0);
  setcontext(&start);
}

/// Lets some fibres go on if all of them that have not ended wait for the same.
inline bool release(unsigned first, unsigned last, Wait wait) {
  bool any = false;
  for (unsigned i = first; i < last; ++i) {
    const Wait what = block.fibres[i]->wait;
    if (what == wait)
      any = true;
    else if (what != Wait::done || wait == Wait::warp)
      return false;
  }
  for (unsigned i = first; any && i < last; ++i)
    if (block.fibres[i]->wait == wait) block.fibres[i]->wait = Wait::none;
  return any;
}

inline unsigned draw(unsigned below) {
  block.seed = block.seed * 6364136223846793005ull + 1442695040888963407ull;
  return (unsigned)((block.seed >> 33) % below);
}

/// Puts the fibres of a round into another order.
inline void shuffle_order(unsigned first, unsigned last) {
  for (unsigned i = first; i < last; ++i) block.order[i] = i;
  for (unsigned i = last - first; i > 1; --i) std::swap(block.order[first + i - 1], block.order[first + draw(i)]);
}

inline bool can_run(unsigned warp) {
  for (unsigned t = warp * kWarp; t < std::min(block.count, (warp + 1) * kWarp); ++t)
    if (block.fibres[t]->wait == Wait::none) return true;
  return false;
}

/// A warp that can run, or the first one.
inline unsigned draw_warp() {
  const unsigned warps = (block.count + kWarp - 1) / kWarp, from = draw(warps);
  for (unsigned i = 0; i < warps; ++i)
    if (can_run((from + i) % warps)) return (from + i) % warps;
  return 0;
}

inline bool run_block(dim3 index, size_t shared_bytes) {
  Block& b = block;
  b.count = b.size.x * b.size.y * b.size.z, b.index = index;
  while (b.fibres.size() < b.count) {
    b.fibres.emplace_back(new Fibre);
    b.fibres.back()->stack.reset(new char[kStack]);
  }
  b.order.resize(b.count);
  for (unsigned i = 0; i < b.count; ++i) {
    Fibre& f = *b.fibres[i];
    f.thread = dim3{i % b.size.x, i / b.size.x % b.size.y, i / b.size.x / b.size.y};
    f.wait = Wait::none, f.turn = 0;
  }
  memset(__start_emulated_shared, 0xFF, __stop_emulated_shared - __start_emulated_shared);
  memset(dynamic_shared, 0xFF, shared_bytes + kGuard);
  const bool ahead = draw(3) > 0;
  unsigned warp = draw_warp();
  for (unsigned round = 0; round < kRounds; ++round) {
    if (ahead && !can_run(warp)) warp = draw_warp();
    const unsigned first = ahead ? warp * kWarp : 0, last = ahead ? std::min(b.count, first + kWarp) : b.count;
    shuffle_order(first, last);
    bool moved = false;
    for (unsigned i = first; i < last; ++i)
      if (b.fibres[b.order[i]]->wait == Wait::none) resume(*b.fibres[b.order[i]]), moved = true;
    for (unsigned w = first; w < last; w += kWarp) moved |= release(w, std::min(b.count, w + kWarp), Wait::warp);
    if (moved || release(0, b.count, Wait::block)) continue;
    for (unsigned i = 0; i < b.count; ++i)
      if (b.fibres[i]->wait != Wait::done) return error = "some threads wait at a barrier or shuffle that others never reach", false;
    for (size_t i = 0; i < kGuard; ++i)
      if ((unsigned char)dynamic_shared[shared_bytes + i] != 0xFF) return error = "writes behind its shared memory", false;
    return true;
  }
  return error = "does not end", false;
}

/// Blocks [first, first + blocks) of a grid; every block leaves its threads in another order.
template <typename Call>
int launch(const unsigned* shape, long long first, long long blocks, unsigned long long seed, Call call) {
  Block& b = block;
  b.grid = dim3{shape[0], shape[1], shape[2]}, b.size = dim3{shape[3], 1, 1};
  const size_t shared_bytes = shape[4];
  std::unique_ptr<char[]> memory(new char[shared_bytes + kGuard + 64]);
  dynamic_shared = (char*)(((uintptr_t)memory.get() + 63) / 64 * 64);
  b.context = &call, b.seed = seed * 2654435761u + 1;
  b.body = [](void* c) { (*static_cast<Call*>(c))(); };
  error.clear();
  const long long all = (long long)b.grid.x * b.grid.y * b.grid.z, end = blocks < 0 ? all : std::min(all, first + blocks);
  for (long long i = first; i < end; ++i) {
    const dim3 index{(unsigned)(i % b.grid.x), (unsigned)(i / b.grid.x % b.grid.y), (unsigned)(i / b.grid.x / b.grid.y)};
    if (run_block(index, shared_bytes)) continue;
    for (auto& fibre : b.fibres) fibre->fresh = true;  // those that were left waiting
    return 1;
  }
  return 0;
}

inline unsigned me() {
  const Fibre& f = *block.now;
  return f.thread.x + block.size.x * (f.thread.y + block.size.y * f.thread.z);
}

/// Shows all lanes what each of them has. Two slots are taken in turn: one wait is enough, since nobody is two exchanges ahead.
template <typename T>
void publish(const T& value) {
  static_assert(sizeof(T) <= sizeof(Fibre::slot[0]));
  Fibre& f = *block.now;
  memcpy(f.slot[f.turn & 1], &value, sizeof value);
  pause(Wait::warp);
  ++f.turn;
}

template <typename T>
T published(unsigned lane) {
  T value;
  memcpy(&value, block.fibres[me() / kWarp * kWarp + lane]->slot[(block.now->turn - 1) & 1], sizeof value);
  return value;
}

template <typename T>
T exchange(T value, unsigned lane) {
  publish(value);
  return published<T>(lane);
}
inline unsigned lane() { return me() % kWarp; }
}  // namespace emulator

#define threadIdx (emulator::block.now->thread)
#define blockIdx (emulator::block.index)
#define blockDim (emulator::block.size)
#define gridDim (emulator::block.grid)
#define shared_words ((uint4*)emulator::dynamic_shared)
#define EMULATED_BARRIER(what)                                   \
  ({                                                             \
    static const int place = emulator::site(__FILE__, __LINE__); \
    emulator::barrier(place, what);                              \
  })
#define __syncthreads() EMULATED_BARRIER(emulator::Wait::block)
#define __syncwarp(...) EMULATED_BARRIER(emulator::Wait::warp)

template <typename T>
T __shfl_xor_sync(unsigned, T v, int mask) {
  return emulator::exchange(v, emulator::lane() ^ mask);
}
template <typename T>
T __shfl_down_sync(unsigned, T v, unsigned d) {
  return emulator::exchange(v, emulator::lane() + d < emulator::kWarp ? emulator::lane() + d : emulator::lane());
}
template <typename T>
T __shfl_up_sync(unsigned, T v, unsigned d) {
  return emulator::exchange(v, emulator::lane() >= d ? emulator::lane() - d : emulator::lane());
}
template <typename T>
T __shfl_sync(unsigned, T v, int from) {
  return emulator::exchange(v, from & 31);
}
inline unsigned __ballot_sync(unsigned, int predicate) {
  emulator::publish(predicate);
  unsigned votes = 0;
  for (unsigned i = 0; i < emulator::kWarp; ++i) votes |= (unsigned)(emulator::published<int>(i) != 0) << i;
  return votes;
}
// Nobody runs between the reading and the writing of a fibre.
template <typename T>
T atomicAdd(T* to, T value) {
  const T old = *to;
  *to = old + value;
  return old;
}
template <typename T>
T atomicMax(T* to, T value) {
  const T old = *to;
  *to = std::max(old, value);
  return old;
}
template <typename T>
T atomicCAS(T* to, T expected, T value) {
  const T old = *to;
  if (old == expected) *to = value;
  return old;
}

inline float __uint_as_float(unsigned v) {
  float r;
  memcpy(&r, &v, 4);
  return r;
}
inline unsigned __float_as_uint(float v) {
  unsigned r;
  memcpy(&r, &v, 4);
  return r;
}
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline float emulated_half_to_float(unsigned short bits) {
  _Float16 h;
  memcpy(&h, &bits, 2);
  return (float)h;
}
inline unsigned short emulated_float_to_half(float v) {
  const _Float16 h = (_Float16)v;
  unsigned short bits;
  memcpy(&bits, &h, 2);
  return bits;
}

/// What the tests ask: the places of barriers passed since the last call, one a line; which of them to leave out; what went wrong.
extern "C" {
inline __attribute__((used, visibility("default"))) const char* emulator_error() { return emulator::error.c_str(); }
inline __attribute__((used, visibility("default"))) const char* emulator_passed() {
  static std::string lines;
  lines.clear();
  for (size_t i = 0; i < emulator::sites.size(); ++i) {
    if (emulator::passed[i]) lines += emulator::sites[i] + "\n";
    emulator::passed[i] = 0;
  }
  return lines.c_str();
}
inline __attribute__((used, visibility("default"))) void emulator_leave_out(const char* name) {
  emulator::left_out = -1;
  for (size_t i = 0; name && i < emulator::sites.size(); ++i)
    if (emulator::sites[i] == name) emulator::left_out = (int)i;
}
}
