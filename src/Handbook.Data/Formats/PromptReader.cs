using System.Text.Json;
using Handbook.Data.Sources;

namespace Handbook.Data.Formats;

/// <summary>What a row asks.</summary>
/// <param name="Text">The prompt as a text; null where it is a conversation.</param>
/// <param name="Messages">Its turns up to the answer, a JSON list; null where it is a text.</param>
/// <param name="Columns">The row's columns that it was made of.</param>
internal sealed record RowPrompt(string? Text, JsonElement? Messages, params IReadOnlyList<string> Columns);

/// <summary>Tells what a row asks from the columns it has. For rows that are asked and not trained on, which need
/// not all have one layout.</summary>
/// <param name="mapping">Names of columns by ours; null where they have ours.</param>
internal sealed class PromptReader(IReadOnlyDictionary<string, string>? mapping = null)
{
    /// <summary>The columns with prompts, in the order they are looked for.</summary>
    public const string Columns = "prompt, messages, conversations, chosen, instruction, question, text";

    /// <summary>What the row asks; null where it has none of <see cref="Columns"/>.</summary>
    /// <exception cref="UnusableRowException">The column holds something else than a prompt.</exception>
    public RowPrompt? Read(JsonElement row)
    {
        if (Column(row, "prompt") is { } prompt)
            return prompt.ValueKind == JsonValueKind.String && !ChatTurns.AreTurns(prompt) ? Plain("prompt", prompt)
                : Chat("prompt", prompt);
        foreach (var name in (string[])["messages", "conversations", "chosen"])
            if (Column(row, name) is { ValueKind: not JsonValueKind.String } turns)
                return Chat(name, turns);
        if (Column(row, "chosen") is { } chosen && Column(row, "rejected") is { } rejected)
            return new(CommonStart(Text(chosen), Text(rejected)), null, NameOf("chosen"), NameOf("rejected"));
        if (Column(row, "instruction") is { } instruction)
            return Column(row, "input") is { ValueKind: JsonValueKind.String } input && input.GetString() is { Length: > 0 } more
                ? new($"{Text(instruction)}\n{more}", null, NameOf("instruction"), NameOf("input"))
                : Plain("instruction", instruction);
        foreach (var name in (string[])["question", "text"])
            if (Column(row, name) is { } text)
                return Plain(name, text);
        return null;
    }

    /// <summary>The value of one of our columns; null where it is absent or null.</summary>
    public JsonElement? Column(JsonElement row, string name) =>
        row.TryGetProperty(NameOf(name), out var value) && value.ValueKind is not JsonValueKind.Null ? value : null;

    private string NameOf(string name) => mapping?.GetValueOrDefault(name) ?? name;

    private RowPrompt Plain(string name, JsonElement value) => new(Text(value), null, NameOf(name));

    private RowPrompt Chat(string name, JsonElement value) =>
        TurnOpening.UpToAnswer(new ChatTurns(rules: true).Add(value).ToJson().EnumerateArray()) is { Count: > 0 } turns
            ? new(null, JsonLists.Of(turns), NameOf(name))
            : throw new UnusableRowException("nobody but the assistant says anything", "");

    private static string Text(JsonElement value) => value.ValueKind == JsonValueKind.String ? value.GetString()!
        : throw new UnusableRowException("wrong type", $"the prompt is {JsonOptions.Name(value.ValueKind)}");

    private static string CommonStart(string chosen, string rejected)
    {
        var common = chosen.AsSpan().CommonPrefixLength(rejected);
        while (common > 0 && chosen[common - 1] is not (' ' or '\n'))      // not within a word
            common--;
        return common > 0 ? chosen[..common].TrimEnd(' ')
            : throw new UnusableRowException("no prompt", "chosen and rejected begin differently");
    }
}
