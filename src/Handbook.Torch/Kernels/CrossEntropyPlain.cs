namespace Handbook.Torch.Kernels;

/// <summary>The same as <see cref="CrossEntropyKernel"/> in plain float64 code: for gradient tests, and what the fast version is tested
/// against.</summary>
internal static unsafe class CrossEntropyPlain
{
    public static void Row<T>(in CrossEntropyRows<T> a, int index) where T : unmanaged
    {
        var row = a.Logits + index * a.RowStride;
        var count = a.Vocabulary;
        var target = a.Targets[index];
        double high = double.NegativeInfinity, sumLogits = 0, total = 0, weighted = 0;
        var argMax = 0;
        for (var i = 0; i < count; i++)
        {
            var x = Logit(a, row, i);
            sumLogits += x;
            if (x > high)
                argMax = i;
            high = Math.Max(high, x);
        }
        for (var i = 0; i < count; i++)
        {
            var x = Logit(a, row, i);
            var e = Math.Exp(x - high);
            total += e;
            weighted += e == 0 ? 0 : e * x;
        }
        var lse = high + Math.Log(total);
        var targetLogit = target >= 0 ? Logit(a, row, target) : 0;
        if (a.LogProb != null)
            a.LogProb[index] = target >= 0 ? targetLogit - lse : 0;
        if (a.LogSumExp != null)
            a.LogSumExp[index] = lse;
        if (a.Entropy != null)
            a.Entropy[index] = lse - weighted / total;
        if (a.MeanLogit != null)
            a.MeanLogit[index] = sumLogits / count;
        if (a.ArgMax != null)
            a.ArgMax[index] = argMax;
        if (a.LogSquares != null)
        {
            var squares = 0.0;
            for (var i = 0; i < count; i++)
                squares += Math.Exp(2 * (Logit(a, row, i) - lse));
            a.LogSquares[index] = Math.Log(squares);
        }
        if (!a.Gradient)
            return;
        var weight = target >= 0 ? a.Weights[index] : 0;
        for (var i = 0; i < count; i++)
        {
            if (weight == 0)
            {
                Lanes.Set(row, i, 0);
                continue;
            }
            var x = Logit(a, row, i);
            var slope = a.SoftCap == 0 ? a.Scale : a.Scale * (1 - x / a.SoftCap * (x / a.SoftCap));
            var hot = i == target ? 1 - a.LabelSmoothing : 0;
            Lanes.Set(row, i, slope * weight * (Math.Exp(x - lse) - hot - a.LabelSmoothing / count));
        }
    }

    private static double Logit<T>(in CrossEntropyRows<T> a, T* row, int i) where T : unmanaged
    {
        var x = Lanes.Get(row, i) * a.Scale;
        return a.SoftCap == 0 ? x : a.SoftCap * Math.Tanh(x / a.SoftCap);
    }
}
