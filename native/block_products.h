#pragma once
#include <cstdint>

namespace handbook {

/// result (+)= left · right (+ bias), both in bfloat16, summed in float32; strides count elements.
struct BlockProduct {
  const uint16_t* left;  // [rows, terms]
  int64_t left_row, left_term;
  const uint16_t* right;  // [terms, columns]
  int64_t right_term, right_column;
  const float* bias;  // [columns], or null
  void* result;       // [rows, columns], rows without gaps, result_row elements apart
  int64_t result_row;
  int rows, terms, columns;
  int wide;  // whether result is float32; else it is bfloat16
  int add;   // whether the sums are added to what stands there; float32 only
};

/// Some columns of the result. The bits of a sum depend on its row and its column alone.
void block_product(const BlockProduct* job, int first, int last);

}  // namespace handbook
