using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>What a draw from a row of logits needs of the whole vocabulary; one row at a time, on the calling thread.</summary>
internal static unsafe class DrawKernel
{
    /// <summary>Elements that are summed together.</summary>
    public const int Chunk = 64;

    /// <summary>The largest logit; a NaN may be overlooked, <see cref="Exponentials"/> shows it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Max(ReadOnlySpan<float> logits)
    {
        fixed (float* x = logits)
        {
            Vector512<float> m0 = Vector512.Create(float.NegativeInfinity), m1 = m0;
            var i = 0;
            for (; i + 2 * Lanes.Width <= logits.Length; i += 2 * Lanes.Width)
            {
                m0 = Vector512.MaxNative(m0, Vector512.Load(x + i));
                m1 = Vector512.MaxNative(m1, Vector512.Load(x + i + Lanes.Width));
            }
            m0 = Vector512.MaxNative(m0, m1);
            var most = float.NegativeInfinity;
            for (var lane = 0; lane < Lanes.Width; lane++)
                most = Math.Max(most, m0[lane]);
            for (; i < logits.Length; i++)
                most = Math.Max(most, x[i]);
            return most;
        }
    }

    /// <summary>wᵢ = exp( (logitᵢ − max)·factor ), with sum and largest of each chunk of <see cref="Chunk"/>.</summary>
    /// <param name="weights">w, [V].</param>
    /// <param name="sums">Sum of each chunk.</param>
    /// <param name="peaks">Largest weight of each chunk.</param>
    /// <returns>Σ w; NaN where a logit is NaN or +∞.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double Exponentials(ReadOnlySpan<float> logits, float max, float factor, Span<float> weights, Span<float> sums,
        Span<float> peaks)
    {
        Vector512<float> shift = Vector512.Create(max), scale = Vector512.Create(factor);
        var total = 0.0;
        var chunk = 0;
        fixed (float* x = logits, w = weights)
        {
            for (; (chunk + 1) * Chunk <= logits.Length; chunk++)
            {
                float* from = x + chunk * Chunk, to = w + chunk * Chunk;
                Vector512<float> peak, sum;
                if (Vector512.IsHardwareAccelerated)
                {
                    var w0 = VectorMath.ExpOrZero((Vector512.Load(from) - shift) * scale);
                    var w1 = VectorMath.ExpOrZero((Vector512.Load(from + 16) - shift) * scale);
                    var w2 = VectorMath.ExpOrZero((Vector512.Load(from + 32) - shift) * scale);
                    var w3 = VectorMath.ExpOrZero((Vector512.Load(from + 48) - shift) * scale);
                    w0.Store(to);
                    w1.Store(to + 16);
                    w2.Store(to + 32);
                    w3.Store(to + 48);
                    peak = Vector512.MaxNative(Vector512.MaxNative(w0, w1), Vector512.MaxNative(w2, w3));
                    sum = (w0 + w1) + (w2 + w3);
                }
                else
                {
                    // Four at once would not fit in sixteen registers, nor into what the compiler is willing to inline.
                    peak = sum = Vector512<float>.Zero;
                    for (var i = 0; i < Chunk; i += Lanes.Width)
                    {
                        var weight = VectorMath.ExpOrZero((Vector512.Load(from + i) - shift) * scale);
                        weight.Store(to + i);
                        peak = Vector512.MaxNative(peak, weight);
                        sum += weight;
                    }
                }
                var half = Vector256.MaxNative(peak.GetLower(), peak.GetUpper());
                var quarter = Vector128.MaxNative(half.GetLower(), half.GetUpper());
                peaks[chunk] = Math.Max(Math.Max(quarter[0], quarter[1]), Math.Max(quarter[2], quarter[3]));
                total += sums[chunk] = Vector512.Sum(sum);
            }
        }
        for (var i = chunk * Chunk; i < logits.Length; i++)
        {
            if (i % Chunk == 0)
                sums[chunk] = peaks[chunk] = 0;
            weights[i] = MathF.Exp((logits[i] - max) * factor);
            sums[chunk] += weights[i];
            peaks[chunk] = Math.Max(peaks[chunk], weights[i]);
            total += weights[i];
        }
        return total;
    }

    /// <summary>Σ exp( logitᵢ − max ); NaN where a logit is NaN or +∞.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double SumOfExponentials(ReadOnlySpan<float> logits, float max)
    {
        var shift = Vector512.Create(max);
        var total = 0.0;
        var i = 0;
        fixed (float* x = logits)
            for (; i + Chunk <= logits.Length; i += Chunk)
            {
                var sum = VectorMath.ExpOrZero(Vector512.Load(x + i) - shift);
                for (var j = Lanes.Width; j < Chunk; j += Lanes.Width)
                    sum += VectorMath.ExpOrZero(Vector512.Load(x + i + j) - shift);
                total += Vector512.Sum(sum);
            }
        for (; i < logits.Length; i++)
            total += Math.Exp(logits[i] - max);
        return total;
    }

    /// <summary>Number and sum of the weights that reach a threshold.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static (int Count, double Mass) Above(ReadOnlySpan<float> weights, float threshold)
    {
        Vector512<float> bound = Vector512.Create(threshold), mass = default;
        var number = Vector512<int>.Zero;
        var i = 0;
        fixed (float* w = weights)
            for (; i + Lanes.Width <= weights.Length; i += Lanes.Width)
            {
                var x = Vector512.Load(w + i);
                var inside = Vector512.GreaterThanOrEqual(x, bound);
                mass += x & inside;
                number -= inside.AsInt32();
            }
        var (count, sum) = (Vector512.Sum(number), (double)Vector512.Sum(mass));
        for (; i < weights.Length; i++)
            if (weights[i] >= threshold)
                (count, sum) = (count + 1, sum + weights[i]);
        return (count, sum);
    }
}
