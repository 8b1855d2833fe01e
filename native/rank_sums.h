// Values of all ranks, which lie one behind the other, made into one in the order of the ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace handbook {

enum Reduction : int { kSum = 0, kMax = 1, kMin = 2 };

template <typename T, typename Wide, typename Operation>
void combine_as(const at::Tensor& parts, const at::Tensor& result, int size, Operation operation) {
  const int64_t count = result.numel();
  const T* in = static_cast<const T*>(parts.data_ptr());
  T* out = static_cast<T*>(result.data_ptr());
  constexpr int64_t kBlock = 512;
  Wide sums[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t length = std::min(kBlock, count - begin);
    for (int64_t i = 0; i < length; ++i) sums[i] = static_cast<Wide>(in[begin + i]);
    for (int rank = 1; rank < size; ++rank) {
      const T* part = in + rank * count + begin;
      for (int64_t i = 0; i < length; ++i) sums[i] = operation(sums[i], static_cast<Wide>(part[i]));
    }
    for (int64_t i = 0; i < length; ++i) out[begin + i] = static_cast<T>(sums[i]);
  }
}

template <typename T, typename Wide>
void combine_type(const at::Tensor& parts, const at::Tensor& result, int size, int reduction) {
  // what is not a number stays what it is
  if (reduction == kSum)
    combine_as<T, Wide>(parts, result, size, [](Wide a, Wide b) { return static_cast<Wide>(a + b); });
  else if (reduction == kMax)
    combine_as<T, Wide>(parts, result, size, [](Wide a, Wide b) { return a != a || a > b ? a : b; });
  else
    combine_as<T, Wide>(parts, result, size, [](Wide a, Wide b) { return a != a || a < b ? a : b; });
}

/// `result` = parts[0] ∘ parts[1] ∘ …; parts lie one behind the other.
inline void combine(const at::Tensor& parts, const at::Tensor& result, int size, int reduction) {
  switch (result.scalar_type()) {
    case at::kFloat:
      return combine_type<float, float>(parts, result, size, reduction);
    case at::kDouble:
      return combine_type<double, double>(parts, result, size, reduction);
    case at::kBFloat16:
      return combine_type<c10::BFloat16, float>(parts, result, size, reduction);
    case at::kHalf:
      return combine_type<c10::Half, float>(parts, result, size, reduction);
    case at::kLong:
      return combine_type<int64_t, int64_t>(parts, result, size, reduction);
    case at::kInt:
      return combine_type<int32_t, int32_t>(parts, result, size, reduction);
    default:
      throw std::runtime_error(std::string("sums of ") + c10::toString(result.scalar_type()) + " are not offered");
  }
}

}  // namespace handbook
