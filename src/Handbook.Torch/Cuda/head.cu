// The head: statistics of rows of logits that come in tiles of the vocabulary, and the gradient of the weighted loss in their place.
//   x = scale * logit, or c tanh(scale * logit / c);   lse = log sum e^x;   log p = x_t - lse
//   loss = w ( -(1 - eps) log p_t + eps (lse - mean x) );   dlogit = slope w ( softmax(x) - (1 - eps) onehot(t) - eps / V )
// What is known of a row after some of its tiles, in float64: [rows, 8] = the largest x, sum e^d, sum of d e^d with d = x - largest,
// sum x, x of the target, the largest x's place, sum e^(2d), nothing. -inf counts as a probability of 0; a row with a NaN has NaN.
#define STATE 8

__device__ __forceinline__ float capped(float logit, float scale, float cap) {
  const float x = logit * scale;
  return cap > 0 ? cap * tanhf(x / cap) : x;
}

/// Sums over a part of a row, with the largest taken out.
struct Part {
  float largest, sum, times, squares;
};

__device__ __forceinline__ Part merge(const Part& a, const Part& b) {
  Part r;
  r.largest = fmaxf(a.largest, b.largest);
  // a part of -inf alone, or none, adds nothing
  const float fa = a.largest == r.largest ? 1.0f : expf(a.largest - r.largest);
  const float fb = b.largest == r.largest ? 1.0f : expf(b.largest - r.largest);
  r.sum = a.sum * fa + b.sum * fb;
  r.times = a.sum == 0 ? 0.0f : fa * fmaf(a.sum, a.largest - r.largest, a.times);
  if (b.sum != 0) r.times += fb * fmaf(b.sum, b.largest - r.largest, b.times);
  r.squares = a.squares * fa * fa + b.squares * fb * fb;
  return r;
}

/// Takes a tile in: columns [first, first + width) of the vocabulary, one block a row.
extern "C" __global__ void head_tile(const T* logits, i64 stride, const int* targets, double* states, i64 first, int width, float scale,
                                     float cap) {
  __shared__ Part parts[32];
  __shared__ int places[32];
  const i64 row = blockIdx.x;
  const T* x = logits + row * stride;
  const bool whole = width % 8 == 0 && stride % 8 == 0 && aligned(logits);
  const float lowest = -__uint_as_float(INFINITY_BITS);
  Part p = {lowest, 0, 0, 0};
  float all = 0;
  int place = 0;
  for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
    float v[8], largest = lowest;
    load8(x, i, width, whole, v);
    for (int k = 0; k < 8; ++k) {
      v[k] = i + k < width ? capped(v[k], scale, cap) : lowest;
      all += i + k < width ? v[k] : 0;
      if (v[k] > largest) {
        if (v[k] > p.largest) place = i + k;
        largest = v[k];
      }
      if (largest > p.largest) {  // what was summed up before shrinks
        const float shrunk = expf(p.largest - largest);
        p.times = p.sum == 0 ? 0.0f : shrunk * fmaf(p.sum, p.largest - largest, p.times);
        p.sum *= shrunk, p.squares *= shrunk * shrunk;
        p.largest = largest;
      }
    }
    for (int k = 0; k < 8; ++k) {
      const float d = v[k] - p.largest, e = v[k] == lowest ? 0.0f : expf(d);
      p.sum += e;
      p.times = e == 0 ? p.times : fmaf(e, d, p.times);
      p.squares = fmaf(e, e, p.squares);
    }
  }
  for (int d = 16; d > 0; d >>= 1) {
    Part other;
    other.largest = __shfl_xor_sync(ALL, p.largest, d), other.sum = __shfl_xor_sync(ALL, p.sum, d);
    other.times = __shfl_xor_sync(ALL, p.times, d), other.squares = __shfl_xor_sync(ALL, p.squares, d);
    const int there = __shfl_xor_sync(ALL, place, d);
    if (other.largest > p.largest || (other.largest == p.largest && there < place)) place = there;
    p = merge(p, other);
  }
  if (lane_index() == 0) parts[warp_index()] = p, places[warp_index()] = place;
  all = block_sum(all, 0);  // its barrier stands between the writing above and the reading below
  if (threadIdx.x > 0) return;
  for (int warp = 1; warp < (int)(blockDim.x >> 5); ++warp) {
    if (parts[warp].largest > p.largest || (parts[warp].largest == p.largest && places[warp] < place)) place = places[warp];
    p = merge(p, parts[warp]);
  }
  double* s = states + row * STATE;
  const double old = s[0], fresh = p.largest, largest = fresh > old ? fresh : old;
  const double shrunk = old == largest ? 1 : exp(old - largest), factor = fresh == largest ? 1 : exp(fresh - largest);
  if (fresh > old) s[5] = (double)(first + place);
  s[0] = largest;
  s[2] = (s[1] == 0 ? 0 : shrunk * (s[2] + s[1] * (old - largest))) + (p.sum == 0 ? 0 : factor * (p.times + p.sum * (fresh - largest)));
  s[1] = s[1] * shrunk + p.sum * factor;
  s[3] += all;
  const i64 target = targets[row] - first;
  if (target >= 0 && target < width) s[4] = capped(to_float(x[target]), scale, cap);
  s[6] = s[6] * shrunk * shrunk + p.squares * factor * factor;
}

