// Matrices as codes with scales, as bitsandbytes keeps them: to codes, from codes, and products with few rows. Values lie behind one
// another, row by row, in blocks without regard to rows; two codes of four bits share a byte, the first in its high half.
//   four bits:   w = book[code] * scale(block);   scale double: dynamic[code] * nested(block / 256) + offset
//   int8:        w = code * scale(row) * (1/127)
// Each product and sum is rounded once, so that the values are those of the CPU to the bit.

#define NESTED_BLOCK 256

/// What the values of codes are made from. scales: null where they are codes. book: 16 values, behind them the 256 of codes of scales.
struct Codes {
  const u8* codes;
  const float* scales;
  const u8* scale_codes;
  const float* nested;
  const float* book;
  float offset;
  int block;
};

__device__ __forceinline__ float scale_of(const Codes& c, i64 block) {
  return c.scales ? c.scales[block] : c.book[16 + c.scale_codes[block]] * c.nested[block / NESTED_BLOCK] + c.offset;
}
__device__ __forceinline__ float value_of(const Codes& c, i64 i) {
  const int byte = c.codes[i >> 1];
  return c.book[i & 1 ? byte & 15 : byte >> 4] * scale_of(c, i / c.block);
}

/// Eight values from i on, where i and the size of a block are multiples of eight, and the codes begin at four bytes.
__device__ __forceinline__ void eight_values(const Codes& c, const float* book, i64 i, float* out) {
  const unsigned bytes = *(const unsigned*)(c.codes + (i >> 1));
  const float scale = scale_of(c, i / c.block);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    out[2 * k] = book[bytes >> (8 * k + 4) & 15] * scale;
    out[2 * k + 1] = book[bytes >> (8 * k) & 15] * scale;
  }
}

/// y = the values of some columns of some rows; (x, y) is eight columns a thread of row x.
extern "C" __global__ void four_bit_values(const u8* codes, const float* scales, const u8* scale_codes, const float* nested,
                                           const float* book, float offset, int block, i64 columns, i64 first_row, i64 first_column, T* y,
                                           int width) {
  const Codes c = {codes, scales, scale_codes, nested, book, offset, block};
  const int at = (blockIdx.y * blockDim.x + threadIdx.x) * 8;
  if (at >= width) return;
  const i64 from = (first_row + blockIdx.x) * columns + first_column + at;
  const bool whole = width % 8 == 0 && aligned(y), even = at + 8 <= width && from % 8 == 0 && block % 8 == 0 && ((u64)codes & 3) == 0;
  float v[8];
  if (even)
    eight_values(c, book, from, v);
  else
    for (int k = 0; k < 8; ++k) v[k] = at + k < width ? value_of(c, from + k) : 0.0f;
  store8(y + (i64)blockIdx.x * width, at, width, whole, v);
}

/// The same of int8; scales null: the codes themselves.
extern "C" __global__ void int8_values(const i8* codes, const float* scales, i64 columns, i64 first_row, i64 first_column, T* y,
                                       int width) {
  const int at = (blockIdx.y * blockDim.x + threadIdx.x) * 8;
  if (at >= width) return;
  const i64 row = first_row + blockIdx.x;
  const i8* from = codes + row * columns + first_column + at;
  const float scale = scales ? scales[row] : 1.0f, step = scales ? 1.0f / 127 : 1.0f;
  float v[8];
  for (int k = 0; k < 8; ++k) v[k] = at + k < width ? from[k] * scale * step : 0.0f;
  store8(y + (i64)blockIdx.x * width, at, width, width % 8 == 0 && aligned(y), v);
}

/// Codes of blocks of 64 values, a warp each; order and middles are those of the book: the code of x is order[how many middles are below
/// x].
extern "C" __global__ void quantise_four_bits(const T* values, i64 count, const float* middles, const u8* order, u8* codes, float* scales) {
  const i64 block = thread_index() / 32, at = block * 64 + lane_index() * 2;
  if (block * 64 >= count) return;
  const float a = at < count ? to_float(values[at]) : 0.0f, b = at + 1 < count ? to_float(values[at + 1]) : 0.0f;
  const float scale = warp_max(fmaxf(fabsf(a), fabsf(b))), factor = scale == 0 ? 0.0f : 1.0f / scale;
  if (lane_index() == 0) scales[block] = scale;
  if (at >= count) return;
  const float x = a * factor, y = b * factor;
  int i = 0, j = 0;
  for (int k = 0; k < 15; ++k) {
    const float middle = middles[k];
    i += middle < x, j += middle < y;
  }
  codes[at >> 1] = (u8)(order[i] << 4 | order[j]);
}

