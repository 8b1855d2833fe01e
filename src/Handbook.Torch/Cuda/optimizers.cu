// Optimisers over flat buckets, and the norm of gradients. Everything is computed in float32 and rounded once.
// factor: one more number that gradients are multiplied by, which a kernel before this one has computed; null for 1.

struct Numbers {
  float a, b, c, d, e, f, g, h;
};

/// The new parameter; s and t are the element's states. The numbers are those of the rules of the CPU, in their order.
__device__ __forceinline__ float update(int rule, const Numbers& n, float p, float g, float& s, float& t) {
  float direction;
  switch (rule) {
    case 0:  // Adam: keep, decay, 1 - beta1, beta2, 1 - beta2, step size, root, epsilon
      g = fmaf(p, n.b, g);
      s = fmaf(g - s, n.c, s);
      t = fmaf(g * g, n.e, t * n.d);
      return fmaf(s / fmaf(sqrtf(t), n.g, n.h), -n.f, p * n.a);
    case 1:  // SGD: rate, momentum, decay, Nesterov
      g = fmaf(p, n.c, g);
      s = fmaf(s, n.b, g);
      return fmaf(n.d != 0 ? fmaf(s, n.b, g) : s, -n.a, p);
    case 2:  // RMSprop: rate, alpha, 1 - alpha, epsilon, decay
      g = fmaf(p, n.e, g);
      s = fmaf(g * g, n.c, s * n.b);
      return fmaf(g / (sqrtf(s) + n.d), -n.a, p);
    case 3:  // Adagrad: rate, epsilon, decay
      g = fmaf(p, n.c, g);
      s = fmaf(g, g, s);
      return fmaf(g / (sqrtf(s) + n.b), -n.a, p);
    case 4:  // Lion: rate, beta1, 1 - beta1, beta2, 1 - beta2, keep
      direction = fmaf(g, n.c, s * n.b);
      s = fmaf(g, n.e, s * n.d);
      direction = direction > 0 ? 1.0f : direction < 0 ? -1.0f : direction;  // NaN stays
      return fmaf(direction, -n.a, p * n.f);
    default:  // schedule-free AdamW: rate, beta2, 1 - beta2, epsilon, decay, share, root, pull
      t = fmaf(g * g, n.c, t * n.b);
      direction = fmaf(p, n.e, g / fmaf(sqrtf(t), n.g, n.d));
      p = fmaf(s - p, n.f, p);
      s = fmaf(direction, -n.a, s);
      return fmaf(direction, n.h, p);
  }
}

