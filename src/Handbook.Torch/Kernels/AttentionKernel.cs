using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>Attention over the flat token stream on the CPU; the segments say who sees whom.</summary>
/// <remarks>
/// float and <see cref="BFloat16"/> are computed in float, on both sides of the products; double is the plain version, for gradient tests.
/// Nothing of size N × N is stored. The bits of the result do not depend on the number of threads, nor on the other trees in the batch.
/// </remarks>
internal static unsafe class AttentionKernel
{
    /// <summary>Writes the output and log-sum-exp.</summary>
    public static void Forward<T>(SegmentTable segments, in AttentionShape shape, in AttentionArguments<T> arguments) where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(segments);
        shape.Check(segments);
        if (typeof(T) == typeof(double))
            AttentionReference<T>.Forward(segments, shape, arguments);
        else if (typeof(T) == typeof(float) || typeof(T) == typeof(BFloat16))
            new AttentionForward<T>(segments, shape, arguments).Run();
        else
            throw new NotSupportedException($"attention computes float, BFloat16 and double, not {typeof(T).Name}");
    }

    /// <summary>Overwrites the gradients of query, key and value from the output, its log-sum-exp and its gradient.</summary>
    public static void Backward<T>(SegmentTable segments, in AttentionShape shape, in AttentionArguments<T> arguments,
        in AttentionGradients<T> gradients) where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(segments);
        shape.Check(segments);
        if (arguments.LogSumExp == null)
            throw new ArgumentException("attention backward needs the log-sum-exp that forward wrote");
        if (typeof(T) == typeof(double))
            AttentionReference<T>.Backward(segments, shape, arguments, gradients);
        else if (typeof(T) == typeof(float) || typeof(T) == typeof(BFloat16))
            AttentionBackward<T>.Run(segments, shape, arguments, gradients);
        else
            throw new NotSupportedException($"attention computes float, BFloat16 and double, not {typeof(T).Name}");
    }

    /// <summary>Adds the gradients of the sinks to what is there; [H], of the type of the log-sum-exp.</summary>
    /// <remarks><code>dsink = −Σ_i e^(sink − lse_i) · o_i·do_i</code></remarks>
    public static void SinkBackward<T>(int tokens, in AttentionShape shape, TokenRows<T> output, TokenRows<T> dy, void* logSumExp,
        void* sinks, void* gradient) where T : unmanaged
    {
        if (typeof(T) == typeof(double))
            ThreadTeam.Run(shape.Heads, new SinkGradient<T, double>(tokens, shape.ValueSize, output, dy, logSumExp, sinks, gradient));
        else
            ThreadTeam.Run(shape.Heads, new SinkGradient<T, float>(tokens, shape.ValueSize, output, dy, logSumExp, sinks, gradient));
    }

    /// <summary>One head, its tokens one after the other.</summary>
    private readonly struct SinkGradient<T, TReal>(int tokens, int size, TokenRows<T> output, TokenRows<T> dy, void* logSumExp,
        void* sinks, void* gradient) : IParallelBody where T : unmanaged where TReal : unmanaged
    {
        public void Invoke(int head)
        {
            var sink = Lanes.Get((TReal*)sinks, head);
            var logSum = (TReal*)logSumExp + (long)head * tokens;
            var sum = 0.0;
            for (var i = 0; i < tokens; i++)
            {
                var dot = Dot(output.Data + i * output.Stride + head * size, dy.Data + i * dy.Stride + head * size);
                sum -= Math.Exp(sink - Lanes.Get(logSum, i)) * dot;
            }
            Lanes.Set((TReal*)gradient, head, Lanes.Get((TReal*)gradient, head) + sum);
        }

        private double Dot(T* a, T* b)
        {
            var plain = 0.0;
            if (typeof(T) == typeof(double))
            {
                for (var e = 0; e < size; e++)
                    plain += Lanes.Get(a, e) * Lanes.Get(b, e);
                return plain;
            }
            var sum = Vector512<float>.Zero;
            for (var e = 0; e < size; e += Lanes.Width)
                sum = Vector512.FusedMultiplyAdd(Lanes.Load(a, e, size), Lanes.Load(b, e, size), sum);
            return Vector512.Sum(sum);
        }
    }

    /// <summary>Attention of the newest tokens of many sequences over their caches.</summary>
    /// <param name="query">[sum of queries, H, E].</param>
    /// <param name="output">[sum of queries, H, V]; written.</param>
    /// <param name="sinks">As <see cref="AttentionArguments{T}.Sinks"/>.</param>
    public static void Decode<T>(ReadOnlySpan<CachedSequence<T>> sequences, in AttentionShape shape, TokenRows<T> query,
        TokenRows<T> output, void* sinks = null) where T : unmanaged
    {
        shape.Check(null);
        for (var s = 0; s < sequences.Length; s++)
            if (sequences[s].Queries < 1 || sequences[s].Queries > sequences[s].OwnLength)
                throw new ArgumentException($"sequence {s} has {sequences[s].Queries} new tokens and {sequences[s].OwnLength} in its own "
                    + "cache; the new ones, at least 1, are part of the cache");
        fixed (CachedSequence<T>* all = sequences)
        {
            if (typeof(T) == typeof(double))
                ThreadTeam.Run(sequences.Length, new AttentionDecodeReference<T>(all, shape, query, output, (double*)sinks));
            else if (typeof(T) == typeof(float) || typeof(T) == typeof(BFloat16))
                new AttentionDecode<T>(all, sequences.Length, shape, query, output, (float*)sinks).Run();
            else
                throw new NotSupportedException($"attention computes float, BFloat16 and double, not {typeof(T).Name}");
        }
    }
}
