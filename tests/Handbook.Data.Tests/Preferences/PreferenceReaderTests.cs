using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;

namespace Handbook.Data.Tests.Preferences;

public sealed class PreferenceReaderTests : IDisposable
{
    private const string Question = """{"role": "user", "content": "Q"}""";
    private const string Good = """{"role": "assistant", "content": "good"}""";
    private const string Bad = """{"role": "assistant", "content": "bad"}""";

    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData("""{"prompt": "P ", "chosen": "good", "rejected": "bad"}""", "P ", "good", "bad")]
    [InlineData("""{"chosen": "same start, good", "rejected": "same start, bad"}""", "same start,", " good", " bad")]
    [InlineData("""{"chosen": "yes", "rejected": "yes, sir"}""", "ye", "s", "s, sir")]
    [InlineData("""{"chosen": "", "rejected": "bad"}""", "", "", "bad")]
    [InlineData("""{"chosen": "A 😀", "rejected": "A 😁"}""", "A", " 😀", " 😁")]
    public void Pairs_of_texts_have_their_prompt_or_share_one(string row, string prompt, string chosen, string rejected) =>
        Assert.Equal(new AnswersExample(prompt, chosen, rejected), Read(row, RowUse.Preferences));

    [Fact]
    public void A_dialogue_in_one_text_is_split_where_the_answers_begin_to_differ()
    {
        var example =
            Assert.IsType<AnswersExample>(
            Read("""{"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: Go away"}""",
            RowUse.Preferences));
        Assert.Equal(("\n\nHuman: Hi\n\nAssistant:", " Hello!", " Go away"), (example.Prompt, example.Chosen, example.Rejected));
    }

    [Theory]
    [InlineData($$"""{"prompt": [{{Question}}], "chosen": [{{Good}}], "rejected": [{{Bad}}]}""")]
    [InlineData($$"""{"chosen": [{{Question}}, {{Good}}], "rejected": [{{Question}}, {{Bad}}]}""")]
    [InlineData($$"""{"prompt": "Q", "chosen": [{{Question}}, {{Good}}], "rejected": [{{Question}}, {{Bad}}], "messages": [{{Question}}, {{Good}}]}""")]
    [InlineData($$"""{"prompt": "Q", "chosen": [{{Good}}], "rejected": [{{Bad}}]}""")]
    [InlineData($$"""{"prompt": "Q", "chosen": {{Good}}, "rejected": {{Bad}}}""")]
    [InlineData($$"""{"prompt": [{{Question}}], "chosen": "good", "rejected": "bad"}""")]
    [InlineData($$"""{"prompt": [{{Question}}], "chosen": [{{Question}}, {{Good}}], "rejected": [{{Question}}, {{Bad}}]}""")]
    [InlineData($$"""{"chosen_messages": [{{Question}}, {{Good}}], "rejected_messages": [{{Question}}, {{Bad}}]}""")]
    [InlineData("""{"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "value": "good"}, "rejected": {"from": "gpt", "value": "bad"}}""")]
    [InlineData("""{"chosen": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "good"}], "rejected": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "bad"}]}""")]
    [InlineData("""{"instruction": "Q", "input": "", "chosen": "good", "rejected": "bad"}""")]
    [InlineData("""{"prompt": "[{\"role\": \"user\", \"content\": \"Q\"}]", "chosen": "good", "rejected": "bad"}""")]
    public void Pairs_of_turns_are_the_same_in_every_layout(string row)
    {
        var example = Assert.IsType<ChatAnswersExample>(Read(row, RowUse.Preferences));
        Assert.Equal(["user: Q"], Turns(example.Prompt.Messages));
        Assert.Equal(["assistant: good"], Turns(example.Chosen!.Value));
        Assert.Equal(["assistant: bad"], Turns(example.Rejected!.Value));
    }

    [Theory]
    [InlineData($$"""{"prompt": "x", "chosen": [{{Question}}, {{Good}}], "rejected": [{{Question}}, {{Bad}}]}""", "prompt")]
    [InlineData($$"""{"prompt": 7, "chosen": [{{Question}}, {{Good}}], "rejected": [{{Question}}, {{Bad}}]}""", "prompt")]
    [InlineData($$"""{"instruction": "x", "chosen": [{{Question}}, {{Good}}], "rejected": [{{Question}}, {{Bad}}]}""", "instruction")]
    [InlineData($$"""{"messages": [{"role": "user", "content": "x"}], "chosen": [{{Question}}, {{Good}}], "rejected": [{{Question}}, {{Bad}}]}""", "messages")]
    [InlineData($$"""{"prompt": "Q", "chosen": [{{Question}}, {{Good}}], "rejected": [{{Question}}, {{Bad}}]}""", null)]
    [InlineData($$"""{"messages": [{{Question}}, {{Good}}], "chosen": [{{Question}}, {{Good}}], "rejected": [{{Question}}, {{Bad}}]}""",
        null)]
    [InlineData($$"""{"prompt": "x", "chosen": [{{Good}}], "rejected": [{{Bad}}]}""", null)]
    public void A_prompt_that_conversations_leave_unread_is_told(string row, string? column)
    {
        string[] told = column is null ? [] : [$"chosen and rejected hold their own prompt, and the column {column}, which says something "
            + "else, is not read"];
        Assert.Equal(told, Read(row, RowUse.Preferences)!.Remarks);
    }

    [Fact]
    public void A_mapped_prompt_that_is_not_read_is_told_by_its_own_name()
    {
        var example = Read($$"""{"theirs": "x", "chosen": [{{Question}}, {{Good}}], "rejected": [{{Question}}, {{Bad}}]}""",
            RowUse.Preferences, new Dictionary<string, string> { ["prompt"] = "theirs" });
        Assert.Contains("the column theirs, which says something else, is not read", Assert.Single(example!.Remarks));
    }

    [Theory]
    [InlineData(RowUse.Preferences,
        """{"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "good", "weight": 0}], "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "bad"}]}""", "weight")]
    [InlineData(RowUse.Preferences,
        """{"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "good", "weight": 0.5}], "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "bad"}]}""", "weight")]
    [InlineData(RowUse.Unpaired,
        """{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "good", "train": false}], "label": true}""",
        "train")]
    [InlineData(RowUse.Prompts, """{"messages": [{"role": "user", "content": "Q", "loss_weight": 0}]}""", "loss_weight")]
    [InlineData(RowUse.Preferences,
        """{"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "good", "weight": 1}], "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "bad"}]}""", null)]
    public void A_weight_of_a_turn_that_answers_cannot_have_is_told(RowUse use, string row, string? field)
    {
        string[] told = field is null ? [] : [$"the field {field} of turns is not read: an answer is learnt as a whole"];
        Assert.Equal(told, Read(row, use)!.Remarks);
    }

    [Theory]
    [InlineData("""{"prompt": "P", "chosen": "a", "rejected": "b", "weight": 0.5}""", RowUse.Preferences, "weight")]
    [InlineData("""{"prompt": "P", "chosen": "a", "rejected": "b", "sample_weight": 0}""", RowUse.Preferences, "sample_weight")]
    [InlineData("""{"prompt": "P", "completion": "a", "label": true, "weight": 2}""", RowUse.Unpaired, "weight")]
    [InlineData("""{"prompt": "P", "completion": "a", "weight": 2}""", RowUse.FineTuning, "weight")]
    [InlineData("""{"prompt": "P", "chosen": "a", "rejected": "b", "weight": 1}""", RowUse.Preferences, null)]
    [InlineData("""{"prompt": "P", "chosen": "a", "rejected": "b", "weight": "heavy"}""", RowUse.Preferences, null)]
    public void A_weight_of_a_row_that_nothing_reads_is_counted(string row, RowUse use, string? column)
    {
        string[] told = column is null ? [] : [$"the column {column} is not read: every row counts as much as another"];
        Assert.Equal(told, Read(row, use).Remarks);
    }

    [Fact]
    public void A_column_that_is_mapped_is_no_unread_weight() =>
        Assert.Empty(Read("""{"prompt": "P", "chosen": "a", "rejected": "b", "weight": 0.5}""", RowUse.Preferences,
            new() { ["margin"] = "weight" }).Remarks);

    [Fact]
    public void Dialogues_that_part_early_share_only_what_they_begin_with()
    {
        const string row = """
            {"chosen": [{"role":"user","content":"1"},{"role":"assistant","content":"2"},{"role":"user","content":"3"},{"role":"assistant","content":"4"}],
             "rejected": [{"role":"user","content":"1"},{"role":"assistant","content":"two"},{"role":"user","content":"3"},{"role":"assistant","content":"5"}]}
            """;
        var example = Assert.IsType<ChatAnswersExample>(Read(row, RowUse.Preferences));
        Assert.Equal(["user: 1"], Turns(example.Prompt.Messages));
        Assert.Equal(["assistant: two", "user: 3", "assistant: 5"], Turns(example.Rejected!.Value));

        example = Assert.IsType<ChatAnswersExample>(Read(row, RowUse.Preferences, lastTurns: true));
        Assert.Equal(["user: 1", "assistant: 2", "user: 3"], Turns(example.Prompt.Messages));
        Assert.Equal(["assistant: 5"], Turns(example.Rejected!.Value));
    }

    [Fact]
    public void System_text_tools_and_margin_come_along()
    {
        var row = """{"system": "Be kind", "tools": "[{\"name\": \"f\"}]", "prompt": "Q", "chosen": "good", "rejected": "bad", "gap": 1.5}""";
        var example = Assert.IsType<ChatAnswersExample>(Read(row, RowUse.Preferences, mapping: new() { ["margin"] = "gap" }));
        Assert.Equal(["system: Be kind", "user: Q"], Turns(example.Prompt.Messages));
        Assert.Equal("f", example.Prompt.Tools!.Value[0].GetProperty("name").GetString());
        Assert.Equal(1.5, example.Margin);
    }

    [Theory]
    [InlineData("1", "a", "b")]
    [InlineData("2.0", "b", "a")]
    [InlineData("\"2\"", "b", "a")]
    public void A_mapped_preference_says_which_answer_is_better(string preference, string chosen, string rejected)
    {
        var mapping = new Dictionary<string, string>
        {
            ["prompt"] = "ask",
            ["chosen"] = "output_1",
            ["rejected"] = "output_2",
            ["preference"] = "who"
        };
        Assert.Equal(new AnswersExample("Q", chosen, rejected),
            Read($$"""{"ask": "Q", "output_1": "a", "output_2": "b", "who": {{preference}}}""", RowUse.Preferences, mapping));
    }

    [Theory]
    [InlineData("""{"a": 0, "b": 1, "c": 0}""", "b>a b>c")]
    [InlineData("""[{"text": "a", "score": 3.5}, {"text": "b", "score": "4"}]""", "b>a")]
    [InlineData("""[{"answer": "a", "rank": 2}, {"answer": "b", "rank": 1}, {"answer": "c", "rank": 3}]""", "b>a b>c")]
    [InlineData("""["a", "b", "c"]""", "a>b a>c")]
    public void A_mapped_list_of_answers_gives_the_best_with_each_that_is_worse(string answers, string pairs)
    {
        var several = Assert.IsType<SeveralExamples>(Read($$"""{"ask": "Q", "list": {{answers}}}""", RowUse.Preferences,
            new() { ["prompt"] = "ask", ["answers"] = "list" }));
        Assert.Equal(pairs, string.Join(' ', several.Examples.Cast<AnswersExample>().Select(pair => $"{pair.Chosen}>{pair.Rejected}")));
    }

    [Fact]
    public void A_mapped_list_of_right_and_wrong_answers_gives_each_by_itself()
    {
        var several = Assert.IsType<SeveralExamples>(Read("""{"ask": "Q", "list": {"a": 1, "b": 0}}""", RowUse.Unpaired,
            new() { ["prompt"] = "ask", ["answers"] = "list" }));
        Assert.Equal([new AnswersExample("Q", "a", null), new AnswersExample("Q", null, "b")], several.Examples);
    }

    [Theory]
    [InlineData("""{"prompt": "P", "completion": "c", "label": true}""", true)]
    [InlineData("""{"prompt": "P", "completion": "c", "label": 1}""", true)]
    [InlineData("""{"prompt": "P", "completion": "c", "label": "True"}""", true)]
    [InlineData("""{"prompt": "P", "completion": "c", "label": false}""", false)]
    [InlineData("""{"prompt": "P", "completion": "c", "label": 0.0}""", false)]
    [InlineData("""{"prompt": "P", "completion": "c", "label": "0"}""", false)]
    public void Single_answers_have_a_label_in_any_spelling(string row, bool isGood) =>
        Assert.Equal(new AnswersExample("P", isGood ? "c" : null, isGood ? null : "c"), Read(row, RowUse.Unpaired));

    [Theory]
    [InlineData($$"""{"prompt": [{{Question}}], "completion": [{{Good}}], "label": true}""")]
    [InlineData($$"""{"prompt": "Q", "completion": [{{Good}}], "label": true}""")]
    [InlineData($$"""{"messages": [{{Question}}, {{Good}}], "label": true}""")]
    [InlineData("""{"instruction": "Q", "output": "good", "label": true}""")]
    [InlineData("""{"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "good"}], "label": true}""")]
    public void Single_answers_are_the_last_turn(string row)
    {
        var example = Assert.IsType<ChatAnswersExample>(Read(row, RowUse.Unpaired));
        Assert.Equal(["user: Q"], Turns(example.Prompt.Messages));
        Assert.Equal(["assistant: good"], Turns(example.Chosen!.Value));
        Assert.Null(example.Rejected);
    }

    [Theory]
    [InlineData($$"""{"messages": [{{Question}}, {{Good}}]}""", "user: Q")]
    [InlineData($$"""{"prompt": [{{Question}}, {{Good}}, {{Question}}]}""", "user: Q|assistant: good|user: Q")]
    [InlineData($$"""{"chosen": [{{Question}}, {{Good}}], "rejected": [{{Question}}, {{Bad}}]}""", "user: Q")]
    public void Prompts_end_before_the_answer(string row, string prompt) =>
        Assert.Equal(prompt, string.Join('|', Turns(Assert.IsType<ChatAnswersExample>(Read(row, RowUse.Prompts)).Prompt.Messages)));

    [Theory]
    [InlineData("""{"prompt": "P", "chosen": "good", "rejected": [{"role": "assistant", "content": "bad"}]}""", RowUse.Preferences,
        "wrong type: chosen is a text and rejected a list")]
    [InlineData($$"""{"chosen": [{{Good}}], "rejected": [{{Bad}}]}""", RowUse.Preferences,
        "no common prompt: chosen and rejected differ from their first turn on, and the row names no prompt")]
    [InlineData("""{"prompt": "P", "chosen": "good", "rejected": "bad", "margin": "much"}""", RowUse.Preferences,
        "margin is no number: \"much\"")]
    [InlineData("""{"prompt": "P", "completion": "c", "label": "maybe"}""", RowUse.Unpaired,
        "label is neither true nor false: it is maybe")]
    [InlineData($$"""{"messages": [{{Question}}], "label": true}""", RowUse.Unpaired,
        "no answer at the end: the last turn is not the assistant's")]
    [InlineData($$"""{"chosen": [{{Question}}], "rejected": [{{Question}}, {{Bad}}]}""", RowUse.Preferences,
        "no answer at the end: chosen ends with the user turn")]
    [InlineData($$"""{"chosen": [{{Question}}, {{Good}}], "rejected": [{{Question}}, {{Bad}}, {{Question}}]}""", RowUse.Preferences,
        "no answer at the end: rejected ends with the user turn")]
    public void A_row_that_cannot_be_read_says_why(string row, RowUse use, string why)
    {
        var reader = Reader(row, use, null, false);
        Assert.Null(reader.Read(JsonDocument.Parse(row).RootElement, out var problem));
        Assert.StartsWith(why, $"{problem!.Reason}: {problem.Detail}");
    }

    [Theory]
    [InlineData("""{"prompt": "P", "completion": "c", "label": true}""", RowUse.Preferences,
        "these are single answers with a label: use handbook kto or handbook bco")]
    [InlineData("""{"ask": "P", "output_1": "a", "output_2": "b", "who": 1}""", RowUse.Preferences,
        "column_mapping: {prompt: …, chosen: output_1, rejected: output_2, preference: …}, where preference names the column that "
        + "says 1 or 2")]
    [InlineData("""{"question": "P", "mc1_targets": {"a": 1}}""", RowUse.Preferences,
        "say which columns hold the better and the worse answer: column_mapping: {prompt: …, chosen: …, rejected: …}, or all answers with "
        + "their scores: {prompt: …, answers: …}")]
    [InlineData("""{"prompt": "P", "completion": "c", "thumb": true}""", RowUse.Unpaired,
        "name the column that says whether an answer is good: column_mapping: {label: …}")]
    [InlineData("""{"id": 1, "ask": "P"}""", RowUse.Prompts, "column_mapping: {prompt: ask}")]
    public void Columns_that_are_not_enough_say_what_to_map(string row, RowUse use, string fix) =>
        Assert.Equal(fix, Assert.Throws<InputException>(() => Reader(row, use, null, false)).Fix);

    private Example Read(string row, RowUse use, Dictionary<string, string>? mapping = null, bool lastTurns = false)
    {
        var example = Reader(row, use, mapping, lastTurns).Read(JsonDocument.Parse(row).RootElement, out var problem);
        Assert.Null(problem);
        return example!;
    }

    private RowReader Reader(string row, RowUse use, Dictionary<string, string>? mapping, bool lastTurns)
    {
        var spec = new DatasetSpec { Id = _files.Write("rows.jsonl", row.ReplaceLineEndings(" ") + "\n"), ColumnMapping = mapping };
        return RowReader.For(Dataset.Open(spec), spec, use, answersAreLastTurns: lastTurns);
    }

    private static string[] Turns(JsonElement turns) =>
        [.. turns.EnumerateArray().Select(turn => $"{turn.GetProperty("role").GetString()}: {turn.GetProperty("content").GetString()}")];
}
