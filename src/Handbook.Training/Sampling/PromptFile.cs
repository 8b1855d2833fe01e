using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models.Generation;

namespace Handbook.Training.Sampling;

/// <summary>The prompts of a data file or folder, of which every row must be one.</summary>
/// <param name="Prompts">The prompts, at least one.</param>
/// <param name="Files">Full paths of the files that they come from.</param>
/// <param name="Remarks">Whole lines for the log about what is left out.</param>
internal sealed record PromptFile(IReadOnlyList<Prompt> Prompts, IReadOnlyList<string> Files, IReadOnlyList<string> Remarks)
{
    private const string Cure = "name a .jsonl with a column \"prompt\", a .txt with one prompt a line, or a folder of data files";

    /// <summary>Reads all prompts.</summary>
    /// <param name="path">A data file, a folder of data, or the name of a data set.</param>
    /// <param name="expect">The column with the right answers; null for none.</param>
    /// <param name="split">The split to read.</param>
    /// <exception cref="InputException">A row cannot be asked, or has no right answer where one is expected.</exception>
    public static PromptFile Read(string path, string? expect = null, string split = "train")
    {
        var spec = new DatasetSpec { Id = path, Split = split };
        if (string.IsNullOrWhiteSpace(path) || DatasetPath.TryFind(spec, null) is null)
            throw new InputException($"there is no file or folder {path}", fix: Cure);
        var source = Dataset.Open(spec);
        var reader = Reader(source, spec);
        var (prompts, noted) = (new List<Prompt>(), new SortedDictionary<string, NotedRows>(StringComparer.Ordinal));
        foreach (var row in source.Read())
        {
            var problem = row.Problem;
            if (problem?.Reason == PlainTextFile.BlankLine)
                continue;
            if (problem is not null || reader.Prompt(row.Value, out problem) is not { } asked)
                throw new InputException($"{row.Place}: {problem!.Reason}{(problem.Detail.Length > 0 ? $": {problem.Detail}" : "")}",
                    fix: "correct the row, or remove it");
            prompts.Add(new()
            {
                Text = asked.Text,
                Messages = asked.Messages,
                Place = row.Place,
                Expected = expect is null ? null : Expected(row, expect),
                Row = Others(row.Value, asked.Columns),
                Inputs = asked.Inputs,
            });
            NotedRows.Add(noted, asked.Remarks, row.Place);
        }
        return prompts.Count > 0
            ? new(prompts, source.Files, [.. source.Remarks, .. noted.Values.Select(rows => $"note: {path}: {rows.Line}")])
            : throw new InputException($"{path}: holds no prompt", fix: Cure);
    }

    private static RowReader Reader(IRowSource source, DatasetSpec spec)
    {
        try
        {
            return RowReader.For(source, spec, RowUse.Prompts);
        }
        catch (InputException unknown) when (unknown.Fix?.StartsWith("column_mapping", StringComparison.Ordinal) == true)
        {
            // The fix of a recipe; here no key maps columns.
            throw new InputException(unknown.What, unknown.Why, "call the column with the prompts \"prompt\"", unknown);
        }
    }

    private static JsonElement Others(JsonElement row, IReadOnlyList<string> read) => JsonSerializer.SerializeToElement(
        row.EnumerateObject().Where(other => !read.Contains(other.Name)).ToDictionary(other => other.Name, other => other.Value));

    private static string Expected(SourceRow row, string column) =>
        row.Value.TryGetProperty(column, out var value)
            && value.ValueKind is JsonValueKind.String or JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False
            ? value.ToString().Trim()
            : throw new InputException($"{row.Place}: --expect names the column {column}, but the row has "
                + string.Join(", ", row.Value.EnumerateObject().Select(other => other.Name)),
                fix: "name the column that holds the right answers");
}
