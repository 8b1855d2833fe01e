namespace Handbook.Text.Tokenizers.Models;

/// <summary>Words already encoded: the reason why a byte-level tokenizer is fast. Belongs to one thread at a time.</summary>
/// <remarks>Open addressing over the words' code points. It grows to a bound and is then emptied, so memory is limited and results
/// never depend on it.</remarks>
internal sealed class WordCache
{
    private const int MaxSlots = 1 << 18;
    private const int MaxPoints = 1 << 21;

    /// <summary>Longer words are not worth remembering.</summary>
    public const int MaxLength = 64;

    private Entry[] _entries = new Entry[1 << 10];
    private int[] _points = new int[1 << 12];
    private int[] _ids = new int[1 << 12];
    private int[] _lengths = new int[1 << 12];
    private int _pointCount;
    private int _idCount;
    private int _words;

    private struct Entry
    {
        public ulong Hash;          // 0: empty
        public int Word;
        public int Ids;
        public short WordLength;
        public short IdCount;
    }

    public static ulong Hash(ReadOnlySpan<int> word)
    {
        ulong hash = (uint)word.Length;
        foreach (var point in word)
            hash = (hash ^ (uint)point) * 0x9E3779B97F4A7C15 + (hash >> 29);
        hash ^= hash >> 32;
        return hash | 1;
    }

    public bool TryGet(ReadOnlySpan<int> word, ulong hash, TokenSink sink)
    {
        var slot = Slot(hash);
        while (true)
        {
            ref var entry = ref _entries[slot];
            if (entry.Hash == 0)
                return false;
            if (entry.Hash == hash && entry.WordLength == word.Length && word.SequenceEqual(_points.AsSpan(entry.Word, entry.WordLength)))
            {
                sink.Add(_ids.AsSpan(entry.Ids, entry.IdCount), _lengths.AsSpan(entry.Ids, entry.IdCount));
                return true;
            }
            slot = (slot + 1) & (_entries.Length - 1);
        }
    }

    public void Add(ReadOnlySpan<int> word, ulong hash, ReadOnlySpan<int> ids, ReadOnlySpan<int> lengths)
    {
        if (_words * 2 >= _entries.Length && _entries.Length < MaxSlots)
            Grow();
        else if (_words * 2 >= MaxSlots || _pointCount + word.Length > MaxPoints)
        {
            Array.Clear(_entries);
            _words = _pointCount = _idCount = 0;
        }
        _entries[Free(hash)] = new()
        {
            Hash = hash,
            Word = _pointCount,
            Ids = _idCount,
            WordLength = (short)word.Length,
            IdCount = (short)ids.Length
        };
        Append(ref _points, ref _pointCount, word);
        var count = _idCount;
        Append(ref _ids, ref _idCount, ids);
        Append(ref _lengths, ref count, lengths);
        _words++;
    }

    private int Slot(ulong hash) => (int)(hash >> 8) & (_entries.Length - 1);

    private int Free(ulong hash)
    {
        var slot = Slot(hash);
        while (_entries[slot].Hash != 0)
            slot = (slot + 1) & (_entries.Length - 1);
        return slot;
    }

    private void Grow()
    {
        var old = _entries;
        _entries = new Entry[old.Length * 4];
        foreach (var entry in old)
            if (entry.Hash != 0)
                _entries[Free(entry.Hash)] = entry;
    }

    private static void Append(ref int[] to, ref int count, ReadOnlySpan<int> values)
    {
        if (count + values.Length > to.Length)
            Array.Resize(ref to, Math.Max(to.Length * 2, count + values.Length));
        values.CopyTo(to.AsSpan(count));
        count += values.Length;
    }
}
