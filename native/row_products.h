#pragma once
#include <cstdint>

namespace handbook {

/// y = x · Wᵀ + b in bfloat16, summed in float32.
struct RowProducts {
  const uint16_t* x;  // [rows, inputs], rows x_stride elements apart
  int64_t x_stride;
  const uint16_t* weight;  // [outputs, inputs]
  const uint16_t* bias;    // [outputs], or null
  void* y;                 // [rows, outputs]
  int rows, inputs, outputs;
  int wide;  // whether y is float32
};

/// Outputs first … first+count-1 of all rows. The bits of a result depend on its row of x and its row of W alone.
void row_products(const RowProducts* job, int first, int count);

}  // namespace handbook
