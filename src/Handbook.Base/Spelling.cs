namespace Handbook.Base;

/// <summary>Finds the word somebody meant.</summary>
internal static class Spelling
{
    /// <summary>The known word nearest to a mistyped one, the first among equals; null when none is close: a third of the letters may be
    /// wrong. Numbers are not mistyped words.</summary>
    public static string? Nearest(string word, IEnumerable<string> known)
    {
        if (!word.Any(char.IsLetter))
            return null;
        var limit = Math.Max(1, (word.Length + 1) / 3);
        string? best = null;
        foreach (var candidate in known)
        {
            var distance = Distance(word, candidate, limit);
            if (distance <= limit)
                (best, limit) = (candidate, distance - 1);
            if (limit < 0)
                break;
        }
        return best;
    }

    /// <summary>Insertions, deletions, replacements and swaps of neighbours; anything above the limit is limit + 1.</summary>
    internal static int Distance(string a, string b, int limit)
    {
        if (Math.Abs(a.Length - b.Length) > limit)
            return limit + 1;
        int[] beforeLast = new int[b.Length + 1], last = [.. Enumerable.Range(0, b.Length + 1)], row = new int[b.Length + 1];
        for (var i = 1; i <= a.Length; i++)
        {
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var replace = last[j - 1] + (char.ToLowerInvariant(a[i - 1]) == char.ToLowerInvariant(b[j - 1]) ? 0 : 1);
                row[j] = Math.Min(replace, Math.Min(last[j], row[j - 1]) + 1);
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                    row[j] = Math.Min(row[j], beforeLast[j - 2] + 1);
            }
            (beforeLast, last, row) = (last, row, beforeLast);
        }
        return last[b.Length];
    }
}