/// Codes of a row, one block each: the row in half precision, divided by its largest.
extern "C" __global__ void quantise_int8(const T* values, i64 columns, i8* codes, float* scales) {
  const T* row = values + blockIdx.x * columns;
  f16 half;
  float largest = 0;
  for (i64 i = threadIdx.x; i < columns; i += blockDim.x) {
    set(half, to_float(row[i]));
    largest = fmaxf(largest, fabsf(to_float(half)));
  }
  largest = block_max(largest, 0);
  const float factor = largest == 0 ? 0.0f : 1.0f / largest * 127;
  if (threadIdx.x == 0) scales[blockIdx.x] = largest;
  for (i64 i = threadIdx.x; i < columns; i += blockDim.x) {
    set(half, to_float(row[i]));
    codes[blockIdx.x * columns + i] = (i8)rintf(to_float(half) * factor);
  }
}

__device__ __forceinline__ float rounded(float v) {
  T r;
  set(r, v);
  return to_float(r);
}
/// Adds what eight columns of W's row give to each row of x.
__device__ __forceinline__ void add_products(const T* x, i64 at, int rows, i64 columns, bool whole, const float* w, float* total) {
  float v[8];
#pragma unroll
  for (int row = 0; row < 8; ++row)
    if (row < rows) {
      load8(x + row * columns, at, columns, whole, v);
      for (int k = 0; k < 8; ++k) total[row] = fmaf(v[k], w[k], total[row]);
    }
}
/// Adds the lanes up, and the bias.
__device__ __forceinline__ void store_products(const float* total, const float* bias, i64 out, int rows, i64 outputs, T* y) {
#pragma unroll
  for (int row = 0; row < 8; ++row)
    if (row < rows) {
      const float sum = warp_sum(total[row]);
      if (lane_index() == 0) set(y[row * outputs + out], bias ? sum + bias[out] : sum);
    }
}

/// y = x W^T + b for up to eight rows of x, with the values of W rounded to T first: a warp has one row of W. x: [rows, columns].
extern "C" __global__ void four_bit_product(const T* x, const u8* codes, const float* scales, const u8* scale_codes, const float* nested,
                                            const float* book, float offset, int block, const float* bias, T* y, int rows, i64 columns,
                                            i64 outputs) {
  __shared__ float values[16];
  if (threadIdx.x < 16) values[threadIdx.x] = book[threadIdx.x];
  __syncthreads();
  const Codes c = {codes, scales, scale_codes, nested, book, offset, block};
  const i64 out = thread_index() / 32;
  if (out >= outputs) return;
  const bool whole = columns % 8 == 0 && aligned(x) && block % 8 == 0 && ((u64)codes & 3) == 0;
  float total[8] = {0, 0, 0, 0, 0, 0, 0, 0}, w[8];
  for (i64 i = lane_index() * 8; i < columns; i += 32 * 8) {
    if (whole)
      eight_values(c, values, out * columns + i, w);
    else
      for (int k = 0; k < 8; ++k) w[k] = i + k < columns ? value_of(c, out * columns + i + k) : 0.0f;
    for (int k = 0; k < 8; ++k) w[k] = rounded(w[k]);
    add_products(x, i, rows, columns, whole, w, total);
  }
  store_products(total, bias, out, rows, outputs, y);
}

/// The same of int8.
extern "C" __global__ void int8_product(const T* x, const i8* codes, const float* scales, const float* bias, T* y, int rows, i64 columns,
                                        i64 outputs) {
  const i64 out = thread_index() / 32;
  if (out >= outputs) return;
  const bool whole = columns % 8 == 0 && aligned(x);
  const float scale = scales[out];
  float total[8] = {0, 0, 0, 0, 0, 0, 0, 0}, w[8];
  for (i64 i = lane_index() * 8; i < columns; i += 32 * 8) {
    for (int k = 0; k < 8; ++k) w[k] = rounded(i + k < columns ? codes[out * columns + i + k] * scale * (1.0f / 127) : 0.0f);
    add_products(x, i, rows, columns, whole, w, total);
  }
  store_products(total, bias, out, rows, outputs, y);
}
