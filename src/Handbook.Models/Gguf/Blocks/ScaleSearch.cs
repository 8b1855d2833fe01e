namespace Handbook.Models.Gguf.Blocks;

/// <summary>Scales and codes of a few elements with the smallest weighted squared error among some that are tried: those of ggml, in its
/// order, so that files hold the same codes.</summary>
internal static class ScaleSearch
{
    /// <summary>Below this the elements count as zeros.</summary>
    private const float Least = 1e-15f;

    /// <summary>x ≈ d·(q − n) with q in 0 … 2n − 1.</summary>
    /// <remarks><code>
    /// for t in −0.9 … 0.9:  q = round(−(n + t)·x / x_max),   d = Σ w·x·q / Σ w·q²,   the largest (Σ w·x·q)² / Σ w·q² wins
    /// </code></remarks>
    /// <param name="limit">n.</param>
    /// <param name="weights">w of each element; empty: its square.</param>
    /// <param name="codes">Gets q.</param>
    /// <returns>d.</returns>
    public static float Symmetric(ReadOnlySpan<float> x, int limit, ReadOnlySpan<float> weights, Span<byte> codes)
    {
        var (largest, signed) = (0f, 0f);
        foreach (var value in x)
            if (MathF.Abs(value) > largest)
                (largest, signed) = (MathF.Abs(value), value);
        if (largest < Least)
        {
            codes.Clear();
            return 0;
        }
        var (scale, best) = (0f, 0f);
        for (var t = -10; t <= 9; t++)
        {
            // the plain one first
            var tried = t == -10 ? 0 : t;
            if (t == 0)
                continue;
            var inverse = tried == 0 ? -limit / signed : -(limit + 0.1f * tried) / signed;
            var (products, squares) = (0f, 0f);
            for (var i = 0; i < x.Length; i++)
            {
                var code = Math.Clamp(Nearest(inverse * x[i]), -limit, limit - 1);
                var w = weights.IsEmpty ? x[i] * x[i] : weights[i];
                products += w * x[i] * code;
                squares += w * code * code;
            }
            if (tried == 0 ? false : !(squares > 0 && products * products > best * squares))
                continue;
            for (var i = 0; i < x.Length; i++)
                codes[i] = (byte)(Math.Clamp(Nearest(inverse * x[i]), -limit, limit - 1) + limit);
            scale = squares > 0 ? products / squares : 0;
            best = scale * products;
        }
        return scale;
    }

    /// <summary>x ≈ d·q − m with q in 0 … n, d and m at least 0.</summary>
    /// <remarks><code>
    /// for s = n + first, + step, …:  q = round(s·(x + m) / (x_max + m)),   d and m by least squares, the smallest error wins
    /// </code></remarks>
    /// <param name="limit">n.</param>
    /// <param name="weights">Of each element.</param>
    /// <param name="codes">Gets q.</param>
    /// <param name="steps">How many scales are tried, less one; the first and the distance are added to n.</param>
    /// <returns>d and m.</returns>
    public static (float Scale, float Min) Affine(ReadOnlySpan<float> x, int limit, ReadOnlySpan<float> weights, Span<byte> codes,
        (float First, float Step, int Count) steps)
    {
        var (min, max) = (x[0], x[0]);
        var (sumW, sumX) = (weights[0], weights[0] * x[0]);
        for (var i = 1; i < x.Length; i++)
        {
            min = MathF.Min(min, x[i]);
            max = MathF.Max(max, x[i]);
            sumW += weights[i];
            sumX += weights[i] * x[i];
        }
        min = MathF.Min(min, 0);
        if (max <= min)
        {
            codes.Clear();
            return (0, -min);
        }
        var inverse = limit / (max - min);
        var scale = 1 / inverse;
        var best = 0f;
        for (var i = 0; i < x.Length; i++)
        {
            codes[i] = (byte)Math.Clamp(Nearest(inverse * (x[i] - min)), 0, limit);
            var difference = scale * codes[i] + min - x[i];
            best += weights[i] * (difference * difference);
        }
        Span<byte> tried = stackalloc byte[x.Length];
        for (var step = 0; step <= steps.Count; step++)
        {
            inverse = (steps.First + steps.Step * step + limit) / (max - min);      // of the best so far
            var (sumL, sumL2, sumXL) = (0f, 0f, 0f);
            for (var i = 0; i < x.Length; i++)
            {
                var code = Math.Clamp(Nearest(inverse * (x[i] - min)), 0, limit);
                tried[i] = (byte)code;
                sumL += weights[i] * code;
                sumL2 += weights[i] * code * code;
                sumXL += weights[i] * code * x[i];
            }
            var determinant = sumW * sumL2 - sumL * sumL;
            if (!(determinant > 0))
                continue;
            var (itsScale, itsMin) = ((sumW * sumXL - sumX * sumL) / determinant, (sumL2 * sumX - sumL * sumXL) / determinant);
            if (itsMin > 0)
                (itsMin, itsScale) = (0, sumXL / sumL2);
            var error = 0f;
            for (var i = 0; i < x.Length; i++)
            {
                var difference = itsScale * tried[i] + itsMin - x[i];
                error += weights[i] * (difference * difference);
            }
            if (error >= best)
                continue;
            tried.CopyTo(codes);
            (best, scale, min) = (error, itsScale, itsMin);
        }
        return (scale, -min);
    }

