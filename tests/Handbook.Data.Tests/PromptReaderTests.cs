using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;

namespace Handbook.Data.Tests;

public sealed class PromptReaderTests : IDisposable
{
    private readonly TextMaker _files = new();

    private const string Question = """{"role":"user","content":"Q"}""";
    private const string Answer = """{"role":"assistant","content":"A"}""";

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData("""{"prompt": "P", "text": "T"}""", "P", "prompt")]
    [InlineData("""{"prompt": null, "question": "Q", "text": "T"}""", "Q", "question")]
    [InlineData("""{"prompt": "[1, 2, 3] sorted?"}""", "[1, 2, 3] sorted?", "prompt")]
    [InlineData("""{"prompt": "[1, 2, 3]"}""", "[1, 2, 3]", "prompt")]
    [InlineData("""{"instruction": "Add", "input": "1 and 2"}""", "Add\n1 and 2", "instruction", "input")]
    [InlineData("""{"instruction": "Add", "input": ""}""", "Add", "instruction")]
    [InlineData("""{"chosen": "Why? So that", "rejected": "Why? So what"}""", "Why? So", "chosen", "rejected")]
    public void A_text_is_read_from_the_first_column_that_holds_a_prompt(string row, string text, params string[] columns)
    {
        var prompt = Read(row)!;
        Assert.Equal((text, null), (prompt.Text, prompt.Messages?.GetRawText()));
        Assert.Equal(columns, prompt.Columns);
    }

    [Theory]
    [InlineData($$"""{"prompt": [{{Question}}]}""")]
    [InlineData($$"""{"messages": [{{Question}}, {{Answer}}]}""")]
    [InlineData("""{"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}""")]
    [InlineData($$"""{"chosen": [{{Question}}, {{Answer}}], "rejected": "no"}""")]
    [InlineData("""{"prompt": "[{\"role\": \"user\", \"content\": \"Q\"}]"}""")]
    public void A_conversation_is_read_up_to_its_answer(string row)
    {
        var prompt = Read(row)!;
        Assert.Equal((null, $"[{Question}]"), (prompt.Text, prompt.Messages?.GetRawText()));
    }

    [Fact]
    public void What_stands_beside_a_prompt_is_part_of_it()
    {
        var prompt = Read("""{"question": "Q", "system": "S", "history": [["q", "a"]], "id": 7}""")!;
        Assert.Equal("""[{"role":"system","content":"S"},{"role":"user","content":"q"},{"role":"assistant","content":"a"},"""
            + $"{Question}]", prompt.Messages?.GetRawText());
        Assert.Equal(["question", "system", "history"], prompt.Columns);
        prompt = Read("""{"prompt": "Q", "chat_template_kwargs": {"enable_thinking": false}}""")!;
        Assert.Equal(("Q", """{"chat_template_kwargs":{"enable_thinking":false}}"""), (prompt.Text, prompt.Inputs?.ToJson()));
    }

    [Fact]
    public void A_system_text_that_is_given_stands_in_for_the_column_and_behind_a_turn_of_the_row_s_own()
    {
        Assert.Equal($$"""[{"role":"system","content":"given"},{{Question}}]""",
            Read("""{"prompt": "Q", "system": "column"}""", system: "given")!.Messages?.GetRawText());
        var own = Read($$"""{"messages": [{"role": "system", "content": "own"}, {{Question}}]}""", system: "given")!;
        Assert.Equal("own", own.Messages!.Value[0].GetProperty("content").GetString());
        Assert.Contains("system_prompt is not put before it", Assert.Single(own.Remarks));
    }

    [Fact]
    public void Columns_have_the_names_that_a_mapping_gives_them()
    {
        var prompt = Read("""{"ask": "P", "prompt": "no"}""", new() { ["prompt"] = "ask" })!;
        Assert.Equal("P", prompt.Text);
        Assert.Equal(["ask"], prompt.Columns);
    }

    [Fact]
    public void A_mapping_of_a_column_that_no_prompt_is_made_of_is_refused() =>
        Assert.Contains("column_mapping takes completion from \"answer\", but rows of the layout Prompt have no use for it",
            Assert.Throws<InputException>(() => Read("""{"prompt": "P", "answer": "A"}""", new() { ["completion"] = "answer" })).What);

    [Theory]
    [InlineData("""{"prompt": 7}""", "wrong type")]
    [InlineData("""{"question": 7}""", "wrong type")]
    [InlineData("""{"prompt": " "}""", "empty prompt")]
    [InlineData("""{"prompt": "Q", "system": 7}""", "wrong type")]
    [InlineData("""{"prompt": "\ud800"}""", "invalid text")]
    [InlineData($$"""{"messages": [{{Answer}}]}""", "no prompt")]
    [InlineData("""{"chosen": "yes", "rejected": "no"}""", "no prompt")]
    public void What_is_no_prompt_is_refused(string row, string reason)
    {
        Assert.Null(Reader(row, null).Prompt(Rows(row).Read().Single().Value, out var problem));
        Assert.Equal(reason, problem!.Reason);
    }

    [Fact]
    public void Rows_without_any_column_of_prompts_are_refused_with_a_mapping_that_works()
    {
        const string row = """{"id": "1", "user_query": "P", "answer": "A"}""";
        var problem = Assert.Throws<InputException>(() => Read(row));
        Assert.EndsWith("has the columns id, user_query, answer, but wanted are prompt, messages, conversations, chosen, instruction, "
            + "question or text", problem.What);
        Assert.Equal("column_mapping: {prompt: user_query}", problem.Fix);
        Assert.Equal("P", Read(row, new() { ["prompt"] = "user_query" })!.Text);
    }

    [Fact]
    public void Every_row_may_have_a_layout_of_its_own()
    {
        var rows = string.Concat(Enumerable.Repeat("""{"prompt": "P"}""" + "\n", 80)) + $$"""{"messages": [{{Question}}, {{Answer}}]}""" + "\n"
            + """{"other": 1}""";
        var reader = Reader(rows, null);
        var last = Rows(rows).Read().TakeLast(2).Select(row => row.Value).ToArray();
        Assert.Equal($"[{Question}]", reader.Prompt(last[0], out _)!.Messages?.GetRawText());
        Assert.Null(reader.Prompt(last[1], out var problem));
        Assert.Equal(("no prompt", "the row has other"), (problem!.Reason, problem.Detail));
    }

    [Fact]
    public void A_line_of_a_text_file_is_a_prompt()
    {
        var spec = new DatasetSpec { Id = _files.Write("prompts.txt", "\none\n\ntwo\n") };
        var source = Dataset.Open(spec);
        var reader = RowReader.For(source, spec, RowUse.Prompts);
        Assert.Equal([new AnswersExample("one", null, null), new AnswersExample("two", null, null)],
            source.Read().Where(row => row.Problem is null).Select(row => reader.Read(row.Value, out _)));
    }

    private RowPrompt? Read(string row, Dictionary<string, string>? mapping = null, string? system = null) =>
        Reader(row, mapping).Prompt(Rows(row).Read().Single().Value, out _, system);

    private RowReader Reader(string rows, Dictionary<string, string>? mapping) =>
        RowReader.For(Rows(rows), new DatasetSpec { Id = "rows.jsonl", ColumnMapping = mapping }, RowUse.Prompts);

    private IRowSource Rows(string rows) => Dataset.Open(new() { Id = _files.Write("rows.jsonl", rows + "\n") });
}
