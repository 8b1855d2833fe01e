namespace Handbook.Torch.Kernels;

/// <summary>Rows of a cache, one per token: element e of head h of row i is <c>Data[i·Stride + h·HeadStride + e]</c>.</summary>
/// <param name="data">First element of row 0.</param>
/// <param name="stride">Elements from one row to the next; E where the rows of a head lie behind one another, which is read
/// fastest.</param>
/// <param name="headStride">Elements from one head to the next.</param>
internal readonly unsafe struct HeadRows<T>(T* data, nint stride, nint headStride) where T : unmanaged
{
    public nint Stride { get; } = stride;

    /// <summary>First element of a head's row.</summary>
    public T* At(int row, int head) => data + row * Stride + head * headStride;
}

/// <summary>Keys and values of tokens that follow one another, as a cache holds them.</summary>
/// <param name="key">[Length, K, E].</param>
/// <param name="value">[Length, K, V].</param>
/// <param name="length">Number of tokens.</param>
internal readonly struct CachedSegment<T>(HeadRows<T> key, HeadRows<T> value, int length) where T : unmanaged
{
    public HeadRows<T> Key { get; } = key;

    public HeadRows<T> Value { get; } = value;

    public int Length { get; } = length;
}

/// <summary>One sequence of a generation step: its newest tokens ask, its cache answers.</summary>
internal readonly unsafe struct CachedSequence<T> where T : unmanaged
{
    private readonly CachedSegment<T>* _prefix;
    private readonly int _prefixes;
    private readonly CachedSegment<T> _own;

    /// <param name="key">Cached keys, the new tokens' included; [Length, K, E].</param>
    /// <param name="value">Cached values, the new tokens' included; [Length, K, V].</param>
    /// <param name="length">Tokens in this part of the cache.</param>
    /// <param name="firstQuery">Row of the first new token in the query and output rows.</param>
    /// <param name="queries">Number of new tokens, at least 1; they are the last of the cache, in order.</param>
    /// <param name="prefix">What stands before, and other sequences may share; null for nothing.</param>
    /// <param name="prefixes">Number of segments of the prefix.</param>
    public CachedSequence(HeadRows<T> key, HeadRows<T> value, int length, int firstQuery, int queries, CachedSegment<T>* prefix = null,
        int prefixes = 0)
    {
        (_own, _prefixes, FirstQuery, Queries) = (new(key, value, length), prefixes, firstQuery, queries);
        _prefix = prefix;
        Length = length;
        for (var p = 0; p < prefixes; p++)
            Length += prefix[p].Length;
    }

    /// <summary>Tokens in the cache, those of the prefix included.</summary>
    public int Length { get; }

    /// <summary>Tokens behind the prefix.</summary>
    public int OwnLength => _own.Length;

    public int FirstQuery { get; }

    public int Queries { get; }

    /// <summary>The segment that holds a place, and where in it.</summary>
    internal CachedSegment<T> At(int place, out int from)
    {
        for (var p = 0; p < _prefixes; place -= _prefix[p++].Length)
            if (place < _prefix[p].Length)
            {
                from = place;
                return _prefix[p];
            }
        from = place;
        return _own;
    }
}