    /// <summary>x ≈ d·q with q in 0 … n, of elements that are at least 0.</summary>
    /// <remarks>Nine scales around n / x_max are tried; then single codes move where that makes (Σ w·x·q)² / Σ w·q² larger.</remarks>
    /// <param name="limit">n.</param>
    /// <param name="codes">Gets q.</param>
    /// <returns>d.</returns>
    public static float Positive(ReadOnlySpan<float> x, int limit, ReadOnlySpan<float> weights, Span<byte> codes)
    {
        var max = 0f;
        foreach (var value in x)
            max = MathF.Max(max, value);
        if (max < Least)
        {
            codes.Clear();
            return 0;
        }
        var inverse = limit / max;
        var best = Error(x, limit, weights, inverse);
        for (var t = -4; t <= 4; t++)
        {
            if (t == 0)
                continue;
            var tried = (0.1f * t + limit) / max;
            var error = Error(x, limit, weights, tried);
            if (error < best)
                (best, inverse) = (error, tried);
        }
        var (products, squares) = (0f, 0f);
        for (var i = 0; i < x.Length; i++)
        {
            codes[i] = (byte)Math.Min(limit, Nearest(inverse * x[i]));
            products += weights[i] * x[i] * codes[i];
            squares += weights[i] * codes[i] * codes[i];
        }
        for (var round = 0; round < 5; round++)
        {
            var changed = false;
            for (var i = 0; i < x.Length; i++)
            {
                var w = weights[i];
                var (others, otherSquares) = (products - w * x[i] * codes[i], squares - w * codes[i] * codes[i]);
                if (!(others > 0 && otherSquares > 0))
                    continue;
                var code = Math.Min(limit, Nearest(x[i] * otherSquares / others));
                if (code == codes[i])
                    continue;
                others += w * x[i] * code;
                otherSquares += w * code * code;
                if (others * others * squares > products * products * otherSquares)
                {
                    codes[i] = (byte)code;
                    (products, squares, changed) = (others, otherSquares, true);
                }
            }
            if (!changed)
                break;
        }
        return squares > 0 ? products / squares : 0;
    }

    private static float Error(ReadOnlySpan<float> x, int limit, ReadOnlySpan<float> weights, float inverse)
    {
        var (scale, error) = (1 / inverse, 0f);
        for (var i = 0; i < x.Length; i++)
        {
            var difference = x[i] - scale * Math.Min(limit, Nearest(inverse * x[i]));
            error += weights[i] * difference * difference;
        }
        return error;
    }

    /// <summary>The nearest whole number, halves to the even one.</summary>
    public static int Nearest(float value) => (int)MathF.Round(value);
}
