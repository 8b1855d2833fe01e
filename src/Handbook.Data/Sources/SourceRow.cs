using System.Text.Json;

namespace Handbook.Data.Sources;

/// <summary>One row as it stands in a file.</summary>
public readonly record struct SourceRow
{
    /// <summary>The row, an object with its columns in their order; undefined where the row could not be read.</summary>
    public JsonElement Value { get; init; }

    /// <summary>The file, as the user knows it.</summary>
    public required string File { get; init; }

    /// <summary>Number of the row in its file, from 1.</summary>
    public required long Row { get; init; }

    /// <summary>The line on which the row begins, from 1; 0 where the format has no lines.</summary>
    public long Line { get; init; }

    /// <summary>Why the row could not be read; null where it could.</summary>
    public RowProblem? Problem { get; init; }

    /// <summary>Where the row is, for messages: <c>file:line</c>, or <c>file: row n</c>.</summary>
    public string Place => Line > 0 ? $"{File}:{Line}" : $"{File}: row {Row}";
}

/// <summary>Why a row cannot be used.</summary>
/// <param name="Reason">The kind of problem, by which rows are counted, e.g. <c>broken JSON</c>.</param>
/// <param name="Detail">What exactly is wrong with this row; may be empty.</param>
/// <param name="Excerpt">The beginning of what stands there.</param>
public sealed record RowProblem(string Reason, string Detail, string Excerpt)
{
    /// <summary>Whether a rule of the recipe leaves the row out, e.g. its length; nothing is wrong with it then.</summary>
    public bool IsRule { get; init; }

    /// <summary>What to do about rows of this kind; null where the row alone tells.</summary>
    public string? Fix { get; init; }
}

/// <summary>Rows of one split of one data set, read one after the other; reading again begins anew.</summary>
public interface IRowSource
{
    /// <summary>The data set as the user knows it.</summary>
    string Name { get; }

    /// <summary>Full paths of the files that the rows come from, in their order.</summary>
    IReadOnlyList<string> Files { get; }

    /// <summary>What decides, beside the files' contents, which rows are read and how: split, encoding, text unit.</summary>
    string Identity { get; }

    /// <summary>Share of the files that the reading under way has read, 0 to 1; for progress only.</summary>
    double Share { get; }

    /// <summary>Whole lines for the log about files that are left out.</summary>
    IReadOnlyList<string> Remarks => [];

    /// <summary>Full path of the file that a row comes from.</summary>
    string PathOf(SourceRow row) => row.File;

    /// <summary>The rows from the first on, read as they are asked for; a row that cannot be used carries its
    /// <see cref="SourceRow.Problem"/>.</summary>
    /// <exception cref="Handbook.Base.InputException">A file cannot be read, or is broken beyond a single row.</exception>
    IEnumerable<SourceRow> Read();
}

/// <summary>The beginning of a text, on one line, for messages.</summary>
internal static class Excerpt
{
    private const int Longest = 80;

    public static string Of(string text)
    {
        var cut = text.Length > Longest ? text[..(char.IsHighSurrogate(text[Longest - 1]) ? Longest - 1 : Longest)] + "…" : text;
        return cut.ReplaceLineEndings("⏎").Replace('\t', ' ');
    }

    public static string Of(ReadOnlySpan<byte> utf8) => Of(System.Text.Encoding.UTF8.GetString(utf8[..Math.Min(utf8.Length, 4 * Longest)]));
}
