// Attention over segment trees: a token sees its own segment causally and its ancestors, or a window of them. Scores may be capped,
// lean on the distance, and have a sink beside them.
//   s_ij = scale q_i.k_j + m (j - i), or c tanh(that / c);   lse_i = log( sum_j exp s_ij + exp sink )
//   p_ij = exp(s_ij - lse_i);   o_i = sum_j p_ij v_j
//   ds_ij = p_ij (do_i.v_j - do_i.o_i) (1 - (s_ij/c)^2) scale
//   dq_i = sum_j ds_ij k_j;   dk_j = sum_i ds_ij q_i;   dv_j = sum_i p_ij do_i
// A block has 32 rows of one segment and walks over the segments on the other side, 32 rows a tile, so that nothing of size N x N exists
// and no two blocks write the same. Threads: 128, in sixteen groups of eight; group g has rows g and g + 16 of the block.
//   blocks: [., 5] = first token, how many (up to 32), place of the first in its chain, first entry of its list, how many there are
//   lists:  [., 3] = first token, how many, place of the first: what a block of queries sees, or who sees a block of keys
// Places count along a chain: a query at i sees keys at j with i - window < j <= i; window 0 is none.
#define ROWS 32
#define GROUP 8
#define MOST_COLUMNS 32  // of a head that one thread sums up: heads have up to 256 elements

struct Shape {
  int heads, key_heads, size, value_size, window;
  float scale, cap;
};

/// Rows [first, first + count) of a head into shared memory, [ROWS][size]; rows behind the last are 0.
__device__ __forceinline__ void fetch(const T* rows, i64 stride, i64 first, int count, int size, T* tile) {
  for (int i = threadIdx.x; i < ROWS * size; i += blockDim.x) {
    T zero;
    set(zero, 0.0f);
    tile[i] = i / size < count ? rows[(first + i / size) * stride + i % size] : zero;
  }
}
__device__ __forceinline__ float dot(const T* a, const T* b, int size) {
  float sum = 0;
#pragma unroll 4
  for (int e = 0; e < size; ++e) sum = fmaf(to_float(a[e]), to_float(b[e]), sum);
  return sum;
}
__device__ __forceinline__ bool sees(int query, int key, int window) { return key <= query && (window == 0 || key > query - window); }

/// The score of a product of query and key.
__device__ __forceinline__ float score(const Shape& shape, float product, float lean, int distance) {
  const float s = fmaf(lean, (float)distance, product * shape.scale);
  return shape.cap > 0 ? shape.cap * tanhf(s / shape.cap) : s;
}
/// How a capped score changes with what it was before.
__device__ __forceinline__ float bend(float cap, float s) { return cap > 0 ? 1 - s / cap * (s / cap) : 1.0f; }
__device__ __forceinline__ float group_sum(float v) {
  for (int d = 1; d < GROUP; d *= 2) v += __shfl_xor_sync(ALL, v, d);
  return v;
}
__device__ __forceinline__ float group_max(float v) {
  for (int d = 1; d < GROUP; d *= 2) v = fmaxf(v, __shfl_xor_sync(ALL, v, d));
  return v;
}

// What a thread sums up: of the two rows of its group every eighth column, from its own place among the eight threads on.

__device__ __forceinline__ void clear(float (&sums)[2][MOST_COLUMNS]) {
#pragma unroll
  for (int c = 0; c < MOST_COLUMNS; ++c) sums[0][c] = sums[1][c] = 0;
}
/// Adds the rows of a tile, [many, width], with the weights that the group's rows give them, [ROWS][ROWS + 1].
__device__ __forceinline__ void add_weighted(const float* weights, const T* tile, int many, int width, float (&sums)[2][MOST_COLUMNS]) {
  const int group = threadIdx.x / GROUP, member = threadIdx.x % GROUP;
#pragma unroll 1
  for (int row = 0; row < many; ++row) {
    const float p0 = weights[group * (ROWS + 1) + row], p1 = weights[(group + 16) * (ROWS + 1) + row];
#pragma unroll
    for (int c = 0; c < MOST_COLUMNS; ++c) {
      const int e = member + GROUP * c;
      if (e < width) {
        const float v = to_float(tile[row * width + e]);
        sums[0][c] = fmaf(p0, v, sums[0][c]);
        sums[1][c] = fmaf(p1, v, sums[1][c]);
      }
    }
  }
}
__device__ __forceinline__ void store_sums(const float (&sums)[MOST_COLUMNS], float factor, T* to, int width) {
  const int member = threadIdx.x % GROUP;
#pragma unroll
  for (int c = 0; c < MOST_COLUMNS; ++c)
    if (member + GROUP * c < width) set(to[member + GROUP * c], sums[c] * factor);
}

