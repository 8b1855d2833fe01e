namespace Handbook.Torch.Kernels;

/// <summary>Rows in memory, one per token: element e of head h of row i is <c>Data[i·Stride + h·E + e]</c>.</summary>
/// <param name="data">First element of row 0.</param>
/// <param name="stride">Elements from one row to the next; more than heads · E where the rows are slices of wider ones.</param>
internal readonly unsafe struct TokenRows<T>(T* data, nint stride) where T : unmanaged
{
    public T* Data { get; } = data;

    public nint Stride { get; } = stride;
}

/// <summary>What attention computes, apart from the tokens.</summary>
internal readonly record struct AttentionShape
{
    /// <summary>H, query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>K, key and value heads; H is a multiple of K, and query heads h·H/K … share key head h.</summary>
    public required int KeyHeads { get; init; }

    /// <summary>E, elements of a query and of a key per head.</summary>
    public required int HeadSize { get; init; }

    /// <summary>Elements of a value, and so of the output, per head; E where nothing else is said.</summary>
    public int ValueSize { get => field > 0 ? field : HeadSize; init; }

    /// <summary>Factor of the scores, usually 1/√E.</summary>
    public required double Scale { get; init; }

    /// <summary>w: the token at position t sees positions t−w+1 … t; 0 sees all.</summary>
    public int Window { get; init; }

    /// <summary>n, over a cache: the token at position t sees positions ⌊t/n⌋·n … t; 0 sees all. In a stream the segments say it: each
    /// chunk is one by itself.</summary>
    public int Chunk { get; init; }

    /// <summary>The first place of a cache that the token at a place sees.</summary>
    internal int FirstSeen(int place) => Chunk > 0 ? place / Chunk * Chunk : Window > 0 ? Math.Max(0, place - Window + 1) : 0;

    /// <summary>c: scores become c·tanh(score/c); 0 leaves them.</summary>
    public double SoftCap { get; init; }

    /// <summary>m of each query head, [H]: m·(j − i) is added to the score of token i with token j before it, so that it falls with their
    /// distance (ALiBi). Press et al. 2022, arXiv:2108.12409. null: nothing is added.</summary>
    public float[]? DistanceSlopes { get; init; }

    internal int Group => Heads / KeyHeads;

    internal void Check(SegmentTable? segments)
    {
        if (Heads < 1 || KeyHeads < 1 || Heads % KeyHeads != 0 || HeadSize < 1)
            throw new ArgumentException($"attention with {Heads} heads over {KeyHeads} key heads of {HeadSize} elements; heads must be a "
                + "multiple of key heads, all at least 1");
        if (DistanceSlopes is { } slopes && slopes.Length != Heads)
            throw new ArgumentException($"attention with {Heads} heads and {slopes.Length} slopes over the distance; each head has one");
        if (Window < 0 || !(SoftCap >= 0) || !double.IsFinite(Scale))
            throw new ArgumentException($"attention with window {Window}, soft cap {SoftCap} and scale {Scale}; the first two are 0 "
                + "(none) or more, the scale is finite");
        if (Window > 0 && segments is { PositionsFollow: false })
            throw new ArgumentException("attention with a window needs positions that grow by one along each chain of segments");
    }
}

/// <summary>Inputs and outputs of one attention layer over a flat batch of N tokens.</summary>
/// <typeparam name="T">float, <see cref="BFloat16"/> (computed in float) or double.</typeparam>
internal readonly unsafe struct AttentionArguments<T> where T : unmanaged
{
    /// <summary>[N, H, E].</summary>
    public required TokenRows<T> Query { get; init; }

    /// <summary>[N, K, E].</summary>
    public required TokenRows<T> Key { get; init; }

    /// <summary>[N, K, V], V the value's size.</summary>
    public required TokenRows<T> Value { get; init; }

    /// <summary>[N, H, V]; written by forward, read by backward.</summary>
    public required TokenRows<T> Output { get; init; }

    /// <summary>log Σ exp(score) of each row, [H, N], without gaps: float*, or double* where T is double. Written by forward, read by
    /// backward; null in forward: not wanted.</summary>
    public required void* LogSumExp { get; init; }

    /// <summary>A score of each head that every token sees beside those of the keys, and that has no value: a sink, [H], of the type of
    /// <see cref="LogSumExp"/>. Xiao et al. 2024, arXiv:2309.17453. null: none. Forward alone reads it: it is in the log-sum-exp from
    /// there on.</summary>
    public void* Sinks { get; init; }
}

/// <summary>Gradients of one attention layer; all but the first are overwritten.</summary>
internal readonly unsafe struct AttentionGradients<T> where T : unmanaged
{
    /// <summary>∂loss/∂output, [N, H, V]; read.</summary>
    public required TokenRows<T> Output { get; init; }

    /// <summary>[N, H, E].</summary>
    public required TokenRows<T> Query { get; init; }

    /// <summary>[N, K, E].</summary>
    public required TokenRows<T> Key { get; init; }

    /// <summary>[N, K, V].</summary>
    public required TokenRows<T> Value { get; init; }
}
