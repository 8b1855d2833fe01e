// Adafactor: second moments of a matrix kept as one row and one column, without an answer from the device between the passes.
//   R = (1 - fresh) R + fresh mean over columns of (g^2 + eps);   C the same over rows;   u = g / sqrt( R C / mean(R) )
//   u = u / max(1, rms(u) / clip);   p = p (1 - rate decay) - rate u;   a vector keeps its own V: u = g / sqrt(V)
// Numbers of a step on the device, [4]: mean(R), rate of the update, factor that the parameter keeps, nothing.

#ifdef ONCE

#define PIECE 65536

__device__ __forceinline__ float scaled(const float* factor, float scale) { return factor ? scale * *factor : scale; }

/// R of a row, one block each.
extern "C" __global__ void adafactor_rows(const float* gradients, float* row_state, int width, float fresh, float epsilon, float scale,
                                          const float* factor) {
  const float* g = gradients + (i64)blockIdx.x * width;
  const float s = scaled(factor, scale);
  float sum = 0;
  for (int i = threadIdx.x; i < width; i += blockDim.x) sum = fmaf(g[i] * s, g[i] * s, sum);
  sum = block_sum(sum, 0);
  if (threadIdx.x == 0) row_state[blockIdx.x] = (1 - fresh) * row_state[blockIdx.x] + fresh * (sum / width + epsilon);
}

/// Sums over some rows: (x, y) is a column a thread, of the rows [y per_piece, (y + 1) per_piece). parts: [pieces, width].
extern "C" __global__ void adafactor_column_parts(const float* gradients, float* parts, i64 rows, int width, int per_piece, float epsilon,
                                                  float scale, const float* factor) {
  const i64 column = thread_index(), first = (i64)blockIdx.y * per_piece, end = first + per_piece < rows ? first + per_piece : rows;
  if (column >= width) return;
  const float s = scaled(factor, scale);
  float sum = 0;
  for (i64 row = first; row < end; ++row) {
    const float g = gradients[row * width + column] * s;
    sum += fmaf(g, g, epsilon);
  }
  parts[blockIdx.y * (i64)width + column] = sum;
}

/// C, and 1 / sqrt(C), of each column.
extern "C" __global__ void adafactor_columns(const float* parts, float* column_state, float* column_factor, i64 rows, int width, int pieces,
                                             float fresh) {
  const i64 column = thread_index();
  if (column >= width) return;
  double sum = 0;
  for (int piece = 0; piece < pieces; ++piece) sum += (double)parts[piece * (i64)width + column];
  const float state = (1 - fresh) * column_state[column] + fresh * (float)(sum / rows);
  column_state[column] = state;
  column_factor[column] = 1.0f / sqrtf(state);
}

/// V of a vector's elements, and 1 / sqrt(V).
extern "C" __global__ void adafactor_vector(const float* gradients, float* state, float* column_factor, i64 count, float fresh,
                                            float epsilon, float scale, const float* factor) {
  const i64 i = thread_index();
  if (i >= count) return;
  const float g = gradients[i] * scaled(factor, scale), v = (1 - fresh) * state[i] + fresh * fmaf(g, g, epsilon);
  state[i] = v;
  column_factor[i] = 1.0f / sqrtf(v);
}

/// mean(R) into the numbers of the step, one block.
extern "C" __global__ void adafactor_mean(const float* row_state, i64 rows, float* numbers) {
  double sum = 0;
  for (i64 i = threadIdx.x; i < rows; i += blockDim.x) sum += (double)row_state[i];
  sum = block_sum(sum, 0);
  if (threadIdx.x == 0) numbers[0] = (float)(sum / rows);
}

/// The update of element i before it is clipped; row_state null for a vector.
__device__ __forceinline__ float direction(const float* gradients, const float* row_state, const float* column_factor, float mean, i64 i,
                                           int width, float s) {
  return gradients[i] * s * (row_state ? sqrtf(mean / row_state[i / width]) : 1.0f) * column_factor[row_state ? i % width : i];
}

/// parts[x] = sums of squares of the x-th 65,536 updates, and of their parameters; [., 2].
extern "C" __global__ void adafactor_squares(const float* parameters, const float* gradients, const float* row_state,
                                             const float* column_factor, const float* numbers, double* parts, i64 count, int width,
                                             float scale, const float* factor) {
  const i64 first = (i64)blockIdx.x * PIECE, end = first + PIECE < count ? first + PIECE : count;
  const float s = scaled(factor, scale), mean = row_state ? numbers[0] : 1.0f;
  double updates = 0, values = 0;
  for (i64 i = first + threadIdx.x; i < end; i += blockDim.x) {
    const float u = direction(gradients, row_state, column_factor, mean, i, width, s);
    updates += (double)u * u;
    values += (double)parameters[i] * parameters[i];
  }
  updates = block_sum(updates, 0);
  values = block_sum(values, 1);
  if (threadIdx.x == 0) parts[2 * blockIdx.x] = updates, parts[2 * blockIdx.x + 1] = values;
}

/// The rate and what is kept, from the parts; one block. least: the smallest scale of a parameter, where the rate is relative to it,
/// else 0.
extern "C" __global__ void adafactor_numbers(const double* parts, i64 pieces, i64 count, double rate, double clip, double decay,
                                             double least, float* numbers) {
  double updates = 0, values = 0;
  for (i64 i = threadIdx.x; i < pieces; i += blockDim.x) updates += parts[2 * i], values += parts[2 * i + 1];
  updates = block_sum(updates, 0);
  values = block_sum(values, 1);
  if (threadIdx.x > 0) return;
  if (least > 0) {
    const double size = sqrt(values / count);
    rate *= size > least ? size : least;
  }
  const double over = sqrt(updates / count) / clip;
  numbers[1] = (float)(over > 1 ? rate / over : over == over ? rate : over);  // NaN stays
  numbers[2] = (float)(1 - rate * decay);
}

/// The step itself; copy: the new parameters in bfloat16, null for nowhere.
extern "C" __global__ void adafactor_apply(float* parameters, const float* gradients, const float* row_state, const float* column_factor,
                                           const float* numbers, bf16* copy, i64 count, int width, float scale, const float* factor) {
  const i64 i = thread_index();
  if (i >= count) return;
  const float s = scaled(factor, scale), mean = row_state ? numbers[0] : 1.0f;
  const float u = direction(gradients, row_state, column_factor, mean, i, width, s), p = fmaf(u, -numbers[1], parameters[i] * numbers[2]);
  parameters[i] = p;
  if (copy) set(copy[i], p);
}

#endif
