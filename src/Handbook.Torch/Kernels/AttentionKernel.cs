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

    /// <summary>Attention of the newest tokens of many sequences over their caches.</summary>
    /// <param name="query">[sum of queries, H, E].</param>
    /// <param name="output">[sum of queries, H, E]; written.</param>
    public static void Decode<T>(ReadOnlySpan<CachedSequence<T>> sequences, in AttentionShape shape, TokenRows<T> query,
        TokenRows<T> output) where T : unmanaged
    {
        shape.Check(null);
        for (var s = 0; s < sequences.Length; s++)
            if (sequences[s].Queries < 1 || sequences[s].Queries > sequences[s].OwnLength)
                throw new ArgumentException($"sequence {s} has {sequences[s].Queries} new tokens and {sequences[s].OwnLength} in its own "
                    + "cache; the new ones, at least 1, are part of the cache");
        fixed (CachedSequence<T>* all = sequences)
        {
            if (typeof(T) == typeof(double))
                ThreadTeam.Run(sequences.Length, new AttentionDecodeReference<T>(all, shape, query, output));
            else if (typeof(T) == typeof(float) || typeof(T) == typeof(BFloat16))
                new AttentionDecode<T>(all, sequences.Length, shape, query, output).Run();
            else
                throw new NotSupportedException($"attention computes float, BFloat16 and double, not {typeof(T).Name}");
        }
    }
}
