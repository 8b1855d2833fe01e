// Products with few rows, of which each is computed by itself: its bits do not depend on which others come along.

/// y = x W^T + b: a warp has one row of W, and eight rows of x from 8 y on. x: rows `stride` apart; W: [outputs, columns]; b null for none.
/// The result goes to y, or where y is null unrounded to wide.
extern "C" __global__ void row_linear(const T* x, i64 stride, const T* weight, const T* bias, T* y, float* wide, i64 rows, i64 columns,
                                      i64 outputs) {
  const i64 out = thread_index() / 32, first = (i64)blockIdx.y * 8;
  if (out >= outputs) return;
  const T* w = weight + out * columns;
  const bool whole = columns % 8 == 0 && stride % 8 == 0 && aligned(x) && aligned(weight);
  float total[8] = {0, 0, 0, 0, 0, 0, 0, 0}, a[8], b[8];
  for (i64 i = lane_index() * 8; i < columns; i += 32 * 8) {
    load8(w, i, columns, whole, b);
#pragma unroll
    for (int row = 0; row < 8; ++row)
      if (first + row < rows) {
        load8(x + (first + row) * stride, i, columns, whole, a);
        for (int k = 0; k < 8; ++k) total[row] = fmaf(a[k], b[k], total[row]);
      }
  }
  const float shift = bias ? to_float(bias[out]) : 0.0f;
#pragma unroll
  for (int row = 0; row < 8; ++row)
    if (first + row < rows) {
      const float sum = warp_sum(total[row]);
      if (lane_index() > 0) continue;
      if (y)
        set(y[(first + row) * outputs + out], bias ? sum + shift : sum);
      else
        wide[(first + row) * outputs + out] = bias ? sum + shift : sum;
    }
}
