using System.Text;

namespace Handbook.Text.Tokenizers.Unicode;

/// <summary>Letters that differ only in case.</summary>
internal static class CaseFolding
{
    private static readonly Lazy<Dictionary<int, int[]>> Orbits = new(Build);

    /// <summary>All code points that fold to the same as this one, itself included.</summary>
    public static ReadOnlySpan<int> Variants(int point) => Orbits.Value.TryGetValue(point, out var orbit) ? orbit : new int[] { point };

    /// <summary>Lower case of one code point with the full mapping, without the rules that look at neighbours.</summary>
    public static int Lower(int point) => Rune.ToLowerInvariant(new Rune(point)).Value;

    private static int Fold(int point) => Rune.ToLowerInvariant(Rune.ToUpperInvariant(new Rune(point))).Value;

    private static Dictionary<int, int[]> Build()
    {
        var groups = new Dictionary<int, List<int>>();
        for (var point = 0; point < 0x20000; point++)
        {
            if (point is >= 0xD800 and <= 0xDFFF)
                continue;
            var fold = Fold(point);
            if (fold == point && Rune.ToUpperInvariant(new Rune(point)).Value == point)
                continue;
            if (!groups.TryGetValue(fold, out var group))
                groups.Add(fold, group = [fold]);
            if (!group.Contains(point))
                group.Add(point);
        }
        var orbits = new Dictionary<int, int[]>();
        foreach (var group in groups.Values.Where(group => group.Count > 1))
            foreach (var point in group)
                orbits[point] = [.. group];
        return orbits;
    }
}
