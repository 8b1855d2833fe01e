using System.Globalization;
using System.Text.RegularExpressions;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>A split as recipes name it: <c>train</c>, <c>train[:1%]</c>, <c>test[100:200]</c>,
/// <c>train[:30%](pct1_dropremainder)</c>.</summary>
/// <remarks>The rules are those of the Python library, down to the row: a percent sign at either bound counts for both.</remarks>
/// <param name="Split">The split's name.</param>
/// <param name="Start">First row, or first percent; null from the beginning. Negative counts from the end.</param>
/// <param name="End">Row or percent after the last; null to the end.</param>
/// <param name="IsPercent">Whether the bounds are percents.</param>
internal sealed partial record SplitSlice(string Split, long? Start, long? End, bool IsPercent)
{
    /// <summary>Whether each percent has the same number of rows, and what is left over is dropped.</summary>
    public bool DropsRemainder { get; init; }

    /// <summary>Whether all rows are meant.</summary>
    public bool IsWhole => Start is null && End is null;

    /// <summary>The slices that are joined with <c>+</c>, as in <c>train+test[:10%]</c>.</summary>
    public static IReadOnlyList<SplitSlice> ParseAll(string text) => [.. text.Split('+').Select(part => Parse(part.Trim()))];

    /// <summary>One slice.</summary>
    public static SplitSlice Parse(string text)
    {
        if (!text.AsSpan().ContainsAny("[]()"))
            return new(text, null, null, false);
        if (Slice().Match(text) is not { Success: true } match || !TryBound(match.Groups["start"], out var start)
            || !TryBound(match.Groups["end"], out var end))
            throw NotUnderstood(text, null);
        var isPercent = match.Groups["percent"].Success;
        var rounding = match.Groups["rounding"] is { Success: true, Value: var named } ? named : null;
        if (rounding is not (null or "closest" or "pct1_dropremainder"))
            throw NotUnderstood(text, $"the rounding \"{rounding}\" is not known; there are closest and pct1_dropremainder");
        if (rounding is not null && !isPercent)
            throw NotUnderstood(text, "only percents are rounded");
        if (isPercent && (start is < -100 or > 100 || end is < -100 or > 100))
            throw NotUnderstood(text, "a percent is from -100 to 100");
        return new(match.Groups["split"].Value, start, end, isPercent) { DropsRemainder = rounding == "pct1_dropremainder" };
    }

    /// <summary>The rows meant among <paramref name="count"/>.</summary>
    public (long Start, long End) Resolve(long count)
    {
        var start = Place(Start ?? 0, count);
        var end = End is { } bound ? Place(bound, count) : count;
        return (start, Math.Max(start, end));
    }

    /// <summary>Whether both name rows in common, however many rows there are.</summary>
    /// <remarks>Where that depends on the number of rows, as with <c>train[:1000]</c> and <c>train[-1000:]</c>, the answer is no.</remarks>
    public bool Overlaps(SplitSlice other)
    {
        if (!SplitNames.AreOne(Split, other.Split))
            return false;
        for (var count = 100L; count <= 10_000_000_000; count *= 10)
        {
            var ((start, end), (otherStart, otherEnd)) = (Resolve(count), other.Resolve(count));
            // Too few rows for one of the slices tell nothing.
            if (end > start && otherEnd > otherStart && (start >= otherEnd || otherStart >= end))
                return false;
        }
        return true;
    }

    // The product is whole before it is divided: 70 × 45 / 100 is 31.5, and 0.7 × 45 is a little less. Halves go to the
    // even row, as in Python's round.
    private long Place(long bound, long count)
    {
        if (IsPercent && DropsRemainder && count < 100)
            throw new InputException($"{Split}: pct1_dropremainder needs at least 100 rows, but the split has {count}",
                "each percent would have no row", $"write {Split}[:50%] without it, or name rows: {Split}[:10]");
        var place = !IsPercent ? bound : DropsRemainder ? bound * (count / 100) : (long)Math.Round(bound * count / 100.0);
        return Math.Clamp(place < 0 ? count + place : place, 0, count);
    }

    private static bool TryBound(Group group, out long? bound)
    {
        bound = null;
        if (!group.Success)
            return true;
        if (!long.TryParse(group.Value.Replace("_", "", StringComparison.Ordinal), NumberStyles.AllowLeadingSign,
            CultureInfo.InvariantCulture, out var value))
            return false;
        bound = value;
        return true;
    }

    private static InputException NotUnderstood(string text, string? why)
    {
        var name = text[..Math.Max(0, text.AsSpan().IndexOfAny("[]()"))];
        return new($"split \"{text}\" is not understood", why, $"write {name}[:1%], {name}[100:200] or {name}[-50:]") { Key = "split" };
    }

    [GeneratedRegex(@"^(?<split>[^\[\]()]+)\[\s*(?:(?<start>-?[\d_]+)(?<percent>%)?)?\s*:\s*(?:(?<end>-?[\d_]+)(?<percent>%)?)?\s*\](?:\((?<rounding>[^)]*)\))?$")]
    private static partial Regex Slice();
}
