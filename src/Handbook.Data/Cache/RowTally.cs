using Handbook.Data.Mixing;
using Handbook.Data.Sources;

namespace Handbook.Data.Cache;

/// <summary>Counts what became of the rows.</summary>
internal sealed class RowTally
{
    private readonly Dictionary<string, BadRows> _bad = [];
    private long _cut, _joined, _blank;

    public long SourceRows { get; set; }

    public void Add(SourceRow row, RowProblem? problem, bool wasCut, bool isJoined)
    {
        _cut += wasCut ? 1 : 0;
        _joined += isJoined ? 1 : 0;
        if (problem is null)
            return;
        if (problem.Reason == PlainTextFile.BlankLine)
            _blank++;
        else
            _bad[problem.Reason] = _bad.TryGetValue(problem.Reason, out var bad)
                ? bad with { Count = bad.Count + 1 }
                : new(problem.Reason, 1, Describe(row, problem)) { IsRule = problem.IsRule, Fix = problem.Fix };
    }

    public TokenSummary Summary(TokenStoreWriter writer, string format) => new()
    {
        SourceRows = SourceRows,
        UsedRows = writer.Count,
        Tokens = writer.Tokens,
        LossTokens = writer.LossTokens,
        CutRows = _cut,
        JoinedRows = _joined,
        BlankLines = _blank,
        Format = format,
        Bad = [.. _bad.Values.OrderByDescending(bad => bad.Count).ThenBy(bad => bad.Reason, StringComparer.Ordinal)],
    };

    private static string Describe(SourceRow row, RowProblem problem) =>
        row.Place + (problem.Detail.Length > 0 ? $": {problem.Detail}" : "") + (problem.Excerpt.Length > 0 ? $": {problem.Excerpt}" : "");
}
