// y = x · Wᵀ + b in bfloat16 for a few rows of W, by the instruction VDPBF16PS, which .NET has no name for; the same
// method as RowLinearKernel in C#, which other processors use. This file alone is compiled for AVX512-BF16: it includes
// nothing whose inline functions could end up in code for every processor.

#include "row_products.h"

#include <immintrin.h>

#include <cstdint>

namespace {

constexpr int kTile = 4;        // rows of x and of W in one tile: sixteen sums stay in registers
constexpr int kLanes = 32;      // elements of one register
constexpr int kBlockRows = 32;  // rows of x that stay in the cache while rows of W pass by
constexpr int kLine = 64;       // bytes of a line of the cache
constexpr int kAhead = 8192;    // bytes between the row of W that is asked for and the one that is read

inline __m512bh load(const uint16_t* source) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(source)); }

inline __m512bh load(const uint16_t* source, __mmask32 inside) {
  return reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi16(inside, source));
}

/// In each quarter the sums of that quarter of four registers.
inline __m512 in_quarters(const __m512* a) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
  const __m512d ab2 = _mm512_castps_pd(ab), cd2 = _mm512_castps_pd(cd);
  return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab2, cd2)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab2, cd2)));
}

/// (quarter 0 + quarter 1) + (quarter 2 + quarter 3).
inline __m128 quarters(__m512 a) {
  const __m128 low = _mm_add_ps(_mm512_castps512_ps128(a), _mm512_extractf32x4_ps(a, 1));
  return _mm_add_ps(low, _mm_add_ps(_mm512_extractf32x4_ps(a, 2), _mm512_extractf32x4_ps(a, 3)));
}

/// The same for four rows at once.
inline __m512 quarters(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
  const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x88), _mm512_shuffle_f32x4(c, d, 0xDD));
  return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
}

/// One tile: sums of Rows rows of x with four rows of W, one row behind the other. Each sum is taken in the same order, whatever Rows is.
template <int Rows>
inline void tile(const uint16_t* x, int64_t x_stride, const uint16_t* const* w, int inputs, __m128* result) {
  __m512 sums[Rows][kTile];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int o = 0; o < kTile; ++o) sums[r][o] = _mm512_setzero_ps();
  const int whole = inputs / kLanes * kLanes;
  const uint16_t *w0 = w[0], *w1 = w[1], *w2 = w[2], *w3 = w[3];
  for (int i = 0; i < whole; i += kLanes) {
    const __m512bh p = load(w0 + i), q = load(w1 + i), s = load(w2 + i), t = load(w3 + i);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const __m512bh value = load(x + r * x_stride + i);
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], value, p);
      sums[r][1] = _mm512_dpbf16_ps(sums[r][1], value, q);
      sums[r][2] = _mm512_dpbf16_ps(sums[r][2], value, s);
      sums[r][3] = _mm512_dpbf16_ps(sums[r][3], value, t);
    }
  }
  if (whole < inputs) {
    const __mmask32 inside = (1u << (inputs - whole)) - 1;
    const __m512bh p = load(w0 + whole, inside), q = load(w1 + whole, inside), s = load(w2 + whole, inside), t = load(w3 + whole, inside);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const __m512bh value = load(x + r * x_stride + whole, inside);
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], value, p);
      sums[r][1] = _mm512_dpbf16_ps(sums[r][1], value, q);
      sums[r][2] = _mm512_dpbf16_ps(sums[r][2], value, s);
      sums[r][3] = _mm512_dpbf16_ps(sums[r][3], value, t);
    }
  }
  if (Rows == kTile)
    _mm512_storeu_ps(reinterpret_cast<float*>(result),
                     quarters(in_quarters(sums[0]), in_quarters(sums[1 % Rows]), in_quarters(sums[2 % Rows]), in_quarters(sums[3 % Rows])));
  else
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) result[r] = quarters(in_quarters(sums[r]));
}

}  // namespace

namespace handbook {

void row_products(const RowProducts* job, int first, int count) {
  const int inputs = job->inputs;
  __m128 sums[kTile];
  // Rows of W are asked for while earlier ones are worked on; beyond the last one a prefetch does nothing.
  const int64_t tile_bytes = static_cast<int64_t>(kTile) * inputs * sizeof(uint16_t);
  const int64_t ahead = tile_bytes * (tile_bytes < kAhead ? kAhead / tile_bytes : 1);
  for (int from = 0; from < job->rows; from += kBlockRows) {
    const int to = job->rows - from < kBlockRows ? job->rows : from + kBlockRows;
    for (int done = 0; done < count; done += kTile) {
      const int outputs = count - done < kTile ? count - done : kTile;
      const uint16_t* w[kTile];
      for (int o = 0; o < kTile; ++o) w[o] = job->weight + static_cast<int64_t>(first + done + (o < outputs ? o : 0)) * inputs;
      if (from == 0)
        for (int64_t i = 0; i < tile_bytes; i += kLine) _mm_prefetch(reinterpret_cast<const char*>(w[0]) + ahead + i, _MM_HINT_T1);
      alignas(16) float bias[kTile] = {};
      if (job->bias)
        for (int o = 0; o < outputs; ++o) {
          const uint32_t bits = static_cast<uint32_t>(job->bias[first + done + o]) << 16;
          bias[o] = __builtin_bit_cast(float, bits);
        }
      const __mmask8 inside = static_cast<__mmask8>((1 << outputs) - 1);
      for (int row = from; row < to; row += kTile) {
        const uint16_t* x = job->x + row * job->x_stride;
        const int rows = to - row < kTile ? to - row : kTile;
        switch (rows) {
          case 1:
            tile<1>(x, job->x_stride, w, inputs, sums);
            break;
          case 2:
            tile<2>(x, job->x_stride, w, inputs, sums);
            break;
          case 3:
            tile<3>(x, job->x_stride, w, inputs, sums);
            break;
          default:
            tile<4>(x, job->x_stride, w, inputs, sums);
            break;
        }
        for (int r = 0; r < rows; ++r) {
          const __m128 sum = job->bias ? _mm_add_ps(sums[r], _mm_load_ps(bias)) : sums[r];
          const int64_t place = static_cast<int64_t>(row + r) * job->outputs + first + done;
          if (job->wide)
            _mm_mask_storeu_ps(static_cast<float*>(job->y) + place, inside, sum);
          else
            _mm_mask_storeu_epi16(static_cast<uint16_t*>(job->y) + place, inside, reinterpret_cast<__m128i>(_mm_cvtneps_pbh(sum)));
        }
      }
    }
  }
}

}  // namespace handbook
