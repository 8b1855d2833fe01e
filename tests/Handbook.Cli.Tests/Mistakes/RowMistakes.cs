namespace Handbook.Cli.Tests.Mistakes;

/// <summary>Rows that have other columns, other roles, or nothing in them.</summary>
internal static class RowMistakes
{
    public static IReadOnlyList<Mistake> All { get; } =
    [
        Rows("columns of another kind", """{"question": "a", "reply": "b"}""",
            """{"prompt": "a", "completion": "b"}""") with { IsQuick = true },
        Rows("a conversation that is a text", """{"messages": "hello"}"""),
        Rows("a conversation without turns", """{"messages": []}"""),
        Rows("a conversation that is null", """{"messages": null}"""),
        Rows("a turn that is a text", """{"messages": ["hello", "hi"]}"""),
        Rows("a turn without a role", """{"messages": [{"content": "number?"}, {"role": "assistant", "content": "it is"}]}"""),
        Rows("a turn without content", """{"messages": [{"role": "user"}, {"role": "assistant", "content": "it is"}]}"""),
        Rows("content that is a number", """{"messages": [{"role": "user", "content": 5}, {"role": "assistant", "content": "it is"}]}"""),
        Rows("turns of ShareGPT with a speaker that nobody knows",
            """{"conversations": [{"from": "human", "value": "number?"}, {"speaker": "gpt", "value": "it is"}]}"""),
        Rows("roles that are misspelt",
            """{"messages": [{"role": "usr", "content": "number?"}, {"role": "asistant", "content": "it is"}]}""",
            keys: "assistant_only_loss: true"),
        Rows("a conversation without an answer", """{"messages": [{"role": "user", "content": "number?"}]}""",
            keys: "assistant_only_loss: true"),
        Rows("answers that are empty", """{"prompt": "number?", "completion": ""}""", """{"prompt": "number?", "completion": " it is"}"""),
        Rows("a prompt without its answer", """{"prompt": "number?"}""", """{"prompt": "number?", "completion": " it is"}"""),
        Rows("prompts that are longer than a row may be",
            """{"prompt": "number number number number number number number number", "completion": " it is"}""",
            """{"prompt": "it", "completion": " is"}""", "max_length: 4"),
        Rows("tokens that the model does not have", """{"input_ids": [5, 6, 100000], "labels": [5, 6, 100000]}""",
            """{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}"""),
        Rows("labels that are fewer than tokens", """{"input_ids": [5, 6, 7], "labels": [5, 6]}""",
            """{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}"""),
        new("a mapping to a column that is not there", run => run.Add("column_mapping: {messages: chat}"),
            run => run.Remove("column_mapping")),
        new("a text column that is not there", run => run.Add("text_column: story"), run => run.Remove("text_column")) { Method = "cpt" },
        new("texts of pretraining that are null", run => run.Write("rows.jsonl", "{\"text\": null}\n{\"text\": \"\"}\n"),
            run => run.Write("rows.jsonl", "{\"text\": \"number one\"}\n{\"text\": \"it is\"}\n")) { Method = "cpt" },
        new("conversations for pretraining", run => run.Write("rows.jsonl",
            Repeated("""{"messages": [{"role": "user", "content": "number?"}, {"role": "assistant", "content": "it is"}]}""")),
            run => run.Write("rows.jsonl", "{\"text\": \"number one\"}\n{\"text\": \"it is\"}\n")) { Method = "cpt" },
        new("more bad rows than allowed", run =>
        {
            run.Write("rows.jsonl",
                Repeated("""{"messages": [{"role": "user", "content": "number?"}, {"role": "assistant", "content": "it is"}]}""")
                + "{\"messages\": []}\nnot a row\n");
            run.Add("max_bad_rows: 0");
        }, run => run.Set("max_bad_rows", "max_bad_rows: 0.5")),
    ];

    /// <summary>Rows that are all alike.</summary>
    /// <param name="right">Those that are good; null has conversations.</param>
    /// <param name="keys">Keys beside them, which stay; of those that the recipe has this is another value.</param>
    private static Mistake Rows(string title, string wrong, string? right = null, string? keys = null) => new(title, run =>
    {
        run.Write("rows.jsonl", Repeated(wrong));
        if (keys?.StartsWith("max_length", StringComparison.Ordinal) == true)
            run.Set("max_length", keys);
        else if (keys is not null)
            run.Add(keys);
    }, run => run.Write("rows.jsonl", Repeated(right
        ?? """{"messages": [{"role": "user", "content": "number?"}, {"role": "assistant", "content": "it is"}]}""")));

    private static string Repeated(string row) => string.Concat(Enumerable.Repeat(row + "\n", 4));
}