/// Block (x, y): block x of queries, head y. lse: [heads, tokens], null where not wanted. Shared: queries, keys or values, weights.
extern "C" __global__ void __launch_bounds__(128)
    attention_forward(const T* queries, i64 query_stride, const T* keys, const T* values, i64 key_stride, T* output, i64 output_stride,
                      float* lse, const float* sinks, const float* slopes, const int* blocks, const int* lists, i64 tokens, int heads,
                      int key_heads, int size, int value_size, int window, float scale, float cap) {
  const Shape shape = {heads, key_heads, size, value_size, window, scale, cap};
  const int* block = blocks + (i64)blockIdx.x * 5;
  const int count = block[1], place = block[2], head = blockIdx.y, key_head = head / (heads / key_heads);
  const int group = threadIdx.x / GROUP, member = threadIdx.x % GROUP;
  T* q = (T*)shared_words;
  T* other = q + ROWS * size;
  float* weights = (float*)(other + ROWS * (size > value_size ? size : value_size));  // [ROWS][ROWS + 1]
  const float lean = slopes ? slopes[head] : 0.0f, lowest = -__uint_as_float(INFINITY_BITS);
  float sums[2][MOST_COLUMNS], largest[2] = {lowest, lowest}, total[2] = {0, 0};
  clear(sums);
  fetch(queries + head * size, query_stride, block[0], count, size, q);
  for (int entry = block[3]; entry < block[3] + block[4]; ++entry) {
    const int* list = lists + (i64)entry * 3;
    for (int first = 0; first < list[1]; first += ROWS) {
      const int there = list[2] + first, many = list[1] - first < ROWS ? list[1] - first : ROWS;
      if (there > place + count - 1 || (window > 0 && there + many - 1 <= place - window)) continue;
      __syncthreads();  // the last tile's values have been read
      fetch(keys + key_head * size, key_stride, list[0] + first, many, size, other);
      __syncthreads();
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = group + 16 * r;
        float s[4], top = lowest;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const int key = member + GROUP * k;
          const bool seen = row < count && key < many && sees(place + row, there + key, window);
          s[k] = seen ? score(shape, dot(q + row * size, other + key * size, size), lean, there + key - place - row) : lowest;
          top = fmaxf(top, s[k]);
        }
        top = fmaxf(group_max(top), largest[r]);
        const float shrunk = largest[r] == top ? 1.0f : expf(largest[r] - top);
        float sum = 0;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const float p = s[k] == lowest ? 0.0f : expf(s[k] - top);
          weights[row * (ROWS + 1) + member + GROUP * k] = p;
          sum += p;
        }
        total[r] = total[r] * shrunk + group_sum(sum);
        largest[r] = top;
#pragma unroll
        for (int c = 0; c < MOST_COLUMNS; ++c) sums[r][c] *= shrunk;
      }
      __syncthreads();  // the keys have been read
      fetch(values + key_head * value_size, key_stride, list[0] + first, many, value_size, other);
      __syncthreads();
      add_weighted(weights, other, many, value_size, sums);
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = group + 16 * r;
    if (row >= count) continue;
    float factor = 1;
    if (sinks) {
      const float top = fmaxf(largest[r], sinks[head]);
      factor = largest[r] == top ? 1.0f : expf(largest[r] - top);
      total[r] = total[r] * factor + expf(sinks[head] - top);
      largest[r] = top;
    }
    factor = total[r] == 0 ? 0.0f : factor / total[r];  // 0: it sees none of these keys
    store_sums(sums[r], factor, output + (block[0] + row) * output_stride + head * value_size, value_size);
    if (lse && member == 0) lse[head * tokens + block[0] + row] = largest[r] + logf(total[r]);
  }
}

