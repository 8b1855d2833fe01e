// The choice of experts, in float64 as on the CPU: one warp has one token.
//   v = softmax(logits), or sigmoid;   chosen: the K largest v + b, of those in the best groups where there are several
//   w_k = v_k / sum over chosen of v * scale, or v_k * scale;   a group is as good as its best two, and experts of others count as 0
// Of equal ones the first is taken; a value that is no number stands behind all others.

#ifdef ONCE

#define LEAST 1e-20  // what a normalised sum is never below

__device__ __forceinline__ double warp_top(double v) {
  for (int d = 16; d > 0; d >>= 1) {
    const double other = __shfl_xor_sync(ALL, v, d);
    v = other > v ? other : v;
  }
  return v;
}

/// Whether value a at place i stands before value b at place j; place -1 is nothing.
__device__ __forceinline__ bool before(double a, int i, double b, int j) {
  if (i < 0 || j < 0) return j < 0 && i >= 0;
  const bool none_a = a != a, none_b = b != b;
  if (none_a || none_b) return none_a == none_b ? i < j : none_b;
  return a > b || (a == b && i < j);
}

/// The place of the first of so many values that are not yet taken. Bit n of taken, and of in, is the lane's n-th value; those that are
/// not in count as 0. A lane reads what it has written itself.
__device__ __forceinline__ int take_first(const double* values, int count, unsigned in, unsigned* taken) {
  double best = 0;
  int place = -1;
  for (int i = lane_index(), bit = 0; i < count; i += 32, ++bit) {
    const double value = in >> bit & 1 ? values[i] : 0.0;
    if (!(*taken >> bit & 1) && before(value, i, best, place)) best = value, place = i;
  }
  for (int d = 16; d > 0; d >>= 1) {
    const double other = __shfl_xor_sync(ALL, best, d);
    const int there = __shfl_xor_sync(ALL, place, d);
    if (before(other, there, best, place)) best = other, place = there;
  }
  if (place >= 0 && place % 32 == lane_index()) *taken |= 1u << place / 32;
  return place;
}

/// v of one token: each lane writes those of its own experts.
__device__ __forceinline__ void values_of(const float* logits, int experts, int is_sigmoid, double* v) {
  double largest = -(double)__uint_as_float(INFINITY_BITS), sum = 0;
  for (int e = lane_index(); e < experts; e += 32) largest = (double)logits[e] > largest ? (double)logits[e] : largest;
  largest = warp_top(largest);
  for (int e = lane_index(); e < experts; e += 32) {
    v[e] = is_sigmoid ? 1 / (1 + exp(-(double)logits[e])) : exp((double)logits[e] - largest);
    sum += v[e];
  }
  sum = warp_sum(sum);
  for (int e = lane_index(); e < experts && !is_sigmoid; e += 32) v[e] /= sum;
}
/// What likelihoods are parts of: 1 after a softmax.
__device__ __forceinline__ double whole_of(const double* v, int experts, int is_sigmoid) {
  double sum = 0;
  for (int e = lane_index(); e < experts; e += 32) sum += v[e];
  sum = warp_sum(sum);
  return is_sigmoid ? LEAST + sum : 1.0;
}

/// One block a token. Shared: v, what experts are chosen by, and that of groups.
extern "C" __global__ void router_forward(const float* logits, const float* correction, float* weights, int* chosen, double* shares,
                                          int experts, int per_token, int groups, int kept, int normalizes, int is_sigmoid, double scale) {
  const i64 token = blockIdx.x;
  const float* row = logits + token * experts;
  double* v = (double*)shared_words;
  double* merit = v + experts;
  double* of_groups = merit + experts;
  values_of(row, experts, is_sigmoid, v);
  // logits where nothing is added: they differ where probabilities have become equal
  for (int e = lane_index(); e < experts; e += 32)
    merit[e] = is_sigmoid || correction ? v[e] + (correction ? (double)correction[e] : 0.0) : (double)row[e];
  __syncwarp();  // what other lanes have written is read
  unsigned in = ALL, taken = 0;
  if (groups > 1) {
    const int size = experts / groups;
    const double lowest = -(double)__uint_as_float(INFINITY_BITS);
    for (int g = lane_index(); g < groups; g += 32) {
      double best = lowest, second = lowest;
      for (int e = g * size; e < (g + 1) * size; ++e) {
        const double m = merit[e];
        if (m > best)
          second = best, best = m;
        else
          second = m != m || m > second ? m : second;
      }
      of_groups[g] = best + second;
    }
    in = 0;
    for (int k = 0; k < kept; ++k) {
      const int group = take_first(of_groups, groups, ALL, &taken);
      for (int e = lane_index(), bit = 0; e < experts; e += 32, ++bit)
        if (e / size == group) in |= 1u << bit;
    }
    taken = 0;
  }
  double sum = is_sigmoid ? LEAST : 0.0;
  int own = 0;  // lane k has the k-th choice
  for (int k = 0; k < per_token; ++k) {
    const int expert = take_first(merit, experts, in, &taken);
    if (k == lane_index()) own = expert;
    sum += v[expert];
  }
  if (lane_index() < per_token) {
    chosen[token * per_token + lane_index()] = own;
    weights[token * per_token + lane_index()] = (float)((normalizes ? v[own] / sum : v[own]) * scale);
  }
  const double all = whole_of(v, experts, is_sigmoid);
  for (int e = lane_index(); e < experts && shares; e += 32) shares[token * experts + e] = v[e] / all;
}

