namespace Handbook.Torch.Kernels;

/// <summary>Keys and values of tokens that follow one another, as a cache holds them.</summary>
/// <param name="key">[Length, K, E].</param>
/// <param name="value">[Length, K, E], rows as far apart as the keys.</param>
/// <param name="length">Number of tokens.</param>
public readonly struct CachedSegment<T>(TokenRows<T> key, TokenRows<T> value, int length) where T : unmanaged
{
    public TokenRows<T> Key { get; } = key;

    public TokenRows<T> Value { get; } = value;

    public int Length { get; } = length;
}

/// <summary>One sequence of a generation step: its newest tokens ask, its cache answers.</summary>
public readonly unsafe struct CachedSequence<T> where T : unmanaged
{
    private readonly CachedSegment<T>* _prefix;
    private readonly int _prefixes;
    private readonly CachedSegment<T> _own;

    /// <param name="key">Cached keys, the new tokens' included; [Length, K, E].</param>
    /// <param name="value">Cached values, the new tokens' included; [Length, K, E].</param>
    /// <param name="length">Tokens in this part of the cache.</param>
    /// <param name="firstQuery">Row of the first new token in the query and output rows.</param>
    /// <param name="queries">Number of new tokens, at least 1; they are the last of the cache, in order.</param>
    /// <param name="prefix">What stands before, and other sequences may share; null for nothing.</param>
    /// <param name="prefixes">Number of segments of the prefix.</param>
    public CachedSequence(TokenRows<T> key, TokenRows<T> value, int length, int firstQuery, int queries, CachedSegment<T>* prefix = null, int prefixes = 0)
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
