using System.Text;
using System.Text.Json;
using Handbook.Data.Formats;
using Handbook.Text.Templates;

namespace Handbook.Data.Inspection;

/// <summary>What a row asks and answers, as texts.</summary>
/// <param name="Prompt">What comes before the answer; empty where rows are texts.</param>
/// <param name="Answer">What is learnt, or the better answer; null where the row has none.</param>
/// <param name="Worse">The worse answer; null where there is none.</param>
/// <param name="Turns">The turns, of a conversation.</param>
internal sealed record RowParts(string Prompt, string? Answer, string? Worse, IReadOnlyList<JsonElement> Turns)
{
    /// <summary>The parts of each example that a row gives.</summary>
    public static IEnumerable<RowParts> Of(Example example) => example switch
    {
        SeveralExamples several => several.Examples.SelectMany(Of),
        TextExample text => [new("", text.Text, null, [])],
        PromptExample pair => [new(pair.Prompt, pair.Completion, null, [])],
        AnswersExample answers => [new(answers.Prompt, answers.Chosen, answers.Rejected, [])],
        ChatExample chat => [Chat(Turned(chat.Conversation))],
        ChatPromptExample chat => [new(Said(Turned(chat.Prompt)), Said(chat.Completion), null, Turned(chat.Whole))],
        ChatAnswersExample chat => [new(Said(Turned(chat.Prompt)), chat.Chosen is { } good ? Said(good) : null,
            chat.Rejected is { } bad ? Said(bad) : null,
            (chat.Chosen ?? chat.Rejected) is { } answer ? Turned(chat.Prompt.With(answer)) : Turned(chat.Prompt))],
        _ => [],
    };

    private static RowParts Chat(JsonElement[] turns)
    {
        var last = Array.FindLastIndex(turns, turn => Role(turn) == "assistant");
        return last < 0 ? new(Said(turns), null, null, turns) : new(Said(turns[..last]), Said([turns[last]]), null, turns);
    }

    /// <summary>Who says a turn.</summary>
    public static string Role(JsonElement turn) =>
        turn.ValueKind == JsonValueKind.Object && turn.TryGetProperty("role", out var role) && role.ValueKind == JsonValueKind.String
            ? role.GetString()! : "nobody";

    private static JsonElement[] Turned(Conversation conversation) => [.. conversation.Messages.EnumerateArray()];

    private static string Said(JsonElement turns) => Said([.. turns.EnumerateArray()]);

    /// <summary>The texts of turns, one after the other, calls of tools included.</summary>
    private static string Said(JsonElement[] turns)
    {
        var text = new StringBuilder();
        foreach (var turn in turns)
            foreach (var part in Decontamination.RowTexts.Of(turn, field => field != "role"))
                text.Append(text.Length > 0 ? "\n" : "").Append(part.Text);
        return text.ToString();
    }
}