/// What visits each expert, and its shares, over 64 tokens: block (x, y) is the x-th such piece, an expert a thread.
/// parts: [., 2, experts].
extern "C" __global__ void router_tally(const int* chosen, const double* shares, const float* counts, double* parts, i64 tokens,
                                        int experts, int per_token) {
  const int expert = blockIdx.y * blockDim.x + threadIdx.x;
  const i64 first = (i64)blockIdx.x * 64, end = first + 64 < tokens ? first + 64 : tokens;
  if (expert >= experts) return;
  double taken = 0, likely = 0;
  for (i64 token = first; token < end; ++token) {
    for (int k = 0; k < per_token; ++k)
      if (chosen[token * per_token + k] == expert) taken += (double)counts[token];
    likely += (double)counts[token] * shares[token * experts + expert];
  }
  parts[(2 * (i64)blockIdx.x) * experts + expert] = taken;
  parts[(2 * (i64)blockIdx.x + 1) * experts + expert] = likely;
}

/// The gradient of the logits, one block a token. Through normalised weights of a softmax it goes to the logits at once, however small v
/// are. Shared: v, derivatives by v, and by logits.
extern "C" __global__ void router_backward(const float* logits, const int* chosen, const float* slopes, const double* spread,
                                           const float* counts, float* gradient, int experts, int per_token, int normalizes, int is_sigmoid,
                                           double scale) {
  const i64 token = blockIdx.x;
  const int* own = chosen + token * per_token;
  const float* slope = slopes + token * per_token;
  double* v = (double*)shared_words;
  double* dv = v + experts;
  double* direct = dv + experts;
  values_of(logits + token * experts, experts, is_sigmoid, v);
  for (int e = lane_index(); e < experts; e += 32) dv[e] = direct[e] = 0;
  __syncwarp();  // lane k reads and writes what belongs to the expert of choice k
  if (slopes) {
    double sum = 0, mean = 0;
    for (int k = lane_index(); k < per_token; k += 32) sum += v[own[k]];
    sum = warp_sum(sum) + (is_sigmoid ? LEAST : 0.0);
    for (int k = lane_index(); k < per_token; k += 32) mean += v[own[k]] / sum * ((double)slope[k] * scale);
    mean = warp_sum(mean);
    for (int k = lane_index(); k < per_token; k += 32) {
      const double s = (double)slope[k] * scale;
      if (!normalizes)
        dv[own[k]] = s;
      else if (is_sigmoid)
        dv[own[k]] = (s - mean) / sum;
      else
        direct[own[k]] = v[own[k]] / sum * (s - mean);
    }
    __syncwarp();  // each lane goes on with its own experts
  }
  if (spread) {
    const double all = whole_of(v, experts, is_sigmoid);
    double mean = 0;
    for (int e = lane_index(); e < experts && is_sigmoid; e += 32) mean += v[e] / all * spread[e];
    mean = warp_sum(mean);
    for (int e = lane_index(); e < experts; e += 32) dv[e] += (double)counts[token] * (spread[e] - mean) / all;
  }
  double average = 0;
  for (int e = lane_index(); e < experts && !is_sigmoid; e += 32) average += v[e] * dv[e];
  average = warp_sum(average);
  for (int e = lane_index(); e < experts; e += 32)
    gradient[token * experts + e] = (float)(direct[e] + (is_sigmoid ? v[e] * (1 - v[e]) * dv[e] : v[e] * (dv[e] - average)));
}

#endif
