using Handbook.Data.Mixing;
using Handbook.Data.Sources;

namespace Handbook.Data.Cache;

/// <summary>Counts what became of the rows.</summary>
internal sealed class RowTally
{
    private readonly Dictionary<string, BadRows> _bad = [];
    private readonly Dictionary<string, NotedRows> _noted = [];
    private long _cut, _joined, _blank;

    public long SourceRows { get; set; }

    /// <param name="row">A row of the source.</param>
    /// <param name="given">What it gave.</param>
    /// <param name="problem">Why it, or a part of it, gave nothing.</param>
    /// <param name="wasCut">Whether tokens were left out because it is too long.</param>
    public void Add(SourceRow row, IReadOnlyList<TokenRow> given, RowProblem? problem, bool wasCut)
    {
        _cut += wasCut && given.Count > 0 ? 1 : 0;
        _joined += given.Any(tokens => tokens.IsJoined) ? 1 : 0;
        NotedRows.Add(_noted, given.SelectMany(tokens => tokens.Remarks), row.Place);
        if (problem is null)
            return;
        if (problem.Reason == PlainTextFile.BlankLine)
            _blank++;
        else
            _bad[problem.Reason] = _bad.TryGetValue(problem.Reason, out var bad)
                ? bad with { Count = bad.Count + 1 }
                : new(problem.Reason, 1, Describe(row, problem)) { IsRule = problem.IsRule, Fix = problem.Fix };
    }

    public TokenSummary Summary(TokenStoreWriter writer, string format) =>
        Summary(format) with { UsedRows = writer.Count, Tokens = writer.Tokens, LossTokens = writer.LossTokens };

    /// <summary>The counts alone, where nothing was written.</summary>
    public TokenSummary Summary(string format) => new()
    {
        SourceRows = SourceRows,
        CutRows = _cut,
        JoinedRows = _joined,
        BlankLines = _blank,
        Format = format,
        Bad = [.. _bad.Values.OrderByDescending(bad => bad.Count).ThenBy(bad => bad.Reason, StringComparer.Ordinal)],
        Noted = [.. _noted.Values.OrderByDescending(noted => noted.Count).ThenBy(noted => noted.Remark, StringComparer.Ordinal)],
    };

    private static string Describe(SourceRow row, RowProblem problem) =>
        row.Place + (problem.Detail.Length > 0 ? $": {problem.Detail}" : "") + (problem.Excerpt.Length > 0 ? $": {problem.Excerpt}" : "");
}
