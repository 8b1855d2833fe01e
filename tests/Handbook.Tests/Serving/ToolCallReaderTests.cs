using Handbook.Serving;

namespace Handbook.Tests.Serving;

public sealed class ToolCallReaderTests
{
    private static ToolForm Form(string name) => name switch { "hermes" => ToolForm.Hermes, "mistral" => ToolForm.Mistral, _ => ToolForm.Llama };

    /// <summary>Reads an answer in parts of some length.</summary>
    private static (string Text, string Calls) Read(string form, string answer, int part, bool several = true)
    {
        var reader = new ToolCallReader(Form(form), several);
        var (text, calls) = ("", new List<ToolCall>());
        for (var at = 0; at < answer.Length && !reader.HasEnough; at += part)
            Add(reader.Append(answer[at..Math.Min(at + part, answer.Length)]));
        Add(reader.Finish(""));
        Assert.Equal(calls.Count, calls.Select(call => call.Id).Distinct().Count());
        return (text, string.Join("; ", calls.Select(call => $"{call.Name} {call.Arguments}")));

        void Add((string Text, IReadOnlyList<ToolCall> Calls) piece)
        {
            text += piece.Text;
            calls.AddRange(piece.Calls);
        }
    }

    [Theory]
    [InlineData("hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>", "", "f {\"x\": 1}")]
    [InlineData("hermes", "I look. \n<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>\n<tool_call>{\"name\": \"g\", \"arguments\": \"{\\\"y\\\": 2}\"}</tool_call>\n", "I look.", "f {}; g {\"y\": 2}")]
    [InlineData("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": \"<tool_call>\"}}", "", "f {\"s\": \"<tool_call>\"}")]
    [InlineData("hermes", "a < b and <tool is no call", "a < b and <tool is no call", "")]
    [InlineData("hermes", "<tool_call>{\"name\": }</tool_call>", "<tool_call>{\"name\": }</tool_call>", "")]
    [InlineData("hermes", "text with spaces  ", "text with spaces  ", "")]
    [InlineData("mistral", "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"x\": 1}}, {\"name\": \"g\", \"arguments\": {}}]", "", "f {\"x\": 1}; g {}")]
    [InlineData("mistral", "[TOOL_CALLS]f[ARGS]{\"x\": [1]}", "", "f {\"x\": [1]}")]
    [InlineData("mistral", "[TOOL_CALLS]f{\"x\": 1}[TOOL_CALLS]g{}", "", "f {\"x\": 1}; g {}")]
    [InlineData("mistral", "[TOOL, not] a call", "[TOOL, not] a call", "")]
    [InlineData("llama", "{\"name\": \"f\", \"parameters\": {\"x\": 1}}", "", "f {\"x\": 1}")]
    [InlineData("llama", "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}", "", "f {}; g {}")]
    [InlineData("llama", "{\"just\": \"json\"}", "{\"just\": \"json\"}", "")]
    [InlineData("llama", "Say {\"name\": \"f\", \"parameters\": {}}", "Say {\"name\": \"f\", \"parameters\": {}}", "")]
    public void Calls_are_told_from_text_however_the_answer_is_cut(string form, string answer, string text, string calls)
    {
        for (var part = 1; part <= answer.Length; part++)
            Assert.Equal((text, calls), Read(form, answer, part));
    }

    [Fact]
    public void One_call_is_enough_where_several_are_not_wanted() => Assert.Equal(("", "f {}"), Read("hermes",
        "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call><tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>", 5, several: false));
}
