namespace Handbook.Text.Templates;

/// <summary>Places in a text: indexes of code points, as the reference counts, and of UTF-16 units, as .NET does.</summary>
internal static class TextPlaces
{
    public static List<(int Start, int End)> ToUnits(string text, IReadOnlyList<(int Start, int End)> spans)
    {
        if (!PyText.HasPairs(text))
            return [.. spans];
        var index = new List<int>(text.Length + 1);
        for (var i = 0; i < text.Length; i += char.IsSurrogatePair(text, i) ? 2 : 1)
            index.Add(i);
        index.Add(text.Length);
        return [.. spans.Select(span => (index[span.Start], index[span.End]))];
    }

    /// <param name="spans">Spans in order.</param>
    public static List<(int Start, int End)> ToCodePoints(string text, IReadOnlyList<(int Start, int End)> spans)
    {
        if (!PyText.HasPairs(text))
            return [.. spans];
        int at = 0, points = 0;
        return [.. spans.Select(span => (To(span.Start), To(span.End)))];

        int To(int unit)
        {
            points += PyText.Length(text.AsSpan(at, unit - at));
            at = unit;
            return points;
        }
    }
}
