using System.Text.Json;
using Handbook.Data.Formats;

namespace Handbook.Data.Tests;

public sealed class PromptReaderTests
{
    private const string Question = """{"role":"user","content":"Q"}""";
    private const string Answer = """{"role":"assistant","content":"A"}""";

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
    public void Columns_have_the_names_that_a_mapping_gives_them()
    {
        var prompt = new PromptReader(new Dictionary<string, string> { ["prompt"] = "ask" })
            .Read(JsonElement.Parse("""{"ask": "P", "prompt": "no"}"""))!;
        Assert.Equal("P", prompt.Text);
        Assert.Equal(["ask"], prompt.Columns);
    }

    [Theory]
    [InlineData("""{"prompt": 7}""", "wrong type")]
    [InlineData("""{"question": 7}""", "wrong type")]
    [InlineData($$"""{"messages": [{{Answer}}]}""", "nobody but the assistant says anything")]
    [InlineData("""{"chosen": "yes", "rejected": "no"}""", "no prompt")]
    public void What_is_no_prompt_is_refused(string row, string reason) =>
        Assert.Equal(reason, Assert.Throws<UnusableRowException>(() => Read(row)).Reason);

    [Fact]
    public void A_row_without_a_prompt_s_column_asks_nothing() => Assert.Null(Read("""{"ask": "P", "answer": "A"}"""));

    private static RowPrompt? Read(string row) => new PromptReader().Read(JsonElement.Parse(row));
}
