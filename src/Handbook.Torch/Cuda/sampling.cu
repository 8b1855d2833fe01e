// The next token of each row of logits, as the sampler of the CPU draws it: temperature, the k likeliest, the likeliest of a mass, those of
// a share of the largest weight, then a draw in the order of the vocabulary by SplitMix64. One block a row.

#ifdef ONCE

/// What may be drawn: weights above one, and the first few of exactly this one. Weights lie in (0, 1], where bits are ordered as numbers
/// are.
struct Limit {
  unsigned bits;
  int equal;
};

__device__ __forceinline__ bool reaches(float weight, unsigned bits) { return weight >= __uint_as_float(bits); }

/// How many weights reach a limit, or what they are together.
__device__ __forceinline__ double reached(const float* weights, int vocabulary, unsigned bits, bool by_mass, int slot) {
  double sum = 0;
  for (int i = threadIdx.x; i < vocabulary; i += blockDim.x)
    if (reaches(weights[i], bits)) sum += by_mass ? (double)weights[i] : 1.0;
  return block_sum(sum, slot);
}

/// What a limit lets through, together.
__device__ __forceinline__ double mass_of(const float* weights, int vocabulary, Limit limit) {
  const double above = reached(weights, vocabulary, limit.bits + 1, true, 0);
  const double ties = reached(weights, vocabulary, limit.bits, false, 1) - reached(weights, vocabulary, limit.bits + 1, false, 0);
  return above + (double)__uint_as_float(limit.bits) * (ties < limit.equal ? ties : limit.equal);
}

/// The likeliest tokens that another limit lets through, whose number or weight together reaches a target; of equal ones the first.
__device__ __forceinline__ Limit select(const float* weights, int vocabulary, double target, bool by_mass, Limit within) {
  unsigned low = within.bits > 1 ? within.bits : 1, high = 0x3f800001u;
  int slot = 1;
  double above = 0;
  while (high - low > 1) {
    const unsigned middle = low + (high - low) / 2;
    const double sum = reached(weights, vocabulary, middle, by_mass, slot);
    slot ^= 1;
    if (sum >= target)
      low = middle;
    else
      high = middle, above = sum;
  }
  const double unit = by_mass ? (double)__uint_as_float(low) : 1.0, missing = ceil((target - above) / unit);
  Limit limit = {low, missing < 1 ? 1 : missing > 2147483647.0 ? 2147483647 : (int)missing};
  if (low == within.bits && within.equal < limit.equal) limit.equal = within.equal;
  __syncthreads();  // both slots have been read
  return limit;
}

/// tokens[row] is -1 where the logits are no numbers. weights: [rows, vocabulary], to work in. states: of SplitMix64, go on. Of the options
/// there is one for each row: temperature 0 takes the likeliest; top_k 0, top_p 1 and min_p 0 leave all. log_probs are those of the model
/// itself.
extern "C" __global__ void __launch_bounds__(512)
    draw_tokens(const float* logits, i64 stride, int vocabulary, float* weights, u64* states, const float* temperatures, const int* top_k,
                const double* top_p, const float* min_p, int* tokens, double* log_probs) {
  __shared__ int ties[512], last[512], chosen;
  __shared__ double masses[512], left;
  const i64 row = blockIdx.x;
  const float* x = logits + row * stride;
  float* w = weights + row * vocabulary;
  const float lowest = -__uint_as_float(INFINITY_BITS), temperature = temperatures[row];
  float largest = lowest;
  for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) largest = fmaxf(largest, x[i]);
  largest = block_max(largest, 0);
  double total = 0, sum = 0;
  const float factor = 1.0f / temperature;
  for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) {
    const float d = x[i] - largest;
    total += (double)expf(d);
    w[i] = temperature == 0 ? (d == 0 ? 1.0f : 0.0f) : expf(d * factor);
    sum += (double)w[i];
  }
  total = block_sum(total, 0);
  sum = block_sum(sum, 1);  // its barrier stands between the writing of the weights and the reading by others
  if (total != total) {
    if (threadIdx.x == 0) tokens[row] = -1, log_probs[row] = total;
    return;
  }
  Limit limit = {0, 2147483647};
  double mass = sum;
  if (temperature == 0) {
    limit.bits = 0x3f800000u, limit.equal = 1, mass = 1;
  } else {
    if (top_k[row] > 0 && top_k[row] < vocabulary) {
      limit = select(w, vocabulary, top_k[row], false, limit);
      mass = mass_of(w, vocabulary, limit);
    }
    if (top_p[row] < 1) {
      limit = select(w, vocabulary, top_p[row] * mass, true, limit);
      mass = mass_of(w, vocabulary, limit);
    }
    if (min_p[row] > __uint_as_float(limit.bits)) {
      limit.bits = __float_as_uint(min_p[row]), limit.equal = 2147483647;
      mass = mass_of(w, vocabulary, limit);
    }
  }
  // A thread has a piece of the vocabulary: the ties in the pieces before it say how many of its own may be drawn.
  const int piece = (vocabulary + blockDim.x - 1) / blockDim.x, first = threadIdx.x * piece;
  const int end = first + piece < vocabulary ? first + piece : vocabulary;
  const float border = __uint_as_float(limit.bits);
  int own = 0;
  for (int i = first; i < end; ++i) own += w[i] == border;
  ties[threadIdx.x] = own;
  __syncthreads();
  int equal = limit.equal, end_of = -1;
  for (int t = 0; t < (int)threadIdx.x && equal > 0; ++t) equal -= ties[t] < equal ? ties[t] : equal;
  double kept = 0;
  int free = equal;
  for (int i = first; i < end; ++i) {
    if (w[i] < border || w[i] == 0 || (w[i] == border && free-- <= 0)) continue;
    kept += (double)w[i], end_of = i;
  }
  masses[threadIdx.x] = kept, last[threadIdx.x] = end_of;
  __syncthreads();
  if (threadIdx.x == 0) {
    u64 z = states[row] + 0x9E3779B97F4A7C15ull;
    if (temperature != 0) states[row] = z;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    double target = (double)((z ^ z >> 31) >> 11) * (1.0 / 9007199254740992.0) * mass;
    int thread = -1;
    for (int t = 0; t < (int)blockDim.x && target >= 0; ++t) {
      if (last[t] < 0) continue;
      thread = t;
      if (target < masses[t]) break;
      target -= masses[t];
    }
    chosen = thread, left = target;
  }
  __syncthreads();
  if ((int)threadIdx.x != chosen) return;
  double target = left;
  int token = end_of;  // rounding led behind the last one
  for (int i = first; i < end; ++i) {
    if (w[i] < border || w[i] == 0 || (w[i] == border && equal-- <= 0)) continue;
    if ((target -= (double)w[i]) < 0) {
      token = i;
      break;
    }
  }
  tokens[row] = token;
  log_probs[row] = (double)(x[token] - largest) - log(total);
}

#endif
