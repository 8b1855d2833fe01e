namespace Handbook.Torch.Kernels;

/// <summary>A stretch of a cache: of each layer and key head the keys, [capacity, E], and behind them the values, [capacity, V].</summary>
/// <param name="Memory">[layers, K, capacity · (E + V)], contiguous.</param>
/// <param name="Capacity">Tokens that there is room for.</param>
/// <param name="Tokens">Tokens that are seen, new ones included.</param>
internal readonly record struct CacheBlock(Tensor Memory, int Capacity, int Tokens)
{
    /// <summary>The element of the memory where keys of a layer's first head begin.</summary>
    public long First(int layer, in AttentionShape shape) => (long)layer * shape.KeyHeads * HeadStride(shape);

    /// <summary>Elements from one head to the next.</summary>
    public long HeadStride(in AttentionShape shape) => (long)Capacity * (shape.HeadSize + shape.ValueSize);
}

/// <summary>The new tokens of several sequences, and the caches that they go into and attend over; made once for a step, used by all
/// layers.</summary>
/// <remarks>
/// For kernels of a GPU as numbers, sent there once:
/// <code>
/// table    [., 3]   address of a block's memory, capacity, tokens
/// rows     [N, 4]   place of a new token in its sequence, first entry of its list, entries, place in its own block
/// lists    [.]      numbers of blocks, the sequence's own last
/// </code>
/// </remarks>
internal sealed class CachePlan
{
    private readonly CacheBlock[][] _chains;
    private readonly int[] _first;

    /// <param name="chains">The blocks of each sequence, from its first token on; the last is its own, and gets its new tokens.</param>
    /// <param name="first">Row of each sequence's first new token, and behind the last; [S + 1].</param>
    /// <exception cref="ArgumentException">A sequence has no new token, or more than its own block holds.</exception>
    public CachePlan(CacheBlock[][] chains, int[] first)
    {
        (_chains, _first) = (chains, first);
        for (var s = 0; s < chains.Length; s++)
        {
            if (New(s) < 1 || New(s) > chains[s][^1].Tokens)
                throw new ArgumentException($"sequence {s} has {New(s)} new tokens and {chains[s][^1].Tokens} in its own cache; the new ones, "
                    + "at least 1, are part of the cache");
            Prefixes += chains[s].Length - 1;
        }
        var numbers = new Lazy<(long[] Table, int[] Rows, int[] Lists)>(Numbers);
        (_table, _rows, _lists) = (new(() => numbers.Value.Table), new(() => numbers.Value.Rows), new(() => numbers.Value.Lists));
    }

    private readonly Lazy<Mirrored<long>> _table;
    private readonly Lazy<Mirrored<int>> _rows, _lists;

    /// <summary>S.</summary>
    public int Count => _chains.Length;

    /// <summary>New tokens of all sequences.</summary>
    public int Tokens => _first[^1];

    /// <summary>Blocks before the own ones, each counted for every sequence.</summary>
    public int Prefixes { get; }

    public Mirrored<long> Table => _table.Value;

    public Mirrored<int> Rows => _rows.Value;

    public Mirrored<int> Lists => _lists.Value;

    /// <summary>Row of a sequence's first new token.</summary>
    public int First(int sequence) => _first[sequence];

    /// <summary>New tokens of a sequence.</summary>
    public int New(int sequence) => _first[sequence + 1] - _first[sequence];

    /// <summary>The blocks of a sequence, its own last.</summary>
    public ReadOnlySpan<CacheBlock> Chain(int sequence) => _chains[sequence];

    private unsafe (long[], int[], int[]) Numbers()
    {
        var (table, rows, lists) = (new List<long>(), new List<int>(), new List<int>());
        var known = new Dictionary<(nint, int), int>();
        for (var s = 0; s < Count; s++)
        {
            var (start, before) = (lists.Count, 0);
            foreach (var block in _chains[s])
            {
                before += block.Tokens;
                var key = ((nint)block.Memory.Data, block.Tokens);
                if (!known.TryGetValue(key, out var number))
                {
                    known.Add(key, number = known.Count);
                    table.AddRange([key.Item1, block.Capacity, block.Tokens]);
                }
                lists.Add(number);
            }
            for (var i = New(s); i > 0; i--)
                rows.AddRange([before - i, start, _chains[s].Length, _chains[s][^1].Tokens - i]);
        }
        return ([.. table], [.. rows], [.. lists]);
    }
}
