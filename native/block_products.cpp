// Products of matrices in bfloat16 by the instruction VDPBF16PS, which .NET has no name for: the method of
// BlockedProductKernel in C#, which other processors use. This file alone is compiled for AVX512-BF16: it includes
// nothing whose inline functions could end up in code for every processor.

#include "block_products.h"

#include <immintrin.h>

#include <cstdint>
#include <cstdlib>

namespace {

constexpr int kRows = 8;              // of a tile
constexpr int kLanes = 16;            // sums of one register
constexpr int kColumns = 3 * kLanes;  // of a tile: 24 sums, three registers of the right side, one of the left
constexpr int kDepth = 2048;          // most terms that are summed at once: a panel of them stays in the second-level cache
constexpr int kSpare = 2;             // room behind them, for the partner of the last one

/// Working memory of a thread: grown when needed, and kept.
struct Scratch {
  void* memory = nullptr;
  size_t size = 0;
  ~Scratch() { free(memory); }
  void* get(size_t bytes) {
    if (bytes > size) {
      free(memory);
      size = (bytes + 63) / 64 * 64;
      memory = aligned_alloc(64, size);
      if (memory == nullptr) abort();
    }
    return memory;
  }
};

thread_local Scratch t_right, t_left, t_sums;

inline __m512i load(const uint16_t* source, int count) {
  return count >= 32 ? _mm512_loadu_si512(source) : _mm512_maskz_loadu_epi16(count <= 0 ? 0 : (1u << count) - 1, source);
}

inline int least(int a, int b) { return a < b ? a : b; }

/// target[t / 2, j, t % 2] = source[t, j], columns side by side: zeros behind the last row and column.
/// Width is a multiple of 8, at most 48.
template <int Width>
void interleave(const uint16_t* source, int64_t row, int rows, int columns, uint16_t* target) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34,
                                       2, 33, 1, 32, 0);
  for (int t = 0; t < rows; t += 2, source += 2 * row, target += 2 * Width) {
    const bool both = t + 1 < rows;
#pragma GCC unroll 3
    for (int j = 0; j < Width; j += 16) {
      const int count = columns - j < 16 ? columns - j : 16, some = Width - j < 16 ? Width - j : 16;
      const __mmask16 inside = count <= 0 ? 0 : (1u << (count < some ? count : some)) - 1;
      const __m256i a = _mm256_maskz_loadu_epi16(inside, source + j);
      const __m256i b = both ? _mm256_maskz_loadu_epi16(inside, source + row + j) : _mm256_setzero_si256();
      const __m512i ab = _mm512_permutex2var_epi16(_mm512_castsi256_si512(a), low, _mm512_castsi256_si512(b));
      if (some == 16)
        _mm512_storeu_si512(target + 2 * j, ab);
      else
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + 2 * j), _mm512_castsi512_si256(ab));
    }
  }
}

/// Sixteen registers of sixteen 32-bit elements, turned.
inline void turn(__m512i* r) {
  __m512i s[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i a = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88), b = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xDD);
    const __m512i c = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88), d = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xDD);
    s[i] = _mm512_shuffle_i32x4(a, c, 0x88);
    s[i + 8] = _mm512_shuffle_i32x4(a, c, 0xDD);
    s[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
    s[i + 12] = _mm512_shuffle_i32x4(b, d, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = s[i];
}

/// The same of a source whose rows (the terms) lie side by side, columns `column` elements apart.
template <int Width>
void pairs(const uint16_t* source, int64_t column, int rows, int columns, uint16_t* target) {
  for (int j = 0; j < Width; j += 16) {
    const int some = Width - j < 16 ? Width - j : 16;
    for (int t = 0; t < rows; t += 32) {
      __m512i r[16];
      const int left = rows - t;
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k) r[k] = j + k < columns && k < some ? load(source + (j + k) * column + t, left) : _mm512_setzero_si512();
      turn(r);
      const int count = left >= 32 ? 16 : (left + 1) / 2;
      uint16_t* to = target + static_cast<int64_t>(t) * Width + 2 * j;
      for (int k = 0; k < count; ++k, to += 2 * Width)
        if (some == 16)
          _mm512_storeu_si512(to, r[k]);
        else
          _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(r[k]));
    }
  }
}

/// Any strides.
template <int Width>
void any(const uint16_t* source, int64_t row, int64_t column, int rows, int columns, uint16_t* target) {
  for (int t = 0; t < rows; t += 2, target += 2 * Width)
    for (int j = 0; j < Width; ++j)
      for (int k = 0; k < 2; ++k) target[2 * j + k] = j < columns && t + k < rows ? source[(t + k) * row + j * column] : 0;
}

template <int Width>
void panel(const uint16_t* source, int64_t row, int64_t column, int rows, int columns, uint16_t* target) {
  if (column == 1)
    interleave<Width>(source, row, rows, columns, target);
  else if (row == 1)
    pairs<Width>(source, column, rows, columns, target);
  else
    any<Width>(source, row, column, rows, columns, target);
}

/// The sums of a tile: eight rows, of which those behind the last repeat it, and 16 · Parts columns.
/// p: pairs of terms of row i at i · row + t · pair;  q: [terms / 2, 48, 2].
template <int Parts>
inline void sums(const uint16_t* p, int64_t row, int64_t pair, int last, const uint16_t* q, int count, __m512* result) {
  const uint16_t* r[kRows];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) r[i] = p + (i < last ? i : last) * row;
  __m512 s[kRows * Parts];
