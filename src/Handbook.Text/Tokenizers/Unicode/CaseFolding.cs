namespace Handbook.Text.Tokenizers.Unicode;

/// <summary>Letters that differ only in case.</summary>
internal static class CaseFolding
{
    private static readonly Lazy<Dictionary<int, int[]>> Orbits = new(Build);

    /// <summary>The code points that fold to the same as this one, itself included; empty where there are no others.</summary>
    public static ReadOnlySpan<int> Variants(int point) => Orbits.Value.GetValueOrDefault(point);

    private static Dictionary<int, int[]> Build()
    {
        var orbits = new Dictionary<int, int[]>();
        foreach (var group in UnicodeTables.Folds.GroupBy(pair => pair.Value, pair => pair.Key))
        {
            int[] orbit = [group.Key, .. group];
            foreach (var point in orbit)
                orbits[point] = orbit;
        }
        return orbits;
    }
}
