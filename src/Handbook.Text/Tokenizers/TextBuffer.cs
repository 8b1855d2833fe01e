using System.Buffers;

namespace Handbook.Text.Tokenizers;

/// <summary>Text on its way through the pipeline: code points, and for each the range of original code points it came from.</summary>
/// <remarks>Code points instead of UTF-16, because every rule of a tokenizer and every offset is defined on code points.
/// Without <see cref="Tracked"/> only the points are kept, which is all that ids need.</remarks>
internal sealed class TextBuffer
{
    public int[] Points = new int[256];
    public int[] Starts = [];
    public int[] Ends = [];
    public int Count;

    /// <summary>Where the piece begins in the original; characters inserted before everything else point here.</summary>
    public int Origin;

    private int _cursor;

    /// <summary>Whether <see cref="Starts"/> and <see cref="Ends"/> are kept.</summary>
    public bool Tracked { get; private set; }

    public ReadOnlySpan<int> Text => Points.AsSpan(0, Count);

    public void Clear(bool tracked)
    {
        Count = 0;
        _cursor = 0;
        Origin = 0;
        Tracked = tracked;
        if (tracked && Starts.Length < Points.Length)
            Grow(Points.Length);
    }

    /// <summary>Empties the buffer to receive a changed form of <paramref name="from"/>.</summary>
    public void BeginFrom(TextBuffer from)
    {
        Clear(from.Tracked);
        Origin = from.Origin;
        Reserve(from.Count + 16);
    }

    public void Reserve(int capacity)
    {
        if (capacity > Points.Length || (Tracked && capacity > Starts.Length))
            Grow(capacity);
    }

    /// <summary>Fills the buffer with the code points of a string; lone surrogates become U+FFFD, as in UTF-8.</summary>
    public void Load(ReadOnlySpan<char> text, bool tracked)
    {
        Clear(tracked);
        Reserve(text.Length);
        var points = Points;
        var count = 0;
        for (var i = 0; i < text.Length; i++)
        {
            int point = text[i];
            if ((point & 0xF800) == 0xD800)
            {
                if (point < 0xDC00 && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
                    point = char.ConvertToUtf32((char)point, text[++i]);
                else
                    point = 0xFFFD;
            }
            points[count++] = point;
        }
        Count = count;
        if (tracked)
            for (var i = 0; i < count; i++)
            {
                Starts[i] = i;
                Ends[i] = i + 1;
            }
    }

    /// <summary>Appends a range of another buffer with its alignment.</summary>
    public void Append(TextBuffer from, int start, int end)
    {
        Reserve(Count + end - start);
        from.Points.AsSpan(start, end - start).CopyTo(Points.AsSpan(Count));
        if (Tracked)
        {
            from.Starts.AsSpan(start, end - start).CopyTo(Starts.AsSpan(Count));
            from.Ends.AsSpan(start, end - start).CopyTo(Ends.AsSpan(Count));
        }
        Count += end - start;
    }

    /// <summary>Appends one point aligned like point <paramref name="index"/> of another buffer (its origin below 0).</summary>
    public void AppendAligned(int point, TextBuffer from, int index)
    {
        if (Count == Points.Length || (Tracked && Count == Starts.Length))
            Grow(Count + 1);
        Points[Count] = point;
        if (Tracked)
        {
            Starts[Count] = index < 0 ? from.Origin : from.Starts[index];
            Ends[Count] = index < 0 ? from.Origin : from.Ends[index];
        }
        Count++;
    }

    /// <summary>Appends the next point of a changed text and keeps the place in the text it came from.</summary>
    /// <param name="change">0 replaces one point of <paramref name="from"/>; +1 is an insertion, aligned like the point before; −n replaces
    /// one point and removes n more.</param>
    public void Emit(TextBuffer from, int point, int change)
    {
        if (change > 0)
        {
            AppendAligned(point, from, _cursor - 1);
            return;
        }
        AppendAligned(point, from, Math.Min(_cursor, from.Count - 1));
        _cursor += 1 - change;
    }

    /// <summary>Leaves out points of the text that <see cref="Emit"/> walks over.</summary>
    public void Skip(int points) => _cursor += points;

    private void Grow(int capacity)
    {
        var size = (int)Math.Min(Array.MaxLength, Math.Max((long)Points.Length * 2, capacity));
        if (Points.Length < capacity)
            Array.Resize(ref Points, size);
        if (Tracked && Starts.Length < Points.Length)
        {
            Array.Resize(ref Starts, Points.Length);
            Array.Resize(ref Ends, Points.Length);
        }
    }

    public override string ToString() => CodePoints.ToText(Text);
}