#pragma GCC unroll 24
  for (int i = 0; i < kRows * Parts; ++i) s[i] = _mm512_setzero_ps();
  int64_t at = 0;
  for (int t = 0; t < count; ++t, at += pair, q += 2 * kColumns) {
    __m512bh b[Parts];
#pragma GCC unroll 3
    for (int j = 0; j < Parts; ++j) b[j] = reinterpret_cast<__m512bh>(_mm512_load_si512(q + 32 * j));
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      int two;
      __builtin_memcpy(&two, r[i] + at, sizeof two);
      const __m512bh a = reinterpret_cast<__m512bh>(_mm512_set1_epi32(two));
#pragma GCC unroll 3
      for (int j = 0; j < Parts; ++j) s[i * Parts + j] = _mm512_dpbf16_ps(s[i * Parts + j], a, b[j]);
    }
  }
#pragma GCC unroll 24
  for (int i = 0; i < kRows * Parts; ++i) result[i] = s[i];
}

struct Target {
  const handbook::BlockProduct* job;
  const float* bias;    // of the panel's first column; or null
  float* partial;       // [rows, 48]: sums so far, where terms are summed in several goes into bfloat16; else null
  int column, columns;  // of the panel
  bool first, last;     // of these goes
};

template <int Parts>
inline void tile(const uint16_t* p, int64_t row, int64_t pair, int rows, const uint16_t* q, int count, const Target& target, int i) {
  const handbook::BlockProduct* job = target.job;
  __m512 s[kRows * Parts];
  sums<Parts>(p, row, pair, rows - 1, q, count, s);
  const bool adds = target.partial == nullptr && (job->add || !target.first);
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 3
    for (int j = 0; j < Parts; ++j) {
      const int width = target.columns - kLanes * j;
      if (width <= 0) continue;
      const __mmask16 inside = width >= kLanes ? 0xFFFF : (1u << width) - 1;
      __m512 sum = s[r * Parts + j];
      if (target.partial != nullptr) {
        float* part = target.partial + static_cast<int64_t>(i + r) * kColumns + kLanes * j;
        if (!target.first) sum = _mm512_add_ps(sum, _mm512_load_ps(part));
        if (!target.last) {
          _mm512_store_ps(part, sum);
          continue;
        }
      }
      if (target.bias != nullptr && target.last) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(inside, target.bias + kLanes * j));
      const int64_t place = static_cast<int64_t>(i + r) * job->result_row + target.column + kLanes * j;
      if (job->wide) {
        float* to = static_cast<float*>(job->result) + place;
        _mm512_mask_storeu_ps(to, inside, adds ? _mm512_add_ps(sum, _mm512_maskz_loadu_ps(inside, to)) : sum);
      } else
        _mm256_mask_storeu_epi16(static_cast<uint16_t*>(job->result) + place, inside, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(sum)));
    }
}

}  // namespace

namespace handbook {

void block_product(const BlockProduct* job, int first, int last) {
  const int goes = job->terms > kDepth ? (job->terms + kDepth - 1) / kDepth : 1;
  const int depth = ((job->terms + goes - 1) / goes + 1) / 2 * 2;
  uint16_t* right = static_cast<uint16_t*>(t_right.get(sizeof(uint16_t) * kColumns * (depth + kSpare)));
  // The left side is read where it lies if its terms do so pair by pair.
  const bool copies = job->left_term != 1 || job->terms % 2 != 0;
  const int tiles = (job->rows + kRows - 1) / kRows;
  const int64_t copied = static_cast<int64_t>(kRows) * (depth + kSpare);
  uint16_t* left = copies ? static_cast<uint16_t*>(t_left.get(sizeof(uint16_t) * goes * tiles * copied)) : nullptr;
  for (int go = 0; copies && go < goes; ++go)
    for (int i = 0; i < tiles; ++i)
      panel<kRows>(job->left + i * kRows * job->left_row + go * depth * job->left_term, job->left_term, job->left_row,
                   least(depth, job->terms - go * depth), least(kRows, job->rows - i * kRows), left + (go * tiles + i) * copied);
  float* partial = goes > 1 && !job->wide ? static_cast<float*>(t_sums.get(sizeof(float) * kColumns * job->rows)) : nullptr;
  for (int column = first; column < last; column += kColumns)
    for (int go = 0; go < goes; ++go) {
      const int term = go * depth, terms = least(depth, job->terms - term), columns = least(kColumns, last - column);
      panel<kColumns>(job->right + term * job->right_term + column * job->right_column, job->right_term, job->right_column, terms, columns,
                      right);
      const Target target{job, job->bias == nullptr ? nullptr : job->bias + column, partial, column, columns, go == 0, go == goes - 1};
      for (int i = 0; i < tiles; ++i) {
        const int rows = least(kRows, job->rows - i * kRows);
        const uint16_t* p = copies ? left + (go * tiles + i) * copied : job->left + i * kRows * job->left_row + term;
        const int64_t row = copies ? 2 : job->left_row, pair = copies ? 2 * kRows : 2;
        if (columns > 2 * kLanes)
          tile<3>(p, row, pair, rows, right, (terms + 1) / 2, target, i * kRows);
        else if (columns > kLanes)
          tile<2>(p, row, pair, rows, right, (terms + 1) / 2, target, i * kRows);
        else
          tile<1>(p, row, pair, rows, right, (terms + 1) / 2, target, i * kRows);
      }
    }
}

}  // namespace handbook
