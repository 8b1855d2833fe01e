namespace Handbook.Text.Tokenizers.Models;

/// <summary>Receives the tokens of a text: ids, and where wanted the range of bytes of the piece that each covers.</summary>
internal sealed class TokenSink
{
    public int[] Ids = new int[256];

    /// <summary>Ranges in UTF-8 bytes of the piece; kept only where <see cref="Tracked"/>.</summary>
    public (int Start, int End)[] Ranges = [];

    public int Count;

    /// <summary>End of the last token of the piece in bytes.</summary>
    private int _end;

    public bool Tracked { get; private set; }

    public void Clear(bool tracked)
    {
        Count = 0;
        Tracked = tracked;
        if (tracked && Ranges.Length < Ids.Length)
            Ranges = new (int, int)[Ids.Length];
    }

    public void BeginPiece() => _end = 0;

    public void Add(int id, int byteLength)
    {
        Reserve(1);
        if (Tracked)
            Ranges[Count] = (_end, _end + byteLength);
        _end += byteLength;
        Ids[Count++] = id;
    }

    /// <summary>Adds a token with its own range, which need not follow the one before.</summary>
    public void AddRange(int id, int start, int end)
    {
        _end = start;
        Add(id, end - start);
    }

    public void Add(ReadOnlySpan<int> ids, ReadOnlySpan<int> byteLengths)
    {
        Reserve(ids.Length);
        ids.CopyTo(Ids.AsSpan(Count));
        if (Tracked)
            for (var i = 0; i < ids.Length; i++)
            {
                Ranges[Count + i] = (_end, _end + byteLengths[i]);
                _end += byteLengths[i];
            }
        Count += ids.Length;
    }

    private void Reserve(int more)
    {
        if (Count + more <= Ids.Length)
            return;
        Array.Resize(ref Ids, Math.Max(Ids.Length * 2, Count + more));
        if (Tracked)
            Array.Resize(ref Ranges, Ids.Length);
    }
}