/// dots[head, token] = do.o of each token and head, a warp each; dot 0 where nothing was seen.
extern "C" __global__ void attention_dots(const T* output, i64 output_stride, const T* dy, i64 dy_stride, float* dots, i64 tokens,
                                          int heads, int value_size) {
  const i64 index = thread_index() / 32, head = index / tokens, token = index % tokens;
  if (head >= heads) return;
  const T* o = output + token * output_stride + head * value_size;
  const T* d = dy + token * dy_stride + head * value_size;
  float sum = 0;
  for (int e = lane_index(); e < value_size; e += 32) sum = fmaf(to_float(o[e]), to_float(d[e]), sum);
  sum = warp_sum(sum);
  if (lane_index() == 0) dots[index] = sum;
}

/// The gradient of queries: blocks as forward has them.
extern "C" __global__ void __launch_bounds__(128, 2)
    attention_query_backward(const T* queries, i64 query_stride, const T* keys, const T* values, i64 key_stride, const T* dy, i64 dy_stride,
                             const float* lse, const float* dots, T* query_gradient, i64 gradient_stride, const float* slopes,
                             const int* blocks, const int* lists, i64 tokens, int heads, int key_heads, int size, int value_size,
                             int window, float scale, float cap) {
  const Shape shape = {heads, key_heads, size, value_size, window, scale, cap};
  const int* block = blocks + (i64)blockIdx.x * 5;
  const int count = block[1], place = block[2], head = blockIdx.y, key_head = head / (heads / key_heads);
  const int group = threadIdx.x / GROUP, member = threadIdx.x % GROUP;
  T* q = (T*)shared_words;
  T* slope = q + ROWS * size;
  T* k_tile = slope + ROWS * value_size;
  T* v_tile = k_tile + ROWS * size;
  float* weights = (float*)(v_tile + ROWS * value_size);
  const float lean = slopes ? slopes[head] : 0.0f;
  float sums[2][MOST_COLUMNS];
  clear(sums);
  fetch(queries + head * size, query_stride, block[0], count, size, q);
  fetch(dy + head * value_size, dy_stride, block[0], count, value_size, slope);
  for (int entry = block[3]; entry < block[3] + block[4]; ++entry) {
    const int* list = lists + (i64)entry * 3;
    for (int first = 0; first < list[1]; first += ROWS) {
      const int there = list[2] + first, many = list[1] - first < ROWS ? list[1] - first : ROWS;
      if (there > place + count - 1 || (window > 0 && there + many - 1 <= place - window)) continue;
      __syncthreads();  // the last tile has been read
      fetch(keys + key_head * size, key_stride, list[0] + first, many, size, k_tile);
      fetch(values + key_head * value_size, key_stride, list[0] + first, many, value_size, v_tile);
      __syncthreads();
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = group + 16 * r;
        const i64 at = head * tokens + block[0] + row;
#pragma unroll 1
        for (int key = member; key < ROWS; key += GROUP) {
          float ds = 0;
          if (row < count && key < many && sees(place + row, there + key, window)) {
            const float s = score(shape, dot(q + row * size, k_tile + key * size, size), lean, there + key - place - row);
            ds = expf(s - lse[at]) * (dot(slope + row * value_size, v_tile + key * value_size, value_size) - dots[at]) * bend(cap, s) *
                 scale;
          }
          weights[row * (ROWS + 1) + key] = ds;
        }
      }
      __syncwarp();  // a row's weights are its own group's
      add_weighted(weights, k_tile, many, size, sums);
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = group + 16 * r;
    if (row < count) store_sums(sums[r], 1.0f, query_gradient + (block[0] + row) * gradient_stride + head * size, size);
  }
}