/// The gradient of a tile in place of its logits: (x, y) is eight columns a thread of row x.
extern "C" __global__ void head_gradient(T* logits, i64 stride, const int* targets, const double* weights, const double* lse, i64 first,
                                         int width, i64 vocabulary, float scale, float cap, float smoothing) {
  const i64 row = blockIdx.x;
  const int at = (blockIdx.y * blockDim.x + threadIdx.x) * 8;
  if (at >= width) return;
  T* x = logits + row * stride;
  const bool whole = width % 8 == 0 && stride % 8 == 0 && aligned(logits);
  const float weight = targets[row] < 0 ? 0.0f : (float)weights[row], sum = (float)lse[row], smooth = smoothing / vocabulary;
  const i64 target = targets[row] - first - at;
  float v[8];
  load8(x, at, width, whole, v);
  for (int k = 0; k < 8; ++k) {
    const float value = capped(v[k], scale, cap);
    const float slope = cap > 0 ? scale * (1 - value / cap * (value / cap)) : scale;
    const float p = expf(value - sum) - smooth - (k == target ? 1 - smoothing : 0.0f);
    v[k] = weight == 0 ? 0.0f : slope * weight * p;
  }
  store8(x, at, width, whole, v);
}

#ifdef ONCE  // what is the same for every T is there for one of them

/// Begins the states of some rows.
extern "C" __global__ void head_begin(double* states, i64 rows) {
  const i64 row = thread_index();
  if (row >= rows) return;
  double* s = states + row * STATE;
  s[0] = -(double)__uint_as_float(INFINITY_BITS);
  for (int k = 1; k < STATE; ++k) s[k] = 0;
}

/// What the states say; all but log_probs and lse may be null. Rows without a target (-1) have log p = 0.
extern "C" __global__ void head_finish(const double* states, const int* targets, double* log_probs, double* lse, double* entropy,
                                       double* mean_logits, double* log_squares, int* arg_max, i64 rows, i64 vocabulary) {
  const i64 row = thread_index();
  if (row >= rows) return;
  const double* s = states + row * STATE;
  // a NaN among the logits passes the largest by, but not their sum; +inf leaves no probabilities
  const double total = s[3] != s[3] || s[0] == (double)__uint_as_float(INFINITY_BITS) ? s[3] - s[3] : s[1], sum = s[0] + log(total);
  lse[row] = sum;
  log_probs[row] = targets[row] < 0 ? 0 : s[4] - sum;
  if (entropy) entropy[row] = log(total) - s[2] / total;
  if (mean_logits) mean_logits[row] = s[3] / vocabulary;
  if (log_squares) log_squares[row] = 2 * (s[0] - sum) + log(s[6]);
  if (arg_max) arg_max[row] = (int)s[5];
}

#endif
