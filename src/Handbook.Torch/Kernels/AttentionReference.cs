namespace Handbook.Torch.Kernels;

/// <summary>Attention as its formula says, in float64, with one row of scores at a time: what the fast kernels are compared with, and what
/// serves float64.</summary>
/// <remarks>
/// <code>
/// s_ij = scale · q_i·k_j + m (j − i),  or  c · tanh(that / c)       j: what i sees
/// p_ij = exp(s_ij − lse_i)        lse_i = log( Σ_j exp(s_ij) + exp(sink) )        o_i = Σ_j p_ij v_j
/// dv_j = Σ_i p_ij do_i        ds_ij = p_ij (do_i·v_j − do_i·o_i) (1 − (s_ij/c)²)
/// dq_i = scale Σ_j ds_ij k_j        dk_j = scale Σ_i ds_ij q_i
/// </code>
/// </remarks>
internal readonly unsafe struct AttentionReference<T>(SegmentTable segments, AttentionShape shape, AttentionArguments<T> arguments,
    AttentionGradients<T> gradients, bool backward) : IParallelBody where T : unmanaged
{
    public static void Forward(SegmentTable segments, in AttentionShape shape, in AttentionArguments<T> arguments) =>
        ThreadTeam.Run(segments.Trees.Length * shape.KeyHeads, new AttentionReference<T>(segments, shape, arguments, default, false));

    public static void Backward(SegmentTable segments, in AttentionShape shape, in AttentionArguments<T> arguments,
        in AttentionGradients<T> gradients) =>
        ThreadTeam.Run(segments.Trees.Length * shape.KeyHeads, new AttentionReference<T>(segments, shape, arguments, gradients, true));

    /// <summary>One tree and one key head: nothing else reads or writes these keys' gradients.</summary>
    public void Invoke(int index)
    {
        var tree = index / shape.KeyHeads;
        var keyHead = index % shape.KeyHeads;
        var (size, valueSize) = (shape.HeadSize, shape.ValueSize);
        var work = new Work(segments.Trees[tree].Rows, size, valueSize);
        foreach (var segment in segments.Keys)
            for (var token = segment.Start; segment.Tree == tree && token < segment.Start + segment.Length; token++)
            {
                var row = segment.Local + token - segment.Start;
                Read(arguments.Key, token, keyHead, work.Keys, row, size);
                Read(arguments.Value, token, keyHead, work.Values, row, valueSize);
            }
        foreach (var segment in segments.Segments)
        {
            if (segment.Tree != tree)
                continue;
            var count = 0;
            for (var link = 0; link < segment.Depth; link++)
            {
                var above = segments.Keys[segments.Chains[segment.Chain + link]];
                for (var i = 0; i < above.Length; i++)
                    (work.Rows[count], work.Places[count++]) = (above.Local + i, above.Offset + i);
            }
            var (first, end) = (0, 0);      // what is seen, as indices of Rows
            for (var i = segment.Offset; i < segment.Offset + segment.Length; i++)
            {
                while (shape.Window > 0 && first < count && work.Places[first] <= i - shape.Window)
                    first++;
                while (end < count && work.Places[end] <= i)
                    end++;
                for (var head = keyHead * shape.Group; head < (keyHead + 1) * shape.Group; head++)
                {
                    Scores(segment.Start + i - segment.Offset, i, first, end, head, work);
                    if (backward)
                        RowBackward(segment.Start + i - segment.Offset, first, end, head, work);
                    else
                        RowForward(segment.Start + i - segment.Offset, first, end, head, work);
                }
            }
        }
        foreach (var segment in segments.Keys)
            for (var token = segment.Start; backward && segment.Tree == tree && token < segment.Start + segment.Length; token++)
            {
                var row = segment.Local + token - segment.Start;
                Write(work.KeyGradients, row, gradients.Key, token, keyHead, size);
                Write(work.ValueGradients, row, gradients.Value, token, keyHead, valueSize);
            }
    }

    /// <param name="place">The query's place in its chain.</param>
    private void Scores(int query, int place, int first, int end, int head, Work work)
    {
        Read(arguments.Query, query, head, work.Query, 0, shape.HeadSize);
        for (var j = first; j < end; j++)
        {
            var score = shape.Scale * Dot(work.Query, work.Keys, work.Rows[j], shape.HeadSize);
            if (shape.DistanceSlopes is { } slopes)
                score += (double)slopes[head] * (work.Places[j] - place);
            work.Scores[j] = shape.SoftCap > 0 ? shape.SoftCap * Math.Tanh(score / shape.SoftCap) : score;
        }
    }

    private void RowForward(int query, int first, int end, int head, Work work)
    {
        var scores = work.Scores.AsSpan(first..Math.Max(first, end));
        var top = double.NegativeInfinity;
        foreach (var score in scores)
            top = Math.Max(top, score);
        var sink = arguments.Sinks == null ? double.NegativeInfinity : Number(arguments.Sinks, head);
        top = Math.Max(top, sink);
        var total = arguments.Sinks == null ? 0 : Math.Exp(sink - top);
        Array.Clear(work.Row);
        for (var j = first; j < end; j++)
        {
            var weight = Math.Exp(work.Scores[j] - top);
            total += weight;
            Add(work.Row, 0, weight, work.Values, work.Rows[j], shape.ValueSize);
        }
        for (var e = 0; total != 0 && e < shape.ValueSize; e++)        // 0: it sees none of these keys
            work.Row[e] /= total;
        Write(work.Row, 0, arguments.Output, query, head, shape.ValueSize);
        var place = (long)head * segments.Tokens + query;
        if (arguments.LogSumExp == null)
            return;
        if (typeof(T) == typeof(double))
            ((double*)arguments.LogSumExp)[place] = top + Math.Log(total);
        else
            ((float*)arguments.LogSumExp)[place] = (float)(top + Math.Log(total));
    }

    private void RowBackward(int query, int first, int end, int head, Work work)
    {
        var place = (long)head * segments.Tokens + query;
        var logSum = Number(arguments.LogSumExp, place);
        Read(gradients.Output, query, head, work.Slope, 0, shape.ValueSize);
        Read(arguments.Output, query, head, work.Row, 0, shape.ValueSize);
        var mean = Dot(work.Slope, work.Row, 0, shape.ValueSize);
        Array.Clear(work.Row);
        for (var j = first; j < end; j++)
        {
            var key = work.Rows[j];
            var weight = Math.Exp(work.Scores[j] - logSum);
            var slope = weight * (Dot(work.Slope, work.Values, key, shape.ValueSize) - mean) * shape.Scale;
            if (shape.SoftCap > 0)
                slope *= 1 - work.Scores[j] / shape.SoftCap * (work.Scores[j] / shape.SoftCap);
            Add(work.Row, 0, slope, work.Keys, key, shape.HeadSize);
            Add(work.KeyGradients, key, slope, work.Query, 0, shape.HeadSize);
            Add(work.ValueGradients, key, weight, work.Slope, 0, shape.ValueSize);
        }
        Write(work.Row, 0, gradients.Query, query, head, shape.HeadSize);
    }

    /// <summary>One of the numbers that are double where T is, and else float.</summary>
    private static double Number(void* numbers, long at) =>
        typeof(T) == typeof(double) ? ((double*)numbers)[at] : ((float*)numbers)[at];

    private static double Dot(double[] a, double[] b, int row, int size)
    {
        var sum = 0.0;
        for (int e = 0, at = row * size; e < size; e++)
            sum += a[e] * b[at + e];
        return sum;
    }

    private static void Add(double[] sums, int row, double factor, double[] values, int valueRow, int size)
    {
        for (int e = 0, to = row * size, from = valueRow * size; e < size; e++)
            sums[to + e] += factor * values[from + e];
    }

    private static void Read(TokenRows<T> rows, int row, int head, double[] target, int targetRow, int size)
    {
        for (var e = 0; e < size; e++)
            target[targetRow * size + e] = Lanes.Get(rows.Data, row * (long)rows.Stride + (long)head * size + e);
    }

    private static void Write(double[] source, int sourceRow, TokenRows<T> rows, int row, int head, int size)
    {
        for (var e = 0; e < size; e++)
            Lanes.Set(rows.Data, row * (long)rows.Stride + (long)head * size + e, source[sourceRow * size + e]);
    }

    /// <summary>Keys, values and their gradients are [rows of the tree][size] of one key head; Rows (of the tree), places (in the chain)
    /// and scores are those of the chain, from its first key on; the rest is one row.</summary>
    private sealed class Work(int rows, int size, int valueSize)
    {
        public double[] Keys { get; } = new double[rows * size];
        public double[] Values { get; } = new double[rows * valueSize];
        public double[] KeyGradients { get; } = new double[rows * size];
        public double[] ValueGradients { get; } = new double[rows * valueSize];
        public int[] Rows { get; } = new int[rows];
        public int[] Places { get; } = new int[rows];
        public double[] Scores { get; } = new double[rows];
        public double[] Query { get; } = new double[size];
        public double[] Slope { get; } = new double[valueSize];
        public double[] Row { get; } = new double[Math.Max(size, valueSize)];
    }
}
