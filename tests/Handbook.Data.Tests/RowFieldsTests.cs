using System.Text.Json;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;

namespace Handbook.Data.Tests;

/// <summary>What a row holds reaches the template as it stands, however it is nested.</summary>
public sealed class RowFieldsTests : IDisposable
{
    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Fact]
    public void Case_05_deep_arguments_crash_arguments_of_a_hundred_levels_are_read_in_every_layout()
    {
        var deep = string.Concat(Enumerable.Repeat("{\"a\":", 100)) + "1" + new string('}', 100);
        var call = $$"""{"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {{deep}} } }]}""";
        var asked = """{"role": "user", "content": "hi"}""";
        Assert.Equal(2,
            Assert.IsType<ChatExample>(Read($$"""{"messages": [{{asked}}, {{call}}]}""")).Conversation.Messages.GetArrayLength());
        var pair = Assert.IsType<ChatPromptExample>(Read($$"""{"prompt": [{{asked}}], "completion": [{{call}}]}"""));
        Assert.Equal(2, pair.Whole.Messages.GetArrayLength());
        Assert.Contains(deep, pair.Whole.Messages.GetRawText());
    }

    [Fact]
    public void Case_13_content_null_refused_a_content_that_is_null_stays_null()
    {
        var turns = Assert.IsType<ChatExample>(
            Read("""{"messages": [{"role": "assistant", "content": null, "tool_calls": []}, {"role": "assistant", "tool_calls": []}]}"""))
            .Conversation.Messages;
        Assert.Equal(JsonValueKind.Null, turns[0].GetProperty("content").ValueKind);
        Assert.False(turns[1].TryGetProperty("content", out _));
    }

    [Theory]
    [InlineData("""[{"function": {"parameters": {"default": null, "const": null}}}]""")]
    [InlineData(""" "[{\"function\": {\"parameters\": {\"default\": null, \"const\": null}}}]" """)]
    public void Case_14_nulls_dropped_nulls_of_tools_and_arguments_stay(string tools)
    {
        var row = $$"""{"tools": {{tools}}, "messages": [{"role": "assistant", "content": "", "name": null, "tool_calls": [{"function": {"name": "f", "arguments": {"unit": null} } }]}]}""";
        var conversation = Assert.IsType<ChatExample>(Read(row)).Conversation;
        Assert.Equal("""[{"function": {"parameters": {"default": null, "const": null}}}]""", conversation.Tools!.Value.GetRawText());
        Assert.Equal(JsonValueKind.Null, conversation.Messages[0].GetProperty("tool_calls")[0].GetProperty("function")
            .GetProperty("arguments").GetProperty("unit").ValueKind);
        Assert.False(conversation.Messages[0].TryGetProperty("name", out _));       // a field of a turn that says nothing
    }

    [Fact] // a table gives every value the fields of all rows: there a null says that the row has no such field
    public void Nulls_of_a_table_s_nested_values_are_no_fields_but_those_in_a_text_are()
    {
        var turns = new ChatTurns(new TurnRules(KeepsToolCalls: true, PadsWithNulls: true));
        const string List =
            """[{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"unit": null, "city": "Oslo"}}}]}]""";
        turns.Add(JsonElement.Parse(List)).Add(JsonSerializer.SerializeToElement(List));
        var both = turns.ToJson();
        Assert.Equal("""{"city":"Oslo"}""", Arguments(both[0]));
        Assert.Equal("""{"unit":null,"city":"Oslo"}""", Arguments(both[1]));
        Assert.Equal(JsonValueKind.Null, both[0].GetProperty("content").ValueKind);

        static string Arguments(JsonElement turn) =>
            turn.GetProperty("tool_calls")[0].GetProperty("function").GetProperty("arguments").GetRawText();
    }

    [Fact]
    public void Case_16_content_parts_joined_a_list_of_texts_stays_a_list()
    {
        const string parts = """[{"type":"text","text":"one"},{"type":"text","text":"two"}]""";
        var turns = Assert.IsType<ChatExample>(Read($$"""{"messages": [{"role": "user", "content": {{parts}} }]}""")).Conversation.Messages;
        Assert.Equal(parts, turns[0].GetProperty("content").GetRawText());
    }

    private Example? Read(string row)
    {
        var spec = new DatasetSpec { Id = _files.Write("rows.jsonl", row + "\n") };
        var reader = RowReader.For(Dataset.Open(spec), spec, RowUse.FineTuning);
        var example = reader.Read(Dataset.Open(spec).Read().First().Value, out var problem);
        Assert.Null(problem);
        return example;
    }
}
