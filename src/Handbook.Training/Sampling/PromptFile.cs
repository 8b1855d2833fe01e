using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models.Generation;
using Handbook.Text.Templates;

namespace Handbook.Training.Sampling;

/// <summary>Prompts from a data file: one per line of a text, one per row of a table.</summary>
internal static class PromptFile
{
    private static readonly PromptReader s_reader = new();

    /// <param name="path">Any data file; of a table the first of the columns prompt, messages, conversations, chosen, instruction,
    /// question, text is used.</param>
    /// <param name="expect">The column with the right answers; null for none.</param>
    public static IReadOnlyList<Prompt> Read(string path, string? expect = null)
    {
        if (!File.Exists(path))
            throw new InputException($"there is no file {path}",
                fix: "name a .jsonl with a column \"prompt\", or a .txt with one prompt a line");
        var prompts = new List<Prompt>();
        foreach (var row in DataFile.Named(path, path).Read(new DatasetSpec { Id = path }, "train"))
        {
            if (row.Problem is { } problem)
            {
                if (problem.Reason == PlainTextFile.BlankLine)
                    continue;
                throw Unusable(row, problem.Reason, problem.Detail);
            }
            prompts.Add(Of(row, expect));
        }
        return prompts.Count > 0 ? prompts : throw new InputException($"{path}: holds no prompt", fix: "write one prompt a line");
    }

    private static Prompt Of(SourceRow row, string? expect)
    {
        try
        {
            var asked = s_reader.Read(row.Value)
                ?? throw new InputException($"{row.Place}: has none of the columns {PromptReader.Columns}; it has {Names(row)}",
                    fix: "call the column with the prompts \"prompt\"");
            return new()
            {
                Text = asked.Text,
                Messages = asked.Messages,
                Place = row.Place,
                Expected = expect is null ? null : Expected(row, expect),
                Row = Others(row.Value, asked.Columns),
                Inputs = Inputs(row),
            };
        }
        catch (UnusableRowException unusable)
        {
            throw Unusable(row, unusable.Reason, unusable.Detail);
        }
    }

    private static TemplateInputs? Inputs(SourceRow row)
    {
        try
        {
            return TemplateColumns.Read(name => s_reader.Column(row.Value, name), RowReader.PadsWithNulls(row.File));
        }
        catch (UnusableRowException problem)
        {
            throw new InputException($"{row.Place}: {problem.Detail}", "the chat template reads it beside the messages",
                "give a list of tools or documents, an object of chat_template_kwargs, or remove the column");
        }
    }

    private static InputException Unusable(SourceRow row, string reason, string detail) =>
        new($"{row.Place}: {reason}{(detail.Length > 0 ? $": {detail}" : "")}", fix: "correct the row, or remove it");

    private static string Names(SourceRow row) => string.Join(", ", row.Value.EnumerateObject().Select(column => column.Name));

    private static JsonElement Others(JsonElement row, IReadOnlyList<string> read) => JsonSerializer.SerializeToElement(
        row.EnumerateObject().Where(other => !read.Contains(other.Name)).ToDictionary(other => other.Name, other => other.Value));

    private static string Expected(SourceRow row, string column) =>
        row.Value.TryGetProperty(column, out var value)
            && value.ValueKind is JsonValueKind.String or JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False
            ? value.ToString().Trim()
            : throw new InputException($"{row.Place}: --expect names the column {column}, but the row has {Names(row)}",
                fix: "name the column that holds the right answers");
}
