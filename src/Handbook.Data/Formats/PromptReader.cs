using System.Text.Json;
using Handbook.Text.Templates;

namespace Handbook.Data.Formats;

/// <summary>What a row asks.</summary>
/// <param name="Text">The prompt as a text; null where it is a conversation.</param>
/// <param name="Messages">Its turns up to the answer, a JSON list; null where it is a text.</param>
internal sealed record RowPrompt(string? Text, JsonElement? Messages)
{
    /// <summary>What the chat template is given beside the turns; null for nothing.</summary>
    public TemplateInputs? Inputs { get; init; }

    /// <summary>The row's columns that the prompt was made of.</summary>
    public IReadOnlyList<string> Columns { get; init; } = [];

    /// <summary>What of the row is not read, in the same words for every such row.</summary>
    public IReadOnlyList<string> Remarks { get; init; } = [];

    /// <summary>The prompt as an example without an answer.</summary>
    public Example ToExample() => Messages is { } turns
        ? new ChatAnswersExample(Inputs?.With(turns) ?? new() { Messages = turns }, null, null) { Remarks = Remarks }
        : new AnswersExample(Text!, null, null) { Remarks = Remarks };
}

/// <summary>Tells what a row asks from the columns that it has: rows that are asked need not all have one layout.</summary>
/// <param name="row">Finds columns by our names.</param>
/// <param name="rules">How turns are gathered.</param>
internal sealed class PromptReader(RowReader row, TurnRules rules)
{
    /// <summary>The columns with prompts, in the order in which they are looked for.</summary>
    public static IReadOnlyList<string> Columns { get; } =
        ["prompt", "messages", "conversations", "chosen", "instruction", "question", "text"];

    /// <summary>Columns that a prompt is made of together with one of <see cref="Columns"/>.</summary>
    public static IReadOnlyList<string> Beside { get; } = ["rejected", "input"];

    /// <summary>Columns with what stands before a prompt.</summary>
    private static readonly string[] s_before = ["system", "history"];

    /// <summary>What the row asks.</summary>
    /// <param name="system">What is said first in place of the column <c>system</c>; null reads that column.</param>
    /// <exception cref="UnusableRowException">The row holds no prompt.</exception>
    public RowPrompt Read(JsonElement json, string? system)
    {
        var (text, turns, columns) = Asked(json);
        if (text is not null && string.IsNullOrWhiteSpace(text))
            throw new UnusableRowException("empty prompt", "");
        var inputs = row.Inputs(json);
        if (turns is null && system is null && !row.NeedsTurns(json))
            return new(text, null) { Inputs = inputs, Columns = columns };
        var asked = turns ?? JsonLists.Of([TurnOpening.Turn("user", text!)]);
        var opened = row.Opened(json, asked, out var remarks, system);
        if (TurnWeight.Remark(opened.EnumerateArray()) is { } unread)
            remarks = [.. remarks, unread];
        return new(null, opened)
        {
            Inputs = inputs,
            Columns = [.. columns, .. s_before.Where(name => row.Column(json, name) is not null).Select(row.NameOf)],
            Remarks = remarks,
        };
    }

    private (string? Text, JsonElement? Turns, IReadOnlyList<string> Columns) Asked(JsonElement json)
    {
        if (row.Column(json, "prompt") is { } prompt)
            return prompt.ValueKind == JsonValueKind.String && !ChatTurns.AreTurns(prompt) ? Plain("prompt", prompt)
                : Chat("prompt", prompt);
        foreach (var name in (string[])["messages", "conversations", "chosen"])
            if (row.Column(json, name) is { } turns && (turns.ValueKind != JsonValueKind.String || ChatTurns.AreTurns(turns)))
                return Chat(name, turns);
        if (row.Column(json, "chosen") is { } chosen && row.Column(json, "rejected") is { } rejected)
            return (CommonStart(Text("chosen", chosen), Text("rejected", rejected)), null, [row.NameOf("chosen"), row.NameOf("rejected")]);
        if (row.Column(json, "instruction") is not null)
            return (row.Instruction(json), null, row.Column(json, "input") is { ValueKind: JsonValueKind.String } input
                && input.GetString() is { Length: > 0 } ? [row.NameOf("instruction"), row.NameOf("input")] : [row.NameOf("instruction")]);
        foreach (var name in (string[])["question", "text"])
            if (row.Column(json, name) is { } text)
                return Plain(name, text);
        throw new UnusableRowException("no prompt",
            $"the row has {string.Join(", ", json.EnumerateObject().Select(column => column.Name))}")
        { Fix = $"give rows one of the columns {string.Join(", ", Columns)}, or name theirs with column_mapping: {{prompt: …}}" };
    }

    private (string?, JsonElement?, IReadOnlyList<string>) Plain(string name, JsonElement value) =>
        (Text(name, value), null, [row.NameOf(name)]);

    private (string?, JsonElement?, IReadOnlyList<string>) Chat(string name, JsonElement value) =>
        TurnOpening.UpToAnswer(new ChatTurns(rules).Add(value).ToJson().EnumerateArray()) is { Count: > 0 } turns
            ? (null, JsonLists.Of(turns), [row.NameOf(name)])
            : throw new UnusableRowException("no prompt", "the conversation has no turn but the assistant's");

    private string Text(string name, JsonElement value) => value.ValueKind == JsonValueKind.String ? value.GetString()!
        : throw row.WrongType(name, value);

    private static string CommonStart(string chosen, string rejected)
    {
        var common = chosen.AsSpan().CommonPrefixLength(rejected);
        while (common > 0 && chosen[common - 1] is not (' ' or '\n'))      // not within a word
            common--;
        return common > 0 ? chosen[..common].TrimEnd(' ')
            : throw new UnusableRowException("no prompt", "chosen and rejected begin differently");
    }
}
