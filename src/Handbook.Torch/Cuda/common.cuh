// What all kernels share. It stands before the text of each of them, once for every element type T.
// Threads: blocks are one-dimensional and of whole warps. Sums are taken in an order that the launch alone determines, so that the bits
// of a result do not depend on which block runs first; there are no atomics. -0 and NaN go through conversions as on the CPU.
typedef unsigned char u8;
typedef signed char i8;
typedef unsigned long long u64;
typedef long long i64;

#define ALL 0xffffffffu
#define INFINITY_BITS 0x7f800000u

struct bf16 {
  unsigned short bits;
};
struct f16 {
  unsigned short bits;
};

#ifndef EMULATOR
extern __shared__ uint4 shared_words[];
#endif

__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(bf16 v) { return __uint_as_float((unsigned)v.bits << 16); }
__device__ __forceinline__ float to_float(f16 v) {
#ifdef EMULATOR
  return emulated_half_to_float(v.bits);
#else
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v.bits));
  return r;
#endif
}

__device__ __forceinline__ void set(float& to, float v) { to = v; }
/// Rounds to the nearest, ties to even; NaN becomes 0x7FC0.
__device__ __forceinline__ void set(bf16& to, float v) {
  const unsigned b = __float_as_uint(v);
  to.bits = (b & 0x7fffffffu) > INFINITY_BITS ? 0x7fc0 : (unsigned short)((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
}
__device__ __forceinline__ void set(f16& to, float v) {
#ifdef EMULATOR
  to.bits = emulated_float_to_half(v);
#else
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(v));
#endif
}

/// Eight elements at once, where they begin at a multiple of sixteen bytes.
__device__ __forceinline__ void load_whole(const float* p, float* out) {
  const float4 a = ((const float4*)p)[0], b = ((const float4*)p)[1];
  out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w, out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
}
template <typename E>
__device__ __forceinline__ void load_whole(const E* p, float* out) {
  const uint4 v = *(const uint4*)p;
  const unsigned words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    E low, high;
    low.bits = (unsigned short)words[i], high.bits = (unsigned short)(words[i] >> 16);
    out[2 * i] = to_float(low), out[2 * i + 1] = to_float(high);
  }
}
__device__ __forceinline__ void store_whole(float* p, const float* v) {
  float4 a, b;
  a.x = v[0], a.y = v[1], a.z = v[2], a.w = v[3], b.x = v[4], b.y = v[5], b.z = v[6], b.w = v[7];
  ((float4*)p)[0] = a, ((float4*)p)[1] = b;
}
template <typename E>
__device__ __forceinline__ void store_whole(E* p, const float* v) {
  unsigned words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    E low, high;
    set(low, v[2 * i]), set(high, v[2 * i + 1]);
    words[i] = (unsigned)low.bits | (unsigned)high.bits << 16;
  }
  uint4 out;
  out.x = words[0], out.y = words[1], out.z = words[2], out.w = words[3];
  *(uint4*)p = out;
}

/// Elements [at, at + 8) of a row of so many; those behind its end are 0. whole: rows are of whole eights and begin at sixteen bytes.
template <typename E>
__device__ __forceinline__ void load8(const E* row, i64 at, i64 width, bool whole, float* out) {
  if (whole) {
    load_whole(row + at, out);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) out[i] = at + i < width ? to_float(row[at + i]) : 0.0f;
}
template <typename E>
__device__ __forceinline__ void store8(E* row, i64 at, i64 width, bool whole, const float* v) {
  if (whole) {
    store_whole(row + at, v);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i)
    if (at + i < width) set(row[at + i], v[i]);
}
__device__ __forceinline__ bool aligned(const void* p) { return ((u64)p & 15) == 0; }

__device__ __forceinline__ int lane_index() { return threadIdx.x & 31; }
__device__ __forceinline__ int warp_index() { return threadIdx.x >> 5; }

/// The sum over the warp, the same bits in every lane.
template <typename N>
__device__ __forceinline__ N warp_sum(N v) {
  for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(ALL, v, d);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
  for (int d = 16; d > 0; d >>= 1) v = fmaxf(v, __shfl_xor_sync(ALL, v, d));
  return v;
}

// What a block adds up goes through one of two slots: sums that follow each other take them in turn, so that one barrier each is enough.

/// The sum over the block through one such slot.
template <typename N>
__device__ __forceinline__ N block_sum_by(N* part, N v) {
  const int warps = blockDim.x >> 5;
  v = warp_sum(v);
  if (lane_index() == 0) part[warp_index()] = v;
  __syncthreads();
  return warp_sum(lane_index() < warps ? part[lane_index()] : N(0));
}

/// The sum over the block, the same bits in every thread.
__device__ float block_sum(float v, int slot) {
  __shared__ float part[2][32];
  return block_sum_by(part[slot], v);
}
__device__ double block_sum(double v, int slot) {
  __shared__ double part[2][32];
  return block_sum_by(part[slot], v);
}
/// The largest of the block; a NaN is passed over.
__device__ float block_max(float v, int slot) {
  __shared__ float part[2][32];
  const int warps = blockDim.x >> 5;
  v = warp_max(v);
  if (lane_index() == 0) part[slot][warp_index()] = v;
  __syncthreads();
  return warp_max(lane_index() < warps ? part[slot][lane_index()] : -__uint_as_float(INFINITY_BITS));
}

/// This thread among those of all blocks of a row of the grid.
__device__ __forceinline__ i64 thread_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
