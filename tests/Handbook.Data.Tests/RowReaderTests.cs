using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;

namespace Handbook.Data.Tests;

public sealed class RowReaderTests : IDisposable
{
    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData("""{"messages": [{"role": "user", "content": "a", "name": null}]}""", """[{"role":"user","content":"a"}]""")]
    [InlineData("""{"messages": "[{\"role\": \"user\", \"content\": \"a\"}]"}""", """[{"role":"user","content":"a"}]""")]
    [InlineData("""{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"}""",
        """[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"assistant","content":"b"}]""")]
    [InlineData("""{"instruction": "a", "input": "i", "output": "b"}""",
        """[{"role":"user","content":"a\ni"},{"role":"assistant","content":"b"}]""")]
    [InlineData("""{"instruction": "a", "input": null, "output": "b", "system": "s", "history": [["q", "r"]]}""",
        """[{"role":"system","content":"s"},{"role":"user","content":"q"},{"role":"assistant","content":"r"},{"role":"user","content":"a"},{"role":"assistant","content":"b"}]""")]
    [InlineData("""{"instruction": "a", "input": "", "response": "b"}""",
        """[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]""")]
    [InlineData("""{"messages": [{"role": "user", "content": [{"type": "text", "value": "a"}, {"type": "text", "text": "b"}], "loss_weight": 0.0}]}""", """[{"role":"user","content":"ab","loss_weight":0.0}]""")]
    [InlineData("""{"messages": [{"role": "assistant", "content": [{"type": "reasoning", "value": "r"}, {"type": "text", "value": "a"}, {"type": "tool_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1.0}}"}]}]}""", """[{"role":"assistant","content":"a","reasoning_content":"r","tool_calls":[{"type":"function","function":{"name": "f", "arguments": {"x": 1.0}}}]}]""")]
    [InlineData("""{"conversations": [{"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}, {"from": "observation", "value": "o"}]}""", """[{"role":"assistant","content":"","tool_calls":[{"type":"function","function":{"name": "f", "arguments": {}}}]},{"role":"tool","content":"o"}]""")]
    public void Layouts_become_turns(string row, string expected)
    {
        var chat = Assert.IsType<ChatExample>(Read(row, out var problem));
        Assert.Null(problem);
        Assert.Equal(Normal(expected), Normal(chat.Conversation.Messages.GetRawText()));
    }

    [Fact]
    public void Calls_stay_text_where_the_template_knows_none()
    {
        var row = """{"conversations": [{"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}]}""";
        var chat = Assert.IsType<ChatExample>(Read(row, out _, keepsToolCalls: false));
        Assert.Equal("{\"name\": \"f\", \"arguments\": {}}", chat.Conversation.Messages[0].GetProperty("content").GetString());
    }

    [Fact]
    public void Tools_and_template_variables_come_along()
    {
        var chat = Assert.IsType<ChatExample>(
            Read("""{"messages": [{"role": "user", "content": "a"}], "tools": "[{\"type\": \"function\"}]", "chat_template_kwargs": {"enable_thinking": false, "custom": null}}""", out _));
        Assert.Equal("function", chat.Conversation.Tools!.Value[0].GetProperty("type").GetString());
        Assert.Equal(["enable_thinking"], chat.Conversation.Variables!.Keys);
        Assert.Null(Assert.IsType<ChatExample>(Read("""{"messages": [{"role": "user", "content": "a"}], "tools": "[]"}""", out _))
            .Conversation.Tools);
    }

    [Fact]
    public void Prompts_with_completions_are_texts_or_turns()
    {
        Assert.Equal(new PromptExample("a", "b"), Read("""{"prompt": "a", "completion": "b"}""", out _));
        var chat = Assert.IsType<ChatPromptExample>(
            Read("""{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}""", out _));
        Assert.Equal(2, chat.Whole.Messages.GetArrayLength());
        Read("""{"prompt": "a", "completion": [1]}""", out var problem);
        Assert.Equal("prompt is a text and completion a list, but both must be texts, or the prompt a list of turns", problem!.Detail);
    }

    [Theory]
    [InlineData("""{"messages": []}""", "empty conversation", "")]
    [InlineData("""{"messages": [{"content": "a"}]}""", "turn without role", "turn 1")]
    [InlineData("""{"messages": ["a"]}""", "wrong type", "turn 1 is a text, not an object with role and content")]
    [InlineData("""{"messages": [{"role": "user", "content": 5}]}""", "wrong type", "turn 1: the content is a number")]
    [InlineData("""{"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]}""", "unsupported content",
        "turn 1: a part of the type \"image\"; only text is read")]
    [InlineData("""{"messages": [{"role": "user", "content": "\ud800"}]}""", "invalid text", "a text holds half of a surrogate pair")]
    [InlineData("""{"conversations": [{"from": "narrator", "value": "a"}]}""", "unknown speaker", "from \"narrator\"")]
    [InlineData("""{"instruction": "a", "input": 3, "output": "b"}""", "wrong type", "input is a number")]
    public void Rows_that_cannot_be_used_say_why(string row, string reason, string detail)
    {
        Assert.Null(Read(row, out var problem));
        Assert.Equal((reason, detail), (problem!.Reason, problem.Detail));
    }

    [Fact]
    public void Other_columns_are_read_by_mapping()
    {
        var example = Read("""{"question": "a", "answer": "b", "text": "other"}""", out _,
            mapping: new() { ["prompt"] = "question", ["completion"] = "answer" });
        Assert.Equal(new PromptExample("a", "b"), example);
    }

    [Theory]
    [InlineData("train-00000-of-00003.parquet", "train")]
    [InlineData("data/train_sft-00000-of-00001-abcdef.parquet", "train_sft")]
    [InlineData("test_prefs.jsonl.gz", "test_prefs")]
    [InlineData("valid.jsonl", "validation")]
    [InlineData("helpful.test.jsonl", "test")]
    [InlineData("dev/part1.json", "validation")]
    [InlineData("my-training-set.csv", "train")]
    [InlineData("trainer_notes.txt", null)]
    [InlineData("contest.json", null)]
    public void Names_tell_the_split(string file, string? split) => Assert.Equal(split, SplitNames.Of(file, out _));

    [Theory]
    [InlineData("train[:10%]", 1234, 0, 123)]
    [InlineData("train[10:20]", 1234, 10, 20)]
    [InlineData("train[-5:]", 1234, 1229, 1234)]
    [InlineData("train[50%:]", 5, 2, 5)]         // 2.5 is rounded to the even 2
    [InlineData("train[2000:]", 1234, 1234, 1234)]
    public void Slices_mean_what_the_library_means(string split, long count, long start, long end) =>
        Assert.Equal((start, end), SplitSlice.Parse(split).Resolve(count));

    [Fact]
    public void A_JSON_file_may_be_a_list_an_object_with_a_list_or_lines()
    {
        string[] files =
        [
            _files.Write("list.json", "\uFEFF[ {\"text\": \"a\"},\n{\"text\": \"b\"} ]"),
            _files.Write("object.json", "{\"version\": [1, 2], \"meta\": {\"x\": [{}]}, \"rows\": [{\"text\": \"a\"}, {\"text\": \"b\"}]}"),
            _files.Write("splits.json", "{\"train\": [{\"text\": \"a\"}, {\"text\": \"b\"}], \"test\": [{\"text\": \"c\"}]}"),
            _files.Write("lines.json", "{\"text\": \"a\"}\n\n{\"text\": \"b\"}\n"),
        ];
        foreach (var file in files)
            Assert.Equal(["a", "b"], TextMaker.Read(file).Select(row => row.Value.GetProperty("text").GetString()));
        Assert.Single(TextMaker.Read(_files.Write("one.json", "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}")));
    }

    [Fact]
    public void A_long_JSON_list_is_read_across_buffers()
    {
        var path = _files.Write("long.json", "[" + string.Join(",\n",
            Enumerable.Range(0, 3000).Select(i => $$"""{"n": {{i}}, "f": {{i}}.0, "text": "{{new string('x', i % 977)}}é"}""")) + "]");
        var rows = TextMaker.Read(path);
        Assert.Equal(3000, rows.Count);
        Assert.All(rows.Index(), entry => Assert.Equal($"{entry.Index}/{entry.Index}.0",
            $"{entry.Item.Value.GetProperty("n").GetRawText()}/{entry.Item.Value.GetProperty("f").GetRawText()}"));
    }

    [Fact]
    public void Text_is_read_by_line_paragraph_or_whole()
    {
        var path = _files.Write("t.txt", "a\r\nb\n\n\nc");
        Assert.Equal(["a", "b", "-", "-", "c"], Texts(TextUnit.Line));
        Assert.Equal(["a\nb", "c"], Texts(TextUnit.Paragraph));
        Assert.Equal(["a\nb\n\n\nc"], Texts(TextUnit.Document));

        string[] Texts(TextUnit unit) =>
            [.. Dataset.Open(new() { Id = path, TextUnit = unit }).Read()
            .Select(row => row.Problem is null ? row.Value.GetProperty("text").GetString()! : "-")];
    }

    [Fact]
    public void Zstd_is_read_like_the_plain_file()
    {
        // `printf '{"text": "a"}\n{"text": "b"}\n' | zstd`
        var path = _files.WriteBytes("t.jsonl.zst", Convert.FromHexString(ZstdOfTwoRows));
        Assert.Equal(["a", "b"], TextMaker.Read(path).Select(row => row.Value.GetProperty("text").GetString()));
        File.WriteAllBytes(path, File.ReadAllBytes(path)[..20]);
        Assert.Contains("the zstd stream ends in the middle", Assert.Throws<InputException>(() => TextMaker.Read(path)).Message);
    }

    private const string ZstdOfTwoRows = "28b52ffd0458c50000907b2274657874223a202261227d0a62227d0a0100b14d25787d3d1a";

    private Example? Read(string row, out RowProblem? problem, bool keepsToolCalls = true, Dictionary<string, string>? mapping = null)
    {
        var spec = new DatasetSpec { Id = _files.Write("row.jsonl", row), ColumnMapping = mapping };
        var source = Dataset.Open(spec);
        return RowReader.For(source, spec, RowUse.FineTuning, keepsToolCalls: keepsToolCalls).Read(source.Read().Single().Value,
            out problem);
    }

    private static string Normal(string json) => JsonSerializer.Serialize(JsonDocument.Parse(json).RootElement);
}