/// One step over so many elements; states that a rule lacks, and the copy in bfloat16, are null.
extern "C" __global__ void optimizer_step(int rule, T* parameters, const T* gradients, T* state1, T* state2, bf16* copy, i64 count,
                                          float scale, const float* factor, float a, float b, float c, float d, float e, float f, float g,
                                          float h) {
  const i64 at = thread_index() * 8;
  if (at >= count) return;
  const Numbers numbers = {a, b, c, d, e, f, g, h};
  const bool whole = at + 8 <= count && aligned(parameters) && aligned(gradients) && aligned(state1) && aligned(state2) && aligned(copy);
  if (factor) scale *= *factor;
  float p[8], slope[8], s[8] = {0, 0, 0, 0, 0, 0, 0, 0}, t[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  load8(parameters, at, count, whole, p);
  load8(gradients, at, count, whole, slope);
  if (state1) load8(state1, at, count, whole, s);
  if (state2) load8(state2, at, count, whole, t);
  for (int k = 0; k < 8; ++k) p[k] = update(rule, numbers, p[k], slope[k] * scale, s[k], t[k]);
  store8(parameters, at, count, whole, p);
  if (state1) store8(state1, at, count, whole, s);
  if (state2) store8(state2, at, count, whole, t);
  if (copy) store8(copy, at, count, whole, p);
}

/// parts[x] = the sum of squares of the x-th 65,536 elements, in float64: finite if and only if every element is.
extern "C" __global__ void squares(const T* x, i64 count, double* parts) {
  const i64 first = (i64)blockIdx.x * 65536;
  double total = 0;
  for (int i = threadIdx.x * 8; i < 65536 && first + i < count; i += blockDim.x * 8) {
    float v[8];
    load8(x, first + i, count, first + i + 8 <= count && aligned(x), v);
    for (int k = 0; k < 8; ++k) total += (double)v[k] * v[k];
  }
  total = block_sum(total, 0);
  if (threadIdx.x == 0) parts[blockIdx.x] = total;
}

#ifdef ONCE  // what is the same for every T is there for one of them

/// The code of 256 ascending values that is nearest; the lower one halfway between two.
__device__ __forceinline__ int nearest(const float* values, float x) {
  int low = 0;
  for (int step = 128; step > 0; step >>= 1)
    if (0.5f * (values[low + step - 1] + values[low + step]) < x) low += step;
  return low;
}

/// The same with states in eight bits a number, 256 numbers a scale: a warp has such a block, a lane eight of its elements.
extern "C" __global__ void coded_step(int rule, float* parameters, const float* gradients, u8* codes1, float* scales1, const float* values1,
                                      u8* codes2, float* scales2, const float* values2, bf16* copy, i64 count, float scale,
                                      const float* factor, float a, float b, float c, float d, float e, float f, float g, float h) {
  __shared__ float book1[256], book2[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) {
    book1[i] = values1[i];
    book2[i] = codes2 ? values2[i] : 0.0f;
  }
  __syncthreads();
  const i64 block = thread_index() / 32, at = block * 256 + lane_index() * 8;
  if (block * 256 >= count) return;
  const Numbers numbers = {a, b, c, d, e, f, g, h};
  const bool whole = at + 8 <= count && aligned(parameters) && aligned(gradients) && aligned(copy);
  if (factor) scale *= *factor;
  const float before1 = scales1[block], before2 = codes2 ? scales2[block] : 0.0f;
  float p[8], slope[8], s[8], t[8], largest1 = 0, largest2 = 0;
  load8(parameters, at, count, whole, p);
  load8(gradients, at, count, whole, slope);
  for (int k = 0; k < 8; ++k) {
    const bool inside = at + k < count;  // codes behind the end mean nothing
    s[k] = inside ? book1[codes1[at + k]] * before1 : 0.0f;
    t[k] = inside && codes2 ? book2[codes2[at + k]] * before2 : 0.0f;
    p[k] = update(rule, numbers, p[k], slope[k] * scale, s[k], t[k]);
    largest1 = inside ? fmaxf(largest1, fabsf(s[k])) : largest1;
    largest2 = inside ? fmaxf(largest2, fabsf(t[k])) : largest2;
  }
  store8(parameters, at, count, whole, p);
  if (copy) store8(copy, at, count, whole, p);
  largest1 = warp_max(largest1), largest2 = warp_max(largest2);
  const float inverse1 = 1.0f / fmaxf(largest1, 1e-38f), inverse2 = 1.0f / fmaxf(largest2, 1e-38f);
  for (int k = 0; k < 8; ++k)
    if (at + k < count) {
      codes1[at + k] = (u8)nearest(book1, s[k] * inverse1);
      if (codes2) codes2[at + k] = (u8)nearest(book2, t[k] * inverse2);
    }
  if (lane_index() == 0) {
    scales1[block] = largest1;
    if (codes2) scales2[block] = largest2;
  }
}

/// total = or += the sum of the parts, one block.
extern "C" __global__ void add_squares(const double* parts, i64 count, double* total, int add) {
  double sum = 0;
  for (i64 i = threadIdx.x; i < count; i += blockDim.x) sum += parts[i];
  sum = block_sum(sum, 0);
  if (threadIdx.x == 0) *total = add ? *total + sum : sum;
}

/// factor = min(1, most / (norm + 1e-6)), norm = scale * sqrt(squares): what gradients are clipped by; norm once more for the log. A norm
/// that is no number gives a factor that is none.
extern "C" __global__ void clip_factor(const double* squares, double scale, double most, float* norm, float* factor) {
  const double n = scale * sqrt(*squares), ratio = most / (n + 1e-6);
  if (threadIdx.x > 0) return;
  *norm = (float)n;
  *factor = ratio > 1 ? 1.0f : (float)ratio;
}

#endif
