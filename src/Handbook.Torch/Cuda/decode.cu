// Attention of the newest tokens of sequences over their caches. A sequence's keys and values lie in blocks: what stands before, which
// others may share, and its own, whose last tokens are the new ones.
//   blocks: [., 3] = address, tokens that it has room for, tokens; a block is [layers, key heads] of [room, size] and [room, value size]
//   rows:   [., 4] = place of a new token in its sequence, first entry of its list, entries, place in its own block, the last of the list
//   lists:  [.] = numbers of blocks, from the first on
#define TILE 128
#define COLUMNS 4  // of a value that one thread sums up

/// Keys of a head in a layer; values follow behind so many keys as there is room for.
__device__ __forceinline__ T* keys_of(const i64* block, int layer, int head, int key_heads, int size, int value_size) {
  return (T*)block[0] + ((i64)layer * key_heads + head) * block[1] * (size + value_size);
}

/// Walks over the blocks of a list with the places of its tokens, upwards.
struct Cursor {
  const i64* blocks;
  const int* lists;
  int entry, start, end;  // of the block after the one at hand, and the places that this one has
};
/// The block that has a place.
__device__ __forceinline__ const i64* seek(Cursor& cursor, int place) {
  while (place >= cursor.end) cursor.start = cursor.end, cursor.end += (int)cursor.blocks[(i64)cursor.lists[cursor.entry++] * 3 + 2];
  return cursor.blocks + (i64)cursor.lists[cursor.entry - 1] * 3;
}

/// Copies keys and values of new tokens into their own blocks: (x, y) is token, key head. keys: [tokens, key heads, size], behind them the
/// values.
extern "C" __global__ void cache_append(const T* keys, i64 stride, const i64* blocks, const int* rows, const int* lists, int layer,
                                        int key_heads, int size, int value_size) {
  const int* row = rows + (i64)blockIdx.x * 4;
  const i64* block = blocks + (i64)lists[row[1] + row[2] - 1] * 3;
  const int head = blockIdx.y;
  const T* from = keys + (i64)blockIdx.x * stride;
  T* to = keys_of(block, layer, head, key_heads, size, value_size);
  for (int e = threadIdx.x; e < size; e += blockDim.x) to[(i64)row[3] * size + e] = from[head * size + e];
  from += key_heads * size, to += block[1] * size;
  for (int e = threadIdx.x; e < value_size; e += blockDim.x) to[(i64)row[3] * value_size + e] = from[head * value_size + e];
}

/// (x, y): new token, head. Tiles are those of the places, so that nothing depends on how a sequence is cut into blocks. Shared: the query.
extern "C" __global__ void __launch_bounds__(128, 8)
    attention_decode(const T* queries, i64 query_stride, T* output, i64 output_stride, const float* sinks, const float* slopes,
                     const i64* blocks, const int* rows, const int* lists, int layer, int heads, int key_heads, int size, int value_size,
                     int window, int chunk, float scale, float cap) {
  __shared__ float scores[TILE];
  float* q = (float*)shared_words;
  const int* row = rows + (i64)blockIdx.x * 4;
  const int place = row[0], head = blockIdx.y, key_head = head / (heads / key_heads);
  // the first place that it sees
  const int seen = chunk > 0 ? place / chunk * chunk : window > 0 && place - window + 1 > 0 ? place - window + 1 : 0;
  const float lean = slopes ? slopes[head] : 0.0f, lowest = -__uint_as_float(INFINITY_BITS);
  for (int e = threadIdx.x; e < size; e += blockDim.x) q[e] = to_float(queries[blockIdx.x * query_stride + head * size + e]);
  float sums[COLUMNS] = {0, 0, 0, 0}, largest = lowest, total = 0;
  int slot = 0;
  Cursor keys = {blocks, lists, row[1], 0, 0}, values = keys;
  for (int first = seen / TILE * TILE; first <= place; first += TILE) {
    __syncthreads();  // the query is there; the last tile's weights have been read
    for (int k = warp_index(); k < TILE; k += TILE / 32) {
      const int at = first + k;
      const bool is_seen = at <= place && at >= seen;
      float dot = 0;
      if (is_seen) {
        const i64* block = seek(keys, at);
        const T* key = keys_of(block, layer, key_head, key_heads, size, value_size) + (i64)(at - keys.start) * size;
        for (int e = lane_index(); e < size; e += 32) dot = fmaf(q[e], to_float(key[e]), dot);
      }
      dot = warp_sum(dot);
      const float s = fmaf(lean, (float)(at - place), dot * scale);
      if (lane_index() == 0) scores[k] = !is_seen ? lowest : cap > 0 ? cap * tanhf(s / cap) : s;
    }
    __syncthreads();  // all scores are there
    const float s = scores[threadIdx.x], top = fmaxf(block_max(s, slot), largest);
    slot ^= 1;
    const float shrunk = largest == top ? 1.0f : expf(largest - top), p = s == lowest ? 0.0f : expf(s - top);
    largest = top;
    total = total * shrunk + p;  // each thread's own share
    scores[threadIdx.x] = p;
    __syncthreads();  // all weights are there
#pragma unroll
    for (int c = 0; c < COLUMNS; ++c) sums[c] *= shrunk;
    const int begin = first > seen ? first : seen, end = first + TILE - 1 < place ? first + TILE - 1 : place;
    for (int at = begin; at <= end; ++at) {
      const i64* block = seek(values, at);
      const T* value =
          keys_of(block, layer, key_head, key_heads, size, value_size) + block[1] * size + (i64)(at - values.start) * value_size;
#pragma unroll
      for (int c = 0; c < COLUMNS; ++c) {
        const int e = threadIdx.x + TILE * c;
        if (e < value_size) sums[c] = fmaf(scores[at - first], to_float(value[e]), sums[c]);
      }
    }
  }
  total = block_sum(total, slot);
  float factor = 1;
  if (sinks) {
    const float top = fmaxf(largest, sinks[head]);
    factor = expf(largest - top);
    total = total * factor + expf(sinks[head] - top);
  }
#pragma unroll
  for (int c = 0; c < COLUMNS; ++c) {
    const int e = threadIdx.x + TILE * c;
    if (e < value_size) set(output[blockIdx.x * output_stride + head * value_size + e], sums[c] * factor / total);
  }
}
