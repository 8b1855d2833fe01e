using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>What a draw from a row of logits needs of the whole vocabulary; one row at a time, on the calling thread.</summary>
public static unsafe class DrawKernel
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

    /// <summary>wᵢ = exp( (logitᵢ − max)·factor ), and their sums over chunks of <see cref="Chunk"/>.</summary>
    /// <param name="weights">w, [V]; empty where only the sum is wanted.</param>
    /// <param name="sums">Sum of each chunk; empty where <paramref name="weights"/> is.</param>
    /// <param name="peaks">Largest weight of each chunk; empty where <paramref name="weights"/> is.</param>
    /// <returns>Σ w; NaN where a logit is NaN or +∞.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double Exponentials(ReadOnlySpan<float> logits, float max, float factor, Span<float> weights, Span<float> sums, Span<float> peaks)
    {
        Vector512<float> shift = Vector512.Create(max), scale = Vector512.Create(factor);
        var total = 0.0;
        fixed (float* x = logits, w = weights, s = sums, p = peaks)
        {
            for (int start = 0, chunk = 0; start < logits.Length; start += Chunk, chunk++)
            {
                Vector512<float> sum = default, peak = default;
                var end = Math.Min(logits.Length, start + Chunk);
                for (var i = start; i < end; i += Lanes.Width)
                {
                    var count = end - i;
                    var logit = count >= Lanes.Width ? Vector512.Load(x + i) : Lanes.LoadPartial(x + i, count, float.NegativeInfinity);
                    var weight = VectorMath.Exp((logit - shift) * scale);
                    sum += weight;
                    if (w == null)
                        continue;
                    peak = Vector512.MaxNative(peak, weight);
                    if (count >= Lanes.Width)
                        weight.Store(w + i);
                    else
                        Lanes.StorePartial(w + i, count, weight);
                }
                var part = Vector512.Sum(sum);
                total += part;
                if (w == null)
                    continue;
                s[chunk] = part;
                var half = Vector256.Max(peak.GetLower(), peak.GetUpper());
                var quarter = Vector128.Max(half.GetLower(), half.GetUpper());
                p[chunk] = Math.Max(Math.Max(quarter[0], quarter[1]), Math.Max(quarter[2], quarter[3]));
            }
        }
        return total;
    }
}
