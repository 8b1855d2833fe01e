using Handbook.Text.Tokenizers;

namespace Handbook.Data;

/// <summary>A run of tokens of a row that all carry loss, or all do not, as text.</summary>
/// <param name="Segment">Number of the row's part that they belong to.</param>
/// <param name="CarriesLoss">Whether they are to be predicted.</param>
/// <param name="Tokens">How many they are.</param>
internal readonly record struct RowRun(int Segment, string Text, bool CarriesLoss, int Tokens);

/// <summary>Turns a tokenised row back into text, as the model sees it.</summary>
internal static class RowText
{
    /// <summary>The row's runs, in order; a character of several tokens stands with the last of them.</summary>
    /// <param name="longest">Most tokens to show.</param>
    public static IReadOnlyList<RowRun> Runs(TokenRow row, Tokenizer tokenizer, int longest = int.MaxValue)
    {
        var runs = new List<RowRun>();
        for (var s = 0; s < row.Segments.Count && longest > 0; s++)
        {
            var decoder = tokenizer.CreateStreamDecoder(skipSpecialTokens: false);
            var ids = row.Segments[s].Ids.Span;
            var loss = row.Segments[s].Loss.Span;
            var shown = Math.Min(ids.Length, longest);
            for (var i = 0; i < shown; i++)
            {
                // The first token of a root has none before it, so nothing predicts it.
                var carries = loss[i] != 0 && (i > 0 || row.Segments[s].Parent >= 0);
                var text = decoder.Append(ids[i]) + (i == shown - 1 ? decoder.Flush() : "");
                if (runs.Count > 0 && runs[^1].Segment == s && runs[^1].CarriesLoss == carries)
                    runs[^1] = runs[^1] with { Text = runs[^1].Text + text, Tokens = runs[^1].Tokens + 1 };
                else
                    runs.Add(new(s, text, carries, 1));
            }
            longest -= shown;
        }
        return runs;
    }
}

/// <summary>Statistics of the lengths of rows.</summary>
/// <param name="Bars">For each range of lengths, its first and last length and the number of rows.</param>
internal sealed record LengthStatistics(int Count, int Shortest, double Mean, int Median, int Percentile95, int Longest,
    IReadOnlyList<(int From, int To, int Rows)> Bars)
{
    /// <summary>The statistics of all rows, in at most <paramref name="bars"/> ranges of equal width.</summary>
    public static LengthStatistics Of(ITokenRows rows, int bars = 10) => Of([.. Enumerable.Range(0, rows.Count).Select(rows.Length)], bars);

    /// <summary>The statistics of some lengths, which are sorted.</summary>
    public static LengthStatistics Of(int[] lengths, int bars = 10)
    {
        if (lengths.Length == 0)
            return new(0, 0, 0, 0, 0, 0, []);
        Array.Sort(lengths);
        var (shortest, longest) = (lengths[0], lengths[^1]);
        var width = Math.Max(1, (int)Math.Ceiling((longest - shortest + 1) / (double)bars));
        var counts = new int[((longest - shortest) / width) + 1];
        foreach (var length in lengths)
            counts[(length - shortest) / width]++;
        return new(lengths.Length, shortest, lengths.Average(), lengths[lengths.Length / 2],
            lengths[(int)Math.Ceiling(lengths.Length * 0.95) - 1], longest,
            [.. counts.Select((count, i) => (shortest + (i * width), Math.Min(longest, shortest + ((i + 1) * width) - 1), count))]);
    }
}
