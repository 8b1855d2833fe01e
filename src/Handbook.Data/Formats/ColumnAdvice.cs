using System.Text.Json;

namespace Handbook.Data.Formats;

/// <summary>What a column seems to hold, from its first value.</summary>
internal enum ColumnShape
{
    Text,
    /// <summary>A list of turns: objects with <c>role</c> and <c>content</c>, or <c>from</c> and <c>value</c>.</summary>
    Turns,
    Other,
}

/// <summary>Guesses what columns of unknown names hold, for the cure in a message; where nothing tells, it says what to find out.</summary>
internal static class ColumnAdvice
{
    private static readonly string[] s_questions = ["prompt", "question", "query", "instruction", "problem", "user", "human", "request",
        "input", "source", "task"];
    private static readonly string[] s_answers = ["completion", "answer", "response", "output", "reply", "assistant", "solution",
        "target", "chosen", "gpt", "bot"];
    private static readonly string[] s_texts = ["text", "content", "document", "body", "article", "story", "passage", "raw", "markdown"];

    public static ColumnShape ShapeOf(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => ColumnShape.Text,
        JsonValueKind.Array when value.GetArrayLength() > 0 && value[0] is { ValueKind: JsonValueKind.Object } turn
            && (turn.TryGetProperty("role", out _) && turn.TryGetProperty("content", out _) || turn.TryGetProperty("from", out _)
                && turn.TryGetProperty("value", out _)) => ColumnShape.Turns,
        _ => ColumnShape.Other,
    };

    /// <summary>How rows with these columns can be fine-tuned on.</summary>
    public static string ForFineTuning(IReadOnlyDictionary<string, ColumnShape> columns)
    {
        if (columns.Keys.FirstOrDefault(name => IsAnswer(name, "chosen")) is { } chosen
            && columns.Keys.Any(name => IsAnswer(name, "rejected")))
            return $"these are preferences: train on both answers with handbook dpo, orpo, cpo or reward, or on the better ones alone "
                + $"with {Better(columns, chosen)}";
        if (columns.FirstOrDefault(column => column.Value == ColumnShape.Turns && !IsAnswer(column.Key, "rejected")).Key is { } turns)
            return $"column_mapping: {{messages: {turns}}}";
        var texts = columns.Where(column => column.Value == ColumnShape.Text && !IsAnswer(column.Key, "rejected"))
            .Select(column => column.Key).ToArray();
        if (Named(texts, s_questions) is { } question && Named([.. texts.Where(name => name != question)], s_answers) is { } answer)
            return $"column_mapping: {{prompt: {question}, completion: {answer}}}";
        if (columns.Count == 1 && texts is ["prompt" or "instruction" or "question"])
            return $"add a column with the answers, completion; or train on {texts[0]} alone as plain text: column_mapping: {{text: {texts[0]}}}";
        if (columns.Count == 1 && texts.Length == 1 || Named(texts, s_texts) is not null)
            return $"column_mapping: {{text: {Named(texts, s_texts) ?? texts[0]}}}";
        return "say which columns hold what: column_mapping: {prompt: …, completion: …} for questions with answers, {messages: …} for "
            + "conversations, {text: …} for plain text";
    }

    /// <summary>The column that most likely holds a prompt; null without any column.</summary>
    public static string? Question(IReadOnlyDictionary<string, ColumnShape> columns) =>
        Named([.. columns.Keys], s_questions) ?? columns.FirstOrDefault(column => column.Value != ColumnShape.Other).Key
            ?? columns.Keys.FirstOrDefault();

    // hh-rlhf and its like keep a whole dialogue in one text
    private static string Better(IReadOnlyDictionary<string, ColumnShape> columns, string chosen) =>
        columns[chosen] == ColumnShape.Turns ? $"column_mapping: {{messages: {chosen}}}"
        : Named([.. columns.Where(column => column.Value == ColumnShape.Text && column.Key != chosen).Select(column => column.Key)],
            s_questions) is { } prompt
            ? $"column_mapping: {{prompt: {prompt}, completion: {chosen}}}"
            : $"column_mapping: {{text: {chosen}}}";

    /// <summary>The first column that has one of the words in its name, in the order of the words.</summary>
    private static string? Named(IReadOnlyList<string> columns, string[] words) =>
        words.Select(word => columns.FirstOrDefault(name => Words(name).Contains(word))).FirstOrDefault(name => name is not null);

    private static bool IsAnswer(string name, string word) => Words(name).Contains(word);

    private static string[] Words(string name) =>
        [.. name.ToLowerInvariant().Split('_', '-', ' ', '.').Select(word => word.Length > 3 ? word.TrimEnd('s') : word)];
}
