using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cpu;

/// <summary>The router, and the rows of tokens in the matrices of their experts.</summary>
internal sealed unsafe partial class CpuKernels
{
    public override int[] RouterForward(Tensor logits, bool normalize, Tensor weights, RouterTally? tally) => logits.DType switch
    {
        DType.Float32 => Choose<float>(logits, normalize, weights, tally),
        DType.Float64 => Choose<double>(logits, normalize, weights, tally),
        _ => throw Unsupported("a router", logits),
    };

    private static int[] Choose<T>(Tensor logits, bool normalize, Tensor weights, RouterTally? tally) where T : unmanaged
    {
        var (experts, perToken) = ((int)logits.Size(1), (int)weights.Size(1));
        var chosen = new int[logits.Size(0) * perToken];
        var p = new double[experts];
        tally?.Taken.AsSpan().Clear();
        tally?.Probability.AsSpan().Clear();
        for (var t = 0; t < logits.Size(0); t++)
        {
            var row = logits.Pointer<T>() + (long)t * experts;
            Softmax(row, p);
            var own = chosen.AsSpan(t * perToken, perToken);
            Largest(row, experts, own);
            var sum = 1.0;
            if (normalize)
            {
                sum = 0;
                foreach (var e in own)
                    sum += p[e];
            }
            for (var k = 0; k < perToken; k++)
                Lanes.Set(weights.Pointer<T>(), (long)t * perToken + k, p[own[k]] / sum);
            if (tally is null)
                continue;
            foreach (var e in own)
                tally.Taken[e] += tally.Weights[t];
            for (var e = 0; e < experts; e++)
                tally.Probability[e] += tally.Weights[t] * p[e];
        }
        return chosen;
    }

    private static void Softmax<T>(T* row, double[] p) where T : unmanaged
    {
        var (largest, sum) = (double.NegativeInfinity, 0.0);
        for (var e = 0; e < p.Length; e++)
            largest = Math.Max(largest, Lanes.Get(row, e));
        for (var e = 0; e < p.Length; e++)
            sum += p[e] = Math.Exp(Lanes.Get(row, e) - largest);
        for (var e = 0; e < p.Length; e++)
            p[e] /= sum;
    }

    /// <summary>
    /// The places of the largest values, largest first; of equal ones the first. Compared as logits, which differ where probabilities have
    /// become equal.
    /// </summary>
    private static void Largest<T>(T* row, int count, Span<int> places) where T : unmanaged
    {
        for (var k = 0; k < places.Length; k++)
        {
            var best = -1;
            for (var e = 0; e < count; e++)
                if (!places[..k].Contains(e) && (best < 0 || Lanes.Get(row, e) > Lanes.Get(row, best)))
                    best = e;
            places[k] = best;
        }
    }

    public override void RouterBackward(Tensor logits, Routing routing, bool normalize, Tensor? dweights, double[]? dspread,
        float[]? tokenWeights, Tensor dlogits)
    {
        if (logits.DType == DType.Float64)
            Route<double>(logits, routing, normalize, dweights, dspread, tokenWeights, dlogits);
        else
            Route<float>(logits, routing, normalize, dweights, dspread, tokenWeights, dlogits);
    }

    private static void Route<T>(Tensor logits, Routing routing, bool normalize, Tensor? dweights, double[]? dspread,
        float[]? tokenWeights, Tensor dlogits)
        where T : unmanaged
    {
        var (experts, perToken) = ((int)logits.Size(1), routing.PerToken);
        var (p, dp, scaled) = (new double[experts], new double[experts], new double[experts]);
        for (var t = 0; t < logits.Size(0); t++)
        {
            Softmax(logits.Pointer<T>() + (long)t * experts, p);
            // dp by all probabilities; through a scaled weight only the chosen ones matter, and their softmax is the weight itself
            Array.Clear(dp);
            Array.Clear(scaled);
            var own = routing.Expert.AsSpan(t * perToken, perToken);
            if (dweights is not null)
            {
                double sum = 0, mean = 0;
                foreach (var e in own)
                    sum += p[e];
                for (var k = 0; k < perToken; k++)
                {
                    var dw = Lanes.Get(dweights.Pointer<T>(), (long)t * perToken + k);
                    (normalize ? scaled : dp)[own[k]] = dw;
                    mean += p[own[k]] / sum * dw;
                }
                if (normalize)
                    foreach (var e in own)
                        scaled[e] = p[e] / sum * (scaled[e] - mean);
            }
            var average = 0.0;
            for (var e = 0; e < experts; e++)
            {
                dp[e] += dspread is null ? 0 : tokenWeights![t] * dspread[e];
                average += p[e] * dp[e];
            }
            for (var e = 0; e < experts; e++)
                Lanes.Set(dlogits.Pointer<T>(), (long)t * experts + e, scaled[e] + p[e] * (dp[e] - average));
        }
    }

