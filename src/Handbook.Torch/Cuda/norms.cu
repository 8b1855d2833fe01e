// Norms with the addition to the residual stream before them, and back.
//   h' = h + delta;   r = 1 / sqrt( mean((h' - mean)^2) + epsilon );   y = (a + w) (h' - mean) r + b;   RMS norm: without the mean
//   g = (a + w) dy;   dh' = dres + r ( g - mean(g) - n mean(g n) ),   n = (h' - mean) r;   dw = sum of dy n;   db = sum of dy
// Rows take the weights in turn: row i those of turn i mod turns.

/// One block a row. delta, sum: null for none; means, bias: null for an RMS norm, and for none.
extern "C" __global__ void norm_forward(const float* residual, const T* delta, float* sum, const float* weight, const float* bias,
                                        T* output, float* means, float* rstd, int width, int turns, float offset, float epsilon) {
  const i64 row = blockIdx.x, at = row * width;
  const float* turn = weight + row % turns * width;
  const float* shift = bias ? bias + row % turns * width : bias;
  const bool whole =
      width % 8 == 0 && aligned(residual) && aligned(delta) && aligned(sum) && aligned(weight) && aligned(bias) && aligned(output);
  const float* h = delta ? sum + at : residual + at;
  float total = 0, values[8], more[8];
  for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
    load8(residual + at, i, width, whole, values);
    if (delta) {
      load8(delta + at, i, width, whole, more);
      for (int k = 0; k < 8; ++k) values[k] += more[k];
      store8(sum + at, i, width, whole, values);
    }
    for (int k = 0; k < 8; ++k) total = means ? total + values[k] : fmaf(values[k], values[k], total);
  }
  total = block_sum(total, 0);
  float mean = 0, squares = total;
  if (means) {
    mean = total / width, squares = 0;
    for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
      load8(h, i, width, whole, values);
      for (int k = 0; k < 8; ++k)
        if (i + k < width) squares = fmaf(values[k] - mean, values[k] - mean, squares);
    }
    squares = block_sum(squares, 1);
  }
  const float r = 1.0f / sqrtf(squares / width + epsilon);
  if (threadIdx.x == 0) {
    rstd[row] = r;
    if (means) means[row] = mean;
  }
  for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
    load8(h, i, width, whole, values);
    load8(turn, i, width, whole, more);
    for (int k = 0; k < 8; ++k) values[k] = (more[k] + offset) * ((values[k] - mean) * r);
    if (shift) {
      load8(shift, i, width, whole, more);
      for (int k = 0; k < 8; ++k) values[k] += more[k];
    }
    store8(output + at, i, width, whole, values);
  }
}

/// One block a row. incoming is dres, null for none; it may be where sum_gradient goes. delta_gradient: dh' once more, null for nowhere.
extern "C" __global__ void norm_backward(const T* dy, const float* sum, const float* weight, const float* means, const float* rstd,
                                         const float* incoming, float* sum_gradient, T* delta_gradient, int width, int turns,
                                         float offset) {
  const i64 row = blockIdx.x, at = row * width;
  const float* turn = weight + row % turns * width;
  const bool whole = width % 8 == 0 && aligned(dy) && aligned(sum) && aligned(weight) && aligned(incoming) && aligned(sum_gradient) &&
                     aligned(delta_gradient);
  const float mean = means ? means[row] : 0, r = rstd[row];
  float g[8], n[8], w[8], along = 0, all = 0;
  for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
    load8(dy + at, i, width, whole, g);
    load8(sum + at, i, width, whole, n);
    load8(turn, i, width, whole, w);
    for (int k = 0; k < 8; ++k) {
      const float slope = g[k] * (w[k] + offset);
      along = fmaf(slope, (n[k] - mean) * r, along);
      all += slope;
    }
  }
  along = block_sum(along, 0) / width;
  all = means ? block_sum(all, 1) / width : 0;
  for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
    load8(dy + at, i, width, whole, g);
    load8(sum + at, i, width, whole, n);
    load8(turn, i, width, whole, w);
    for (int k = 0; k < 8; ++k) g[k] = r * (g[k] * (w[k] + offset) - all - (n[k] - mean) * r * along);
    if (incoming) {
      load8(incoming + at, i, width, whole, w);
      for (int k = 0; k < 8; ++k) g[k] += w[k];
    }
    store8(sum_gradient + at, i, width, whole, g);
    if (delta_gradient) store8(delta_gradient + at, i, width, whole, g);
  }
}

/// Sums over some rows: block (x, y) has 128 columns of the rows [y per_piece, (y + 1) per_piece). Both are [pieces, turns, width]; null
/// for nowhere. per_piece is a multiple of turns.
extern "C" __global__ void norm_weight_backward(const T* dy, const float* sum, const float* means, const float* rstd, float* weight_parts,
                                                float* bias_parts, i64 rows, int width, int turns, int per_piece) {
  const i64 column = thread_index(), first = (i64)blockIdx.y * per_piece;
  if (column >= width) return;
  const i64 end = first + per_piece < rows ? first + per_piece : rows;
  for (int turn = 0; turn < turns; ++turn) {
    float dw = 0, db = 0;
    for (i64 row = first + turn; row < end; row += turns) {
      const float g = to_float(dy[row * width + column]);
      dw = fmaf(g, (sum[row * width + column] - (means ? means[row] : 0)) * rstd[row], dw);
      db += g;
    }
    const i64 at = ((i64)blockIdx.y * turns + turn) * width + column;
    if (weight_parts) weight_parts[at] = dw;
    if (bias_parts) bias_parts[at] = db;
  }
}

#ifdef ONCE  // what is the same for every T is there for one of them

/// target[j] += the sum of parts[., j], in the order of the pieces.
extern "C" __global__ void add_parts(const float* parts, float* target, int pieces, i64 width) {
  const i64 column = thread_index();
  if (column >= width) return;
  float total = 0;
  for (int piece = 0; piece < pieces; ++piece) total += parts[piece * width + column];
  target[column] += total;
}

#endif
