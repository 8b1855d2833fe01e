using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models.Generation;
using Handbook.Text.Templates;

namespace Handbook.Training.Sampling;

/// <summary>Prompts from a data file: one per line of a text, one per row of a table.</summary>
public static class PromptFile
{
    private static readonly string[] Columns = ["prompt", "messages", "question", "instruction", "text"];

    /// <param name="path">Any data file; of a table the first of the columns prompt, messages, question, instruction, text is used.</param>
    /// <param name="expect">The column with the right answers; null for none.</param>
    public static IReadOnlyList<Prompt> Read(string path, string? expect = null)
    {
        if (!File.Exists(path))
            throw new InputException($"there is no file {path}", fix: "name a .jsonl with a column \"prompt\", or a .txt with one prompt a line");
        var prompts = new List<Prompt>();
        foreach (var row in DataFile.Named(path, path).Read(new DatasetSpec { Id = path }, "train"))
        {
            if (row.Problem is { } problem)
            {
                if (problem.Reason == PlainTextFile.BlankLine)
                    continue;
                throw new InputException($"{row.Place}: {problem.Reason}{(problem.Detail.Length > 0 ? $": {problem.Detail}" : "")}", fix: "correct the row, or remove it");
            }
            prompts.Add(Of(row, expect));
        }
        return prompts.Count > 0 ? prompts : throw new InputException($"{path}: holds no prompt", fix: "write one prompt a line");
    }

    private static Prompt Of(SourceRow row, string? expect)
    {
        var column = Columns.FirstOrDefault(name => row.Value.TryGetProperty(name, out var value) && value.ValueKind is JsonValueKind.String or JsonValueKind.Array)
            ?? throw new InputException($"{row.Place}: has none of the columns {string.Join(", ", Columns)}; it has {string.Join(", ", row.Value.EnumerateObject().Select(p => p.Name))}",
                fix: "call the column with the prompts \"prompt\"");
        var prompt = new Prompt { Place = row.Place, Expected = expect is null ? null : Expected(row, expect), Row = Others(row.Value, column), Inputs = Inputs(row) };
        var content = row.Value.GetProperty(column);
        return content.ValueKind == JsonValueKind.String
            ? prompt with { Text = content.GetString() }
            : prompt with { Messages = UpToAnswer(content, row.Place) };
    }

    private static TemplateInputs? Inputs(SourceRow row)
    {
        try
        {
            return TemplateColumns.Read(name => row.Value.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null, RowReader.PadsWithNulls(row.File));
        }
        catch (UnusableRowException problem)
        {
            throw new InputException($"{row.Place}: {problem.Detail}", "the chat template reads it beside the messages", "give a list of tools or documents, an object of chat_template_kwargs, or remove the column");
        }
    }

    private static JsonElement Others(JsonElement row, string column) =>
        JsonSerializer.SerializeToElement(row.EnumerateObject().Where(other => other.Name != column).ToDictionary(other => other.Name, other => other.Value));

    private static string Expected(SourceRow row, string column) =>
        row.Value.TryGetProperty(column, out var value) && value.ValueKind is JsonValueKind.String or JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False
            ? value.ToString().Trim()
            : throw new InputException($"{row.Place}: --expect names the column {column}, but the row has {string.Join(", ", row.Value.EnumerateObject().Select(p => p.Name))}",
                fix: "name the column that holds the right answers");

    // What the assistant says last is what the model is asked for.
    private static JsonElement UpToAnswer(JsonElement messages, string place)
    {
        var turns = messages.EnumerateArray().ToList();
        foreach (var turn in turns)
            if (turn.ValueKind != JsonValueKind.Object || !turn.TryGetProperty("role", out var role) || role.ValueKind != JsonValueKind.String)
                throw new InputException($"{place}: a message is not an object with role and content: {turn.GetRawText()}");
        while (turns.Count > 0 && turns[^1].GetProperty("role").ValueEquals("assistant"))
            turns.RemoveAt(turns.Count - 1);
        return turns.Count > 0 ? JsonSerializer.SerializeToElement(turns) : throw new InputException($"{place}: nobody but the assistant says anything");
    }
}
