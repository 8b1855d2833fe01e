using System.Runtime.InteropServices;

namespace Handbook.Text.Tokenizers;

/// <summary>What becomes of the delimiters of a split.</summary>
internal enum SplitBehavior
{
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

/// <summary>Something that divides text into matches and the parts between them.</summary>
internal interface IMatcher
{
    /// <summary>Appends ranges that cover the text in order, each marked as match or not; nothing for empty text.</summary>
    void FindAll(ReadOnlySpan<int> text, List<(int Start, int End, bool Match)> ranges);
}

/// <summary>Turns matches into pieces.</summary>
internal static class Splits
{
    public static void Apply(List<(int Start, int End, bool Match)> ranges, SplitBehavior behavior, bool invert,
        int shift, List<Piece> pieces)
    {
        var span = CollectionsMarshal.AsSpan(ranges);
        if (behavior == SplitBehavior.MergedWithNext)
        {
            MergeWithNext(span, invert, shift, pieces);
            return;
        }
        int start = 0, end = -1;             // the open piece; end < 0: none
        var previous = false;
        foreach (var range in span)
        {
            var match = range.Match != invert;
            var joins = behavior switch
            {
                SplitBehavior.Contiguous => match == previous,
                SplitBehavior.MergedWithPrevious => match && !previous,
                _ => false,
            };
            previous = match;
            if (behavior == SplitBehavior.Removed && match)
                continue;
            if (joins && end >= 0)
            {
                end = range.End;
                continue;
            }
            Add(pieces, shift, start, end);
            (start, end) = (range.Start, range.End);
        }
        Add(pieces, shift, start, end);
    }

    private static void MergeWithNext(ReadOnlySpan<(int Start, int End, bool Match)> ranges, bool invert, int shift, List<Piece> pieces)
    {
        // A match joins what follows it, except another match: decide from the right, then write from the left.
        var first = pieces.Count;
        int start = 0, end = -1;
        var previous = false;
        for (var i = ranges.Length - 1; i >= 0; i--)
        {
            var match = ranges[i].Match != invert;
            if (match && !previous && end >= 0)
                start = ranges[i].Start;
            else
            {
                Add(pieces, shift, start, end);
                (start, end) = (ranges[i].Start, ranges[i].End);
            }
            previous = match;
        }
        Add(pieces, shift, start, end);
        pieces.Reverse(first, pieces.Count - first);
    }

    private static void Add(List<Piece> pieces, int shift, int start, int end)
    {
        if (end > start)
            pieces.Add(new(start + shift, end + shift, -1));
    }
}
