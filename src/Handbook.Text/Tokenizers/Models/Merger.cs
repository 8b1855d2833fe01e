namespace Handbook.Text.Tokenizers.Models;

/// <summary>The symbols of one word and the merging of their pairs, lowest rank first, leftmost first among equals.</summary>
/// <remarks>Short words search their pairs again after each merge, which is fastest for them; long ones use a heap, so that time stays
/// n·log n for any text.</remarks>
internal sealed class Merger
{
    private const int Short = 24;
    private const int Dead = -1;

    public int[] Ids = new int[64];

    /// <summary>UTF-8 bytes that each symbol covers.</summary>
    public int[] Lengths = new int[64];

    public int Count;

    private (int Rank, int Id)[] _pairs = new (int, int)[64];
    private int[] _next = [];
    private int[] _previous = [];
    private readonly PriorityQueue<(int Index, int Id), long> _queue = new();

    public void Clear() => Count = 0;

    public void Add(int id, int byteLength)
    {
        if (Count == Ids.Length)
        {
            Array.Resize(ref Ids, Count * 2);
            Array.Resize(ref Lengths, Count * 2);
        }
        Ids[Count] = id;
        Lengths[Count++] = byteLength;
    }

    public void Merge(MergeTable merges)
    {
        if (Count <= Short)
            MergeShort(merges);
        else
            MergeLong(merges);
    }

    private void MergeShort(MergeTable merges)
    {
        var count = Count;
        var ids = Ids;
        var lengths = Lengths;
        var pairs = _pairs;
        for (var i = 0; i + 1 < count; i++)
            pairs[i] = merges.Find(ids[i], ids[i + 1]);
        while (count > 1)
        {
            var best = 0;
            for (var i = 1; i + 1 < count; i++)
                if (pairs[i].Rank < pairs[best].Rank)
                    best = i;
            if (pairs[best].Rank == int.MaxValue)
                break;
            ids[best] = pairs[best].Id;
            lengths[best] += lengths[best + 1];
            var rest = count - best - 2;
            ids.AsSpan(best + 2, rest).CopyTo(ids.AsSpan(best + 1));
            lengths.AsSpan(best + 2, rest).CopyTo(lengths.AsSpan(best + 1));
            if (rest > 0)
                pairs.AsSpan(best + 2, rest - 1).CopyTo(pairs.AsSpan(best + 1));
            count--;
            if (best > 0)
                pairs[best - 1] = merges.Find(ids[best - 1], ids[best]);
            if (best + 1 < count)
                pairs[best] = merges.Find(ids[best], ids[best + 1]);
        }
        Count = count;
    }

    private void MergeLong(MergeTable merges)
    {
        var count = Count;
        if (_next.Length < count)
        {
            _next = new int[Ids.Length];
            _previous = new int[Ids.Length];
        }
        var (ids, lengths, next, previous) = (Ids, Lengths, _next, _previous);
        for (var i = 0; i < count; i++)
        {
            previous[i] = i - 1;
            next[i] = i + 1 < count ? i + 1 : -1;
            if (i + 1 < count)
                Push(merges, i, i + 1);
        }
        while (_queue.TryDequeue(out var top, out _))
        {
            var left = top.Index;
            if (ids[left] == Dead || next[left] < 0)
                continue;
            var right = next[left];
            // An entry may be older than its symbols: it counts only while the pair still gives the same token.
            if (merges.Find(ids[left], ids[right]).Id != top.Id)
                continue;
            ids[left] = top.Id;
            lengths[left] += lengths[right];
            ids[right] = Dead;
            next[left] = next[right];
            if (next[left] >= 0)
                previous[next[left]] = left;
            if (previous[left] >= 0)
                Push(merges, previous[left], left);
            if (next[left] >= 0)
                Push(merges, left, next[left]);
        }
        var kept = 0;
        for (var i = 0; i >= 0 && i < count; i = next[i])
        {
            ids[kept] = ids[i];
            lengths[kept++] = lengths[i];
            if (next[i] < 0)
                break;
        }
        Count = kept;
    }

    private void Push(MergeTable merges, int left, int right)
    {
        var (rank, id) = merges.Find(Ids[left], Ids[right]);
        if (rank != int.MaxValue)
            _queue.Enqueue((left, id), ((long)rank << 32) | (uint)left);
    }
}
