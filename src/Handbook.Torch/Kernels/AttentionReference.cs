namespace Handbook.Torch.Kernels;

/// <summary>Attention as its formula says, in float64, with one row of scores at a time: what the fast kernels are compared with, and what serves float64.</summary>
/// <remarks>
/// <code>
/// s_ij = scale · q_i·k_j,  or  c · tanh(scale · q_i·k_j / c)        j: what i sees
/// p_ij = exp(s_ij − lse_i)        lse_i = log Σ_j exp(s_ij)        o_i = Σ_j p_ij v_j
/// dv_j = Σ_i p_ij do_i        ds_ij = p_ij (do_i·v_j − do_i·o_i) (1 − (s_ij/c)²)        dq_i = scale Σ_j ds_ij k_j        dk_j = scale Σ_i ds_ij q_i
/// </code>
/// </remarks>
internal readonly unsafe struct AttentionReference<T>(SegmentTable segments, AttentionShape shape, AttentionArguments<T> arguments, AttentionGradients<T> gradients, bool backward) : IParallelBody where T : unmanaged
{
    public static void Forward(SegmentTable segments, in AttentionShape shape, in AttentionArguments<T> arguments) =>
        ThreadTeam.Run(segments.Trees.Length * shape.KeyHeads, new AttentionReference<T>(segments, shape, arguments, default, false));

    public static void Backward(SegmentTable segments, in AttentionShape shape, in AttentionArguments<T> arguments, in AttentionGradients<T> gradients) =>
        ThreadTeam.Run(segments.Trees.Length * shape.KeyHeads, new AttentionReference<T>(segments, shape, arguments, gradients, true));

    /// <summary>One tree and one key head: nothing else reads or writes these keys' gradients.</summary>
    public void Invoke(int index)
    {
        var tree = index / shape.KeyHeads;
        var keyHead = index % shape.KeyHeads;
        int longest = 0, size = shape.HeadSize;
        foreach (var segment in segments.Segments)
            if (segment.Tree == tree)
                longest = Math.Max(longest, segment.Offset + segment.Length);
        var tokens = new int[longest];
        var scores = new double[longest];
        var work = new Sums(new double[size], new double[size], backward ? new double[2L * segments.Tokens * size] : []);
        for (var s = 0; s < segments.Count; s++)
        {
            var place = segments.Segments[s];
            if (place.Tree != tree)
                continue;
            for (var link = 0; link < place.Depth; link++)
            {
                var above = segments.Segments[segments.Chains[place.Chain + link]];
                for (var i = 0; i < above.Length; i++)
                    tokens[above.Offset + i] = above.Start + i;
            }
            for (var i = place.Offset; i < place.Offset + place.Length; i++)
            {
                var first = shape.Window > 0 ? Math.Max(0, i - shape.Window + 1) : 0;
                for (var head = keyHead * shape.Group; head < (keyHead + 1) * shape.Group; head++)
                {
                    Scores(tokens, first, i, head, keyHead, scores);
                    if (backward)
                        RowBackward(tokens, first, i, head, keyHead, scores, work);
                    else
                        RowForward(tokens, first, i, head, keyHead, scores, work.Row);
                }
            }
        }
        if (!backward)
            return;
        foreach (var segment in segments.Segments)
            if (segment.Tree == tree)
                for (long token = segment.Start; token < segment.Start + segment.Length; token++)
                    for (var e = 0; e < size; e++)
                    {
                        Lanes.Set(gradients.Key.Data, token * gradients.Key.Stride + keyHead * size + e, work.Keys[token * 2 * size + e]);
                        Lanes.Set(gradients.Value.Data, token * gradients.Value.Stride + keyHead * size + e, work.Keys[token * 2 * size + size + e]);
                    }
    }

    private void Scores(int[] tokens, int first, int i, int head, int keyHead, double[] scores)
    {
        for (var j = first; j <= i; j++)
        {
            var dot = 0.0;
            for (var e = 0; e < shape.HeadSize; e++)
                dot += At(arguments.Query, tokens[i], head, e) * At(arguments.Key, tokens[j], keyHead, e);
            dot *= shape.Scale;
            scores[j] = shape.SoftCap > 0 ? shape.SoftCap * Math.Tanh(dot / shape.SoftCap) : dot;
        }
    }

    private void RowForward(int[] tokens, int first, int i, int head, int keyHead, double[] scores, double[] output)
    {
        var maximum = double.NegativeInfinity;
        for (var j = first; j <= i; j++)
            maximum = Math.Max(maximum, scores[j]);
        var total = 0.0;
        Array.Clear(output);
        for (var j = first; j <= i; j++)
        {
            var weight = Math.Exp(scores[j] - maximum);
            total += weight;
            for (var e = 0; e < output.Length; e++)
                output[e] += weight * At(arguments.Value, tokens[j], keyHead, e);
        }
        for (var e = 0; e < output.Length; e++)
            Lanes.Set(arguments.Output.Data, tokens[i] * (long)arguments.Output.Stride + (long)head * shape.HeadSize + e, output[e] / total);
        var place = (long)head * segments.Tokens + tokens[i];
        if (arguments.LogSumExp == null)
            return;
        if (typeof(T) == typeof(double))
            ((double*)arguments.LogSumExp)[place] = maximum + Math.Log(total);
        else
            ((float*)arguments.LogSumExp)[place] = (float)(maximum + Math.Log(total));
    }

    private void RowBackward(int[] tokens, int first, int i, int head, int keyHead, double[] scores, Sums sums)
    {
        int size = shape.HeadSize, query = tokens[i];
        var place = (long)head * segments.Tokens + query;
        var logSum = typeof(T) == typeof(double) ? ((double*)arguments.LogSumExp)[place] : ((float*)arguments.LogSumExp)[place];
        var mean = 0.0;
        for (var e = 0; e < size; e++)
        {
            sums.Slope[e] = At(gradients.Output, query, head, e);
            mean += sums.Slope[e] * At(arguments.Output, query, head, e);
        }
        Array.Clear(sums.Row);
        for (var j = first; j <= i; j++)
        {
            var weight = Math.Exp(scores[j] - logSum);
            var slope = 0.0;
            for (var e = 0; e < size; e++)
                slope += sums.Slope[e] * At(arguments.Value, tokens[j], keyHead, e);
            slope = weight * (slope - mean) * shape.Scale;
            if (shape.SoftCap > 0)
                slope *= 1 - scores[j] / shape.SoftCap * (scores[j] / shape.SoftCap);
            var key = tokens[j] * 2L * size;
            for (var e = 0; e < size; e++)
            {
                sums.Row[e] += slope * At(arguments.Key, tokens[j], keyHead, e);
                sums.Keys[key + e] += slope * At(arguments.Query, query, head, e);
                sums.Keys[key + size + e] += weight * sums.Slope[e];
            }
        }
        for (var e = 0; e < size; e++)
            Lanes.Set(gradients.Query.Data, query * (long)gradients.Query.Stride + (long)head * size + e, sums.Row[e]);
    }

    private double At(TokenRows<T> rows, int row, int head, int e) => Lanes.Get(rows.Data, row * (long)rows.Stride + (long)head * shape.HeadSize + e);

    /// <param name="Row">Output or query gradient of the row at hand; [E].</param>
    /// <param name="Slope">∂loss/∂output of the row at hand; [E].</param>
    /// <param name="Keys">Gradients of keys and values; [N][2][E].</param>
    private readonly record struct Sums(double[] Row, double[] Slope, double[] Keys);
}
