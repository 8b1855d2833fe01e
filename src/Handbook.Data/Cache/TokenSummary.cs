using Handbook.Data.Formats;
using Handbook.Data.Mixing;

namespace Handbook.Data.Cache;

/// <summary>Unusable rows of one kind.</summary>
/// <param name="Reason">The kind, e.g. <c>broken JSON</c>.</param>
/// <param name="Count">How many rows.</param>
/// <param name="Example">One of them: where it is, what is wrong and how it begins.</param>
internal sealed record BadRows(string Reason, long Count, string Example)
{
    /// <summary>Whether a rule of the recipe leaves them out, and nothing is wrong with them.</summary>
    public bool IsRule { get; init; }

    /// <summary>What to do about them; null where the rows alone tell.</summary>
    public string? Fix { get; init; }
}

/// <summary>Used rows of which a user should know how they were read.</summary>
/// <param name="Remark">What there is to know.</param>
/// <param name="Count">How many rows.</param>
/// <param name="Example">Where one of them is.</param>
internal sealed record NotedRows(string Remark, long Count, string Example)
{
    /// <summary>A line for the log.</summary>
    public string Line => $"{Count:N0} {(Count == 1 ? "row" : "rows")}: {Remark}, e.g. {Example}";

    /// <summary>Counts what there is to know of one more row.</summary>
    /// <param name="noted">The counts so far, by remark.</param>
    /// <param name="remarks">What there is to know of the row.</param>
    /// <param name="place">Where it is.</param>
    public static void Add(IDictionary<string, NotedRows> noted, IEnumerable<string> remarks, string place)
    {
        foreach (var remark in remarks.Distinct())
            noted[remark] = noted.TryGetValue(remark, out var others) ? others with { Count = others.Count + 1 } : new(remark, 1, place);
    }
}

/// <summary>What became of the rows of a source.</summary>
internal sealed record TokenSummary
{
    /// <summary>Rows in the source, usable or not.</summary>
    public long SourceRows { get; init; }

    /// <summary>Rows that training sees; some sources give several for one of theirs.</summary>
    public long UsedRows { get; init; }

    /// <summary>Tokens of all used rows.</summary>
    public long Tokens { get; init; }

    /// <summary>Tokens that carry loss.</summary>
    public long LossTokens { get; init; }

    /// <summary>Used rows that were longer than allowed and were cut.</summary>
    public long CutRows { get; init; }

    /// <summary>Rows of the source in which one token holds the end of a prompt and the beginning of its answer.</summary>
    public long JoinedRows { get; init; }

    /// <summary>What is said of <see cref="JoinedRows"/>; null for nothing.</summary>
    public string? JoinedNote() => JoinedRows == 0 ? null
        : $"{JoinedRows:N0} {(JoinedRows == 1 ? "row has" : "rows have")} a token that holds the end of the prompt and the beginning of "
            + "its answer: "
            + "the prompt's own tokens are counted, and the answer is what follows as many; a blank between the two, at the answer's "
                + "side, avoids it";

    /// <summary>Blank lines of plain text, which are no rows to be counted as unusable.</summary>
    public long BlankLines { get; init; }

    /// <summary>The layout that the columns told, e.g. <c>messages</c>.</summary>
    public string Format { get; init; } = "";

    /// <summary>Whether rows hold something to learn; prompts hold none, and their answers are sampled.</summary>
    public bool HasTargets => Format != nameof(RowLayout.Prompt);

    /// <summary>Rows that were not used, by reason, the most frequent first.</summary>
    public IReadOnlyList<BadRows> Bad { get; init; } = [];

    /// <summary>Used rows with something to know about them, by what it is, the most frequent first.</summary>
    public IReadOnlyList<NotedRows> Noted { get; init; } = [];

    /// <summary>Rows that something is wrong with.</summary>
    public long BadCount => Bad.Where(bad => !bad.IsRule).Sum(bad => bad.Count);

    /// <summary>Share of the rows asked for that cannot be used.</summary>
    public double BadShare => BadCount == 0 ? 0 : (double)BadCount / (BadCount + UsedRows);
}

/// <summary>How far tokenising rows is, or comparing them.</summary>
/// <param name="Name">The data set.</param>
/// <param name="Rows">Rows read so far.</param>
/// <param name="Tokens">Tokens written so far.</param>
/// <param name="Share">Share of the source's bytes that has been read, 0 to 1.</param>
/// <param name="Done">Whether this is the last word.</param>
internal readonly record struct TokenizeProgress(string Name, long Rows, long Tokens, double Share, bool Done)
{
    /// <summary>What happens to the rows.</summary>
    public string What { get; init; } = "tokenizing";
}
