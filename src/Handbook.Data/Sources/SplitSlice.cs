using System.Globalization;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>A split as recipes name it: <c>train</c>, <c>train[:1%]</c>, <c>test[100:200]</c>.</summary>
/// <param name="Split">The split's name.</param>
/// <param name="Start">First row, or first percent; null from the beginning. Negative counts from the end.</param>
/// <param name="End">Row or percent after the last; null to the end.</param>
public sealed record SplitSlice(string Split, long? Start, long? End, bool StartIsPercent, bool EndIsPercent)
{
    /// <summary>Whether all rows are meant.</summary>
    public bool IsWhole => Start is null && End is null;

    public static SplitSlice Parse(string text)
    {
        var open = text.IndexOf('[', StringComparison.Ordinal);
        if (open < 0)
            return new(text, null, null, false, false);
        var colon = text.IndexOf(':', open);
        if (!text.EndsWith(']') || colon < 0
            || !TryBound(text[(open + 1)..colon], out var start, out var startIsPercent)
            || !TryBound(text[(colon + 1)..^1], out var end, out var endIsPercent))
            throw new InputException($"split \"{text}\" is not understood", fix: $"write {text[..open]}[:1%], {text[..open]}[100:200] or {text[..open]}[-50:]");
        return new(text[..open], start, end, startIsPercent, endIsPercent);
    }

    /// <summary>The rows meant among <paramref name="count"/>.</summary>
    public (long Start, long End) Resolve(long count)
    {
        var start = Place(Start ?? 0, StartIsPercent, count);
        var end = End is { } bound ? Place(bound, EndIsPercent, count) : count;
        return (start, Math.Max(start, end));
    }

    /// <summary>Whether both name rows in common, however many rows there are.</summary>
    /// <remarks>Where that depends on the number of rows, as with <c>train[:1000]</c> and <c>train[-1000:]</c>, the answer is no.</remarks>
    public bool Overlaps(SplitSlice other)
    {
        if (!SplitNames.AreOne(Split, other.Split))
            return false;
        for (var count = 10L; count <= 10_000_000_000; count *= 10)
        {
            var ((start, end), (otherStart, otherEnd)) = (Resolve(count), other.Resolve(count));
            // Too few rows for one of the slices tell nothing.
            if (end > start && otherEnd > otherStart && (start >= otherEnd || otherStart >= end))
                return false;
        }
        return true;
    }

    // Percents are rounded to the nearest row, halves to the even one, as Python's round.
    private static long Place(long bound, bool isPercent, long count)
    {
        var place = isPercent ? (long)Math.Round(bound / 100.0 * count) : bound;
        return Math.Clamp(place < 0 ? count + place : place, 0, count);
    }

    private static bool TryBound(string text, out long? bound, out bool isPercent)
    {
        text = text.Trim();
        isPercent = text.EndsWith('%');
        bound = null;
        if (text.Length == 0)
            return true;
        if (!long.TryParse(isPercent ? text[..^1] : text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value))
            return false;
        bound = value;
        return true;
    }
}
