using Handbook.Data;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Text.Tokenizers;

namespace Handbook.Cli;

/// <summary>Writes what <c>handbook inspect</c> found.</summary>
/// <param name="coloured">Whether the output shows colours; what carries loss is green there, and stands in brackets elsewhere.</param>
internal sealed class InspectReport(TextWriter output, bool coloured)
{
    /// <param name="sources">What became of each source.</param>
    /// <param name="remarks">Lines about how rows are read.</param>
    public void Sources(IEnumerable<SourceReport> sources, IEnumerable<string> remarks)
    {
        foreach (var source in sources)
        {
            var summary = source.Summary;
            var share = summary.Tokens == 0 ? 0 : (double)summary.LossTokens / summary.Tokens;
            var rows = summary.UsedRows > summary.SourceRows ? $"{summary.UsedRows:N0} rows from {summary.SourceRows:N0}"
                : $"{summary.UsedRows:N0} of {summary.SourceRows:N0} rows";
            output.WriteLine($"{source.Title}: layout {summary.Format}, {rows}, {summary.Tokens:N0} tokens"
                + (summary.HasTargets ? $", {share:P1} with loss" : "")
                + (summary.CutRows > 0 ? $", {summary.CutRows:N0} rows cut" : "")
                    + (summary.BlankLines > 0 ? $", {summary.BlankLines:N0} blank lines left out" : ""));
            if (summary.JoinedNote() is { } joined)
                output.WriteLine(Paint($"  note: {joined}", 33));
            foreach (var bad in summary.Bad)
                output.WriteLine(Paint($"  {(bad.IsRule ? "left out" : "unusable")}: {bad.Count:N0} × {bad.Reason}, "
                    + $"e.g. {Printable(bad.Example)}", 33));
            foreach (var noted in summary.Noted)
                output.WriteLine(Paint($"  note: {Printable(noted.Line)}", 33));
        }
        foreach (var remark in remarks)
            output.WriteLine(Paint(Printable(remark), 33));
    }

    public void Lengths(LengthStatistics lengths)
    {
        output.WriteLine($"{lengths.Count:N0} training rows; tokens a row: shortest {lengths.Shortest:N0}, median {lengths.Median:N0}, "
            + $"mean {lengths.Mean:N1}, 95 % at most {lengths.Percentile95:N0}, longest {lengths.Longest:N0}");
        var most = lengths.Bars.Select(bar => bar.Rows).DefaultIfEmpty(1).Max();
        foreach (var (from, to, count) in lengths.Bars)
            output.WriteLine($"  {from,7:N0} – {to,-7:N0} {new string('█', (int)Math.Ceiling(40.0 * count / most)),-40} {count:N0}");
    }

    /// <param name="longest">Most tokens to show.</param>
    public void Row(TokenRow row, int number, Tokenizer tokenizer, int longest)
    {
        var segments = row.Segments.Count > 1 ? $" in {row.Segments.Count} segments" : "";
        var margin = row.Margin != 0 ? $", margin {row.Margin:g}" : "";
        output.WriteLine();
        output.WriteLine($"── row {number + 1}: {row.TokenCount:N0} "
            + $"tokens{segments}{margin}; {(coloured ? Paint("green", 32) : "[in brackets]")} carries loss ──");
        if (row.Segments[0].Role != SegmentRole.Row)
        {
            Tree(row, tokenizer, longest);
            return;
        }
        var part = 0;
        foreach (var run in RowText.Runs(row, tokenizer, longest))
        {
            if (run.Segment != part)
                output.Write(Paint("\n┄┄┄ segment ┄┄┄\n", 90));
            part = run.Segment;
            Write(run);
        }
        output.WriteLine(row.TokenCount > longest ? $"\n… {row.TokenCount - longest:N0} more tokens (--tokens shows more)" : "");
    }

    /// <summary>A prompt once, and the answers to it.</summary>
    private void Tree(TokenRow row, Tokenizer tokenizer, int longest)
    {
        var isPair = row.Segments.Any(part => part.Role == SegmentRole.Chosen)
            && row.Segments.Any(part => part.Role == SegmentRole.Rejected);
        foreach (var part in row.Segments)
        {
            output.WriteLine(Paint($"┄┄┄ {Name(part.Role, isPair)}: {part.Ids.Length:N0} tokens ┄┄┄", 90));
            // Each part is shown from its beginning, however long the parts before it are.
            foreach (var run in RowText.Runs(new() { Segments = [part] }, tokenizer, longest))
                Write(run);
            output.WriteLine(part.Ids.Length > longest ? $"\n… {part.Ids.Length - longest:N0} more tokens (--tokens shows more)" : "");
        }
    }

    private static string Name(SegmentRole role, bool isPair) => role switch
    {
        SegmentRole.Chosen => isPair ? "chosen" : "good answer (label true)",
        SegmentRole.Rejected => isPair ? "rejected" : "bad answer (label false)",
        _ => role.ToString().ToLowerInvariant(),
    };

    private void Write(RowRun run)
    {
        var text = Printable(run.Text);
        output.Write(coloured ? Paint(text, run.CarriesLoss ? 32 : 90) : run.CarriesLoss ? $"[{text}]" : text);
    }

    private string Paint(string text, int colour) => coloured ? $"\u001b[{colour}m{text}\u001b[0m" : text;

    /// <summary>The text without control characters: data must not steer the terminal.</summary>
    internal static string Printable(string text) =>
        text.AsSpan().IndexOfAnyInRange('\0', '\u001f') < 0 ? text
        : string.Concat(text.Select(c => c is < ' ' and not ('\n' or '\t') ? (char)('\u2400' + c) : c));
}