    public override void ExpertGather(Tensor?[] matrices, Routing routing, Tensor? weights, Tensor rows)
    {
        switch (rows.DType, weights?.DType)
        {
            case (DType.Float32, DType.Float32 or null): Gather<float, float>(matrices, routing, weights, rows); break;
            case (DType.BFloat16, DType.Float32 or null): Gather<BFloat16, float>(matrices, routing, weights, rows); break;
            case (DType.Float64, DType.Float64 or null): Gather<double, double>(matrices, routing, weights, rows); break;
            default: throw Unsupported("experts", weights is null ? [rows] : [rows, weights]);
        }
    }

    private static void Gather<T, TReal>(Tensor?[] matrices, Routing routing, Tensor? weights, Tensor rows)
        where T : unmanaged where TReal : unmanaged
    {
        var pointers = Pointers<T>(matrices);
        fixed (nint* all = pointers)
        fixed (int* expert = routing.Expert, row = routing.Row)
            ExpertKernel.Gather(Places(all, expert, row, routing, rows), PointerOrNull<TReal>(weights), rows.Pointer<T>());
    }

    public override void ExpertScatter(Tensor?[] matrices, Routing routing, Tensor? weights, Tensor rows)
    {
        switch (rows.DType, weights?.DType)
        {
            case (DType.Float32, DType.Float32 or null): Scatter<float, float>(matrices, routing, weights, rows); break;
            case (DType.BFloat16, DType.Float32 or null): Scatter<BFloat16, float>(matrices, routing, weights, rows); break;
            case (DType.Float64, DType.Float64 or null): Scatter<double, double>(matrices, routing, weights, rows); break;
            default: throw Unsupported("experts", weights is null ? [rows] : [rows, weights]);
        }
    }

    private static void Scatter<T, TReal>(Tensor?[] matrices, Routing routing, Tensor? weights, Tensor rows)
        where T : unmanaged where TReal : unmanaged
    {
        var pointers = Pointers<T>(matrices);
        fixed (nint* all = pointers)
        fixed (int* expert = routing.Expert, row = routing.Row)
            ExpertKernel.Scatter(Places(all, expert, row, routing, rows), PointerOrNull<TReal>(weights), rows.Pointer<T>());
    }

    public override void ExpertDots(Tensor?[] matrices, Routing routing, Tensor rows, Tensor dots)
    {
        switch (rows.DType, dots.DType)
        {
            case (DType.Float32, DType.Float32): Dots<float, float>(matrices, routing, rows, dots); break;
            case (DType.BFloat16, DType.Float32): Dots<BFloat16, float>(matrices, routing, rows, dots); break;
            case (DType.Float64, DType.Float64): Dots<double, double>(matrices, routing, rows, dots); break;
            default: throw Unsupported("experts", rows, dots);
        }
    }

    private static void Dots<T, TReal>(Tensor?[] matrices, Routing routing, Tensor rows, Tensor dots)
        where T : unmanaged where TReal : unmanaged
    {
        var pointers = Pointers<T>(matrices);
        fixed (nint* all = pointers)
        fixed (int* expert = routing.Expert, row = routing.Row)
            ExpertKernel.Dots(Places(all, expert, row, routing, rows), rows.Pointer<T>(), dots.Pointer<TReal>());
    }

    private static nint[] Pointers<T>(Tensor?[] matrices) where T : unmanaged =>
        Array.ConvertAll(matrices, matrix => matrix is null ? 0 : (nint)matrix.Pointer<T>());

    private static ExpertKernel.Places Places(nint* all, int* expert, int* row, Routing routing, Tensor rows) => new()
    {
        Matrices = all,
        Expert = expert,
        Row = row,
        Tokens = routing.Tokens,
        PerToken = routing.PerToken,
        Width = (int)rows.Size(1),
    };
}
