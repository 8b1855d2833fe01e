namespace Handbook.Text.Tokenizers.Training;

/// <summary>Substrings that occur more than once in a list of words and are not always followed by the same: the inner nodes of the suffix
/// tree of all words.</summary>
/// <remarks>The end of a word is a character here: what always ends a word is no substring of its own, as in the Rust library.</remarks>
internal static class RepeatedSubstrings
{
    /// <summary>What stands between words, and in no piece.</summary>
    private const int End = 0;

    /// <param name="words">Each word once, as code points.</param>
    /// <param name="maxLength">Longer ones are left out.</param>
    /// <returns>Start in the joined text, length in code points, and how often it occurs; of at least two code points.</returns>
    public static (int[] Text, List<(int Start, int Length, int Count)> Found) Of(IReadOnlyList<int[]> words, int maxLength)
    {
        var text = new int[words.Sum(word => word.Length + 1)];
        var at = 0;
        foreach (var word in words)
        {
            word.CopyTo(text, at);
            at += word.Length + 1;              // the end stays 0
        }
        // Sorting by one character more than is asked for suffices: longer common beginnings are of no interest.
        var order = Enumerable.Range(0, text.Length).ToArray();
        Array.Sort(order, (a, b) => Rest(a).SequenceCompareTo(Rest(b)));
        var found = new List<(int, int, int)>();
        // Intervals of suffixes with a common beginning, the open ones on a stack: where they begin, and how long it is.
        var open = new Stack<(int First, int Length)>();
        for (var i = 0; i <= order.Length; i++)
        {
            var common = i == 0 || i == order.Length ? 0 : Rest(order[i - 1]).CommonPrefixLength(Rest(order[i]));
            var first = i - 1;
            while (open.TryPeek(out var top) && top.Length > common)
            {
                open.Pop();
                first = top.First;
                if (top.Length >= 2 && top.Length <= maxLength && !text.AsSpan(order[top.First], top.Length).Contains(End))
                    found.Add((order[top.First], top.Length, i - top.First));
            }
            if (common > 0 && (!open.TryPeek(out var below) || below.Length < common))
                open.Push((first, common));
        }
        return (text, found);

        ReadOnlySpan<int> Rest(int start) => text.AsSpan(start, Math.Min(maxLength + 1, text.Length - start));
    }
}
