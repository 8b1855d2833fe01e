// Activations of feed-forward layers, rotation by position, dropout, and conversions: a thread has eight elements of a row.

/// Numbers of the activations as in the enumeration of the library.
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/// a(x) and its slope.
__device__ __forceinline__ float activate(int which, float x, float* slope) {
  const float a = 1.59576912160573071f, b = a * 0.044715f;
  float s, y;
  switch (which) {
    case 0:  // silu
      s = sigmoid(x), y = x * s;
      *slope = fmaf(y, 1 - s, s);
      return y;
    case 1:  // gelu
      s = 0.5f * (1 + erff(x * 0.707106781186547524f));
      *slope = fmaf(x * 0.398942280401432678f, expf(-0.5f * x * x), s);
      return x * s;
    case 2:  // gelu, by tanh: (1 + tanh u) / 2 = sigmoid(2u)
      s = sigmoid(x * fmaf(x * x, b, a)), y = x * s;
      *slope = fmaf(y * (1 - s), fmaf(x * x, 3 * b, a), s);
      return y;
    case 3:  // quick gelu
      s = sigmoid(1.702f * x), y = x * s;
      *slope = fmaf(1.702f * y, 1 - s, s);
      return y;
    case 4:  // relu; NaN stays
      *slope = x > 0 ? 1.0f : 0.0f;
      return x <= 0 ? 0.0f : x;
    case 5:  // relu squared
      y = x <= 0 ? 0.0f : x;
      *slope = y + y;
      return y * y;
    default:  // tanh
      y = tanhf(x);
      *slope = fmaf(-y, y, 1.0f);
      return y;
  }
}

/// NaN stays.
__device__ __forceinline__ float not_above(float v, float limit) { return v > limit ? limit : v; }

/// y = a(g'), or a(g') u' where there is a u; g' = min(g, limit), u' = max(-limit, min(u, limit)) + offset; limit 0 for none.
extern "C" __global__ void activation_forward(int which, const T* gate, const T* up, T* output, i64 rows, int width, i64 input_stride,
                                              i64 output_stride, float limit, float offset) {
  const i64 eights = (width + 7) / 8, index = thread_index(), row = index / eights, at = index % eights * 8;
  if (row >= rows) return;
  const bool whole = width % 8 == 0 && input_stride % 8 == 0 && output_stride % 8 == 0 && aligned(gate) && aligned(up) && aligned(output);
  float g[8], u[8], slope;
  load8(gate + row * input_stride, at, width, whole, g);
  if (up) load8(up + row * input_stride, at, width, whole, u);
  for (int k = 0; k < 8; ++k) {
    g[k] = activate(which, limit > 0 ? not_above(g[k], limit) : g[k], &slope);
    if (up) g[k] *= (limit > 0 ? -not_above(-not_above(u[k], limit), limit) : u[k]) + offset;
  }
  store8(output + row * output_stride, at, width, whole, g);
}

/// dg = dy u' a'(g'), du = dy a(g'); what is beyond a limit has no gradient. Gradients may go where gate and up are.
extern "C" __global__ void activation_backward(int which, const T* dy, const T* gate, const T* up, T* gate_gradient, T* up_gradient,
                                               i64 rows, int width, i64 dy_stride, i64 input_stride, i64 gradient_stride, float limit,
                                               float offset) {
  const i64 eights = (width + 7) / 8, index = thread_index(), row = index / eights, at = index % eights * 8;
  if (row >= rows) return;
  const bool whole = width % 8 == 0 && dy_stride % 8 == 0 && input_stride % 8 == 0 && gradient_stride % 8 == 0 && aligned(dy) &&
                     aligned(gate) && aligned(up) && aligned(gate_gradient) && aligned(up_gradient);
  float g[8], u[8], d[8], slope;
  load8(dy + row * dy_stride, at, width, whole, d);
  load8(gate + row * input_stride, at, width, whole, g);
  if (up) load8(up + row * input_stride, at, width, whole, u);
  for (int k = 0; k < 8; ++k) {
    const float value = activate(which, limit > 0 ? not_above(g[k], limit) : g[k], &slope);
    const float other = !up ? 1.0f : (limit > 0 ? -not_above(-not_above(u[k], limit), limit) : u[k]) + offset;
    g[k] = limit > 0 && g[k] > limit ? 0.0f : d[k] * slope * other;
    if (up) u[k] = limit > 0 && fabsf(u[k]) > limit ? 0.0f : d[k] * value;
  }
  store8(gate_gradient + row * gradient_stride, at, width, whole, g);
  if (up) store8(up_gradient + row * gradient_stride, at, width, whole, u);
}