/// The gradients of keys and values: block (x, y) is block x of keys, key head y; the lists say who sees them. Of both gradients a block
/// makes the one that `of_values` says, so that its sums fit into registers.
extern "C" __global__ void __launch_bounds__(128, 2)
    attention_key_backward(const T* queries, i64 query_stride, const T* keys, const T* values, i64 key_stride, const T* dy, i64 dy_stride,
                           const float* lse, const float* dots, T* gradient, i64 gradient_stride, const float* slopes, const int* blocks,
                           const int* lists, i64 tokens, int heads, int key_heads, int size, int value_size, int window, float scale,
                           float cap, int of_values) {
  const Shape shape = {heads, key_heads, size, value_size, window, scale, cap};
  const int* block = blocks + (i64)blockIdx.x * 5;
  const int count = block[1], place = block[2], key_head = blockIdx.y, share = heads / key_heads;
  const int group = threadIdx.x / GROUP, member = threadIdx.x % GROUP, width = of_values ? value_size : size;
  T* k_tile = (T*)shared_words;
  T* v_tile = k_tile + ROWS * size;
  T* q = v_tile + ROWS * value_size;
  T* slope = q + ROWS * size;
  float* weights = (float*)(slope + ROWS * value_size);
  float sums[2][MOST_COLUMNS];
  clear(sums);
  fetch(keys + key_head * size, key_stride, block[0], count, size, k_tile);
  fetch(values + key_head * value_size, key_stride, block[0], count, value_size, v_tile);
  for (int entry = block[3]; entry < block[3] + block[4]; ++entry) {
    const int* list = lists + (i64)entry * 3;
    for (int first = 0; first < list[1]; first += ROWS) {
      const int there = list[2] + first, many = list[1] - first < ROWS ? list[1] - first : ROWS;
      if (there + many - 1 < place || (window > 0 && there - window >= place + count - 1)) continue;
      for (int head = key_head * share; head < (key_head + 1) * share; ++head) {
        const float lean = slopes ? slopes[head] : 0.0f;
        __syncthreads();  // the last tile has been read
        fetch(queries + head * size, query_stride, list[0] + first, many, size, q);
        fetch(dy + head * value_size, dy_stride, list[0] + first, many, value_size, slope);
        __syncthreads();
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int key = group + 16 * r;
#pragma unroll 1
          for (int row = member; row < ROWS; row += GROUP) {
            float weight = 0;
            if (key < count && row < many && sees(there + row, place + key, window)) {
              const i64 at = head * tokens + list[0] + first + row;
              const float s = score(shape, dot(q + row * size, k_tile + key * size, size), lean, place + key - there - row);
              weight = expf(s - lse[at]);
              if (!of_values)
                weight *= (dot(slope + row * value_size, v_tile + key * value_size, value_size) - dots[at]) * bend(cap, s) * scale;
            }
            weights[key * (ROWS + 1) + row] = weight;
          }
        }
        __syncwarp();  // a key's weights are its own group's
        add_weighted(weights, of_values ? slope : q, many, width, sums);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int key = group + 16 * r;
    if (key < count) store_sums(sums[r], 1.0f, gradient + (block[0] + key) * gradient_stride + key_head * width, width);
  }
}

/// Two halves of attention over other keys become one: what the second saw is taken into the first, with its log-sum-exp. (x, y): token of
/// the second, head; rows: which tokens of the first these are, null for the same.
extern "C" __global__ void attention_merge(T* output, i64 output_stride, float* lse, i64 tokens, const T* more, i64 more_stride,
                                           const float* more_lse, const int* rows, i64 count, int value_size) {
  const i64 own = blockIdx.x, token = rows ? rows[own] : own, at = blockIdx.y * tokens + token;
  const float a = lse[at], b = more_lse[blockIdx.y * count + own], top = fmaxf(a, b), lowest = -__uint_as_float(INFINITY_BITS);
  const float fa = a == lowest ? 0.0f : expf(a - top), fb = b == lowest ? 0.0f : expf(b - top), total = fa + fb;
  T* o = output + token * output_stride + (i64)blockIdx.y * value_size;
  const T* m = more + own * more_stride + (i64)blockIdx.y * value_size;
  for (int e = threadIdx.x; e < value_size; e += blockDim.x)
    set(o[e], total == 0 ? 0.0f : (to_float(o[e]) * fa + to_float(m[e]) * fb) / total);
  __syncthreads();  // all have read the log-sum-exp
  if (threadIdx.x == 0) lse[at] = total == 0 ? lowest : top + logf(total);
}

#ifdef ONCE  // what is the same for every T is there for one of them

/// sink_gradient[head] -= the sum over tokens of e^(sink - lse) do.o, one block a head.
extern "C" __global__ void attention_sink_backward(const float* lse, const float* dots, const float* sinks, float* sink_gradient,
                                                   i64 tokens) {
  const i64 head = blockIdx.x;
  double sum = 0;
  for (i64 token = threadIdx.x; token < tokens; token += blockDim.x)
    sum += (double)(expf(sinks[head] - lse[head * tokens + token]) * dots[head * tokens + token]);
  sum = block_sum(sum, 0);
  if (threadIdx.x == 0) sink_gradient[head] -= (float)sum;
}

#endif
