// Rows by their numbers: embeddings, rows that are picked, rows of tokens in the matrices of their experts. Blocks (x, y): row x, and 8
// columns a thread from 8 y blockDim on.

/// y = scale table[token] + position_table[position]; positions, position_table: null for none.
extern "C" __global__ void embedding_forward(const int* tokens, const int* positions, const T* table, const T* position_table, float* y,
                                             int width, float scale) {
  const i64 row = blockIdx.x, at = ((i64)blockIdx.y * blockDim.x + threadIdx.x) * 8;
  if (at >= width) return;
  const bool whole = width % 8 == 0 && aligned(table) && aligned(position_table) && aligned(y);
  float v[8], p[8];
  load8(table + (i64)tokens[row] * width, at, width, whole, v);
  if (position_table) load8(position_table + (i64)positions[row] * width, at, width, whole, p);
  for (int k = 0; k < 8; ++k) v[k] = position_table ? v[k] * scale + p[k] : v[k] * scale;
  store8(y + row * width, at, width, whole, v);
}

/// rows[t] = sum over k of weights[t, k] times the row of its k-th expert; weights null for 1. places: [tokens, per_token].
extern "C" __global__ void expert_gather(const T* sorted, const int* places, const float* weights, T* rows, int per_token, int width) {
  const i64 token = blockIdx.x, at = ((i64)blockIdx.y * blockDim.x + threadIdx.x) * 8;
  if (at >= width) return;
  const bool whole = width % 8 == 0 && aligned(sorted) && aligned(rows);
  float total[8] = {0, 0, 0, 0, 0, 0, 0, 0}, v[8];
  for (i64 choice = token * per_token; choice < (token + 1) * per_token; ++choice) {
    const float weight = weights ? weights[choice] : 1.0f;
    load8(sorted + (i64)places[choice] * width, at, width, whole, v);
    for (int k = 0; k < 8; ++k) total[k] = fmaf(weight, v[k], total[k]);
  }
  store8(rows + token * width, at, width, whole, total);
}

/// The row of each choice = its weight times the row of its token.
extern "C" __global__ void expert_scatter(T* sorted, const int* places, const float* weights, const T* rows, int per_token, int width) {
  const i64 choice = blockIdx.x, at = ((i64)blockIdx.y * blockDim.x + threadIdx.x) * 8;
  if (at >= width) return;
  const bool whole = width % 8 == 0 && aligned(sorted) && aligned(rows);
  float v[8];
  load8(rows + choice / per_token * width, at, width, whole, v);
  for (int k = 0; k < 8 && weights; ++k) v[k] *= weights[choice];
  store8(sorted + (i64)places[choice] * width, at, width, whole, v);
}

/// dots[choice] = the row of its token times the row of the choice; a warp each.
extern "C" __global__ void expert_dots(const T* sorted, const int* places, const T* rows, float* dots, i64 choices, int per_token,
                                       int width) {
  const i64 choice = thread_index() / 32;
  if (choice >= choices) return;
  const bool whole = width % 8 == 0 && aligned(sorted) && aligned(rows);
  float total = 0, a[8], b[8];
  for (int i = lane_index() * 8; i < width; i += 32 * 8) {
    load8(rows + choice / per_token * width, i, width, whole, a);
    load8(sorted + (i64)places[choice] * width, i, width, whole, b);
    for (int k = 0; k < 8; ++k) total = fmaf(a[k], b[k], total);
  }
  total = warp_sum(total);
  if (lane_index() == 0) dots[choice] = total;
}

#ifdef ONCE  // what is the same for every T is there for one of them

/// gradient[id] += scale dy, in the order of the rows. order: (id << 32 | row), sorted. The block of an id's first row has all of its rows.
extern "C" __global__ void embedding_backward(const i64* order, const float* dy, float* gradient, i64 count, int width, float scale,
                                              int padding) {
  const i64 first = blockIdx.x, at = ((i64)blockIdx.y * blockDim.x + threadIdx.x) * 8;
  const int id = (int)(order[first] >> 32);
  if (at >= width || id == padding || (first > 0 && (int)(order[first - 1] >> 32) == id)) return;
  const bool whole = width % 8 == 0 && aligned(dy) && aligned(gradient);
  float total[8], v[8];
  load8(gradient + (i64)id * width, at, width, whole, total);
  for (i64 i = first; i < count && (int)(order[i] >> 32) == id; ++i) {
    load8(dy + (order[i] & 0xffffffff) * width, at, width, whole, v);
    for (int k = 0; k < 8; ++k) total[k] += v[k] * scale;
  }
  store8(gradient + (i64)id * width, at, width, whole, total);
}

/// One of two rows by the other's number: y[i] = x[rows[i]], or where spread y[rows[i]] = x[i]. Rows of so many bytes, sixteen a thread.
extern "C" __global__ void copy_rows(const u8* x, const int* rows, u8* y, i64 bytes, int spread) {
  const i64 i = blockIdx.x, at = ((i64)blockIdx.y * blockDim.x + threadIdx.x) * 16;
  if (at >= bytes) return;
  const u8* from = x + (spread ? i : rows[i]) * bytes + at;
  u8* to = y + (spread ? rows[i] : i) * bytes + at;
  if (bytes % 16 == 0 && aligned(x) && aligned(y)) {
    *(uint4*)to = *(const uint4*)from;
    return;
  }
  for (int k = 0; k < 16 && at + k < bytes; ++k) to[k] = from[k];
}

#endif