/// Heads turn in place: element i with i + half, or 2i with 2i + 1 where neighbours turn; sign -1 turns gradients back. A thread has up to
/// four pairs. rows: where the first head of row 0 turns.
extern "C" __global__ void rotate(T* rows, const float* cosines, const float* sines, const int* positions, i64 count, i64 row_stride,
                                  int heads, int head_size, int half, int neighbours, float sign) {
  const i64 fours = (half + 3) / 4, index = thread_index(), head = index / fours, row = head / heads;
  const int first = (int)(index % fours) * 4;
  if (row >= count) return;
  T* x = rows + row * row_stride + head % heads * head_size;
  const i64 angles = (i64)positions[row] * half;
  for (int i = first; i < first + 4 && i < half; ++i) {
    const int a = neighbours ? 2 * i : i, b = neighbours ? 2 * i + 1 : i + half;
    const float c = cosines[angles + i], s = sign * sines[angles + i], x1 = to_float(x[a]), x2 = to_float(x[b]);
    set(x[a], x1 * c - x2 * s);
    set(x[b], x2 * c + x1 * s);
  }
}

/// y = mask(x), or y += mask(x): an element stays where a hash of its row's key and its column is not below limit, and grows by factor.
extern "C" __global__ void dropout(const T* x, const i64* keys, T* y, i64 rows, int width, i64 limit, float factor, int add) {
  const i64 eights = (width + 7) / 8, index = thread_index(), row = index / eights;
  const int at = (int)(index % eights) * 8;
  if (row >= rows) return;
  const bool whole = width % 8 == 0 && aligned(x) && aligned(y);
  const u64 key = (u64)keys[row];
  float v[8], old[8];
  load8(x + row * width, at, width, whole, v);
  if (add) load8(y + row * width, at, width, whole, old);
  for (int k = 0; k < 8; ++k) {
    unsigned h = (unsigned)(at + k) * 0x9E3779B1u ^ (unsigned)key;
    h ^= h >> 16;
    h *= 0x85EBCA6Bu;
    h ^= h >> 13;
    h += (unsigned)(key >> 32);
    h *= 0xC2B2AE35u;
    h ^= h >> 16;
    v[k] = (i64)h >= limit ? v[k] * factor : 0.0f;
    if (add) v[k] += old[k];
  }
  store8(y + row * width, at, width, whole, v);
}

/// target = source, or target += source.
extern "C" __global__ void accumulate(const T* source, float* target, i64 count, int add) {
  const i64 at = thread_index() * 8;
  if (at >= count) return;
  const bool whole = at + 8 <= count && aligned(source) && aligned(target);
  float v[8], old[8];
  load8(source, at, count, whole, v);
  if (add) load8(target, at, count, whole, old);
  for (int k = 0; k < 8 && add; ++k) v[k] += old[k];
  store8(target, at, count, whole, v);
}

/// target = source, rounded to the nearest.
extern "C" __global__ void narrow(const float* source, T* target, i64 count) {
  const i64 at = thread_index() * 8;
  if (at >= count) return;
  const bool whole = at + 8 <= count && aligned(source) && aligned(target);
  float v[8];
  load8(source, at, count, whole, v);
  store8(target, at, count, whole, v);
}

#ifdef ONCE  // what is the same for every T is there for one of them

/// Every element to the nearest bfloat16.
extern "C" __global__ void round_to_bf16(float* data, i64 count) {
  const i64 at = thread_index() * 8;
  if (at >= count) return;
  const bool whole = at + 8 <= count && aligned(data);
  float v[8];
  load8(data, at, count, whole, v);
  for (int k = 0; k < 8; ++k) {
    bf16 rounded;
    set(rounded, v[k]);
    v[k] = to_float(rounded);
  }
  store8(data, at, count, whole, v);
}

#endif
