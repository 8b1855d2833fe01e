using System.Text;
using System.Text.Json;
using Handbook.Models.Constraints;
using Handbook.Serving;

namespace Handbook.Tests.Serving;

/// <summary>Any text, in which calls have arguments of their schema.</summary>
public sealed class StrictToolsTests
{
    private static readonly (Tool, string)[] s_tools =
    [
        (new("add", JsonElement.Parse("""{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false}"""), true), "x"),
        (new("any", null), "y"),
    ];

    private static ToolForm Form(string name) => name switch { "hermes" => ToolForm.Hermes, "mistral" => ToolForm.Mistral, _ => ToolForm.Llama };

    [Theory]
    [InlineData("hermes", "", true)]
    [InlineData("hermes", "The sun <tool and <tool_cal> </tool_call>", true)]
    [InlineData("hermes", "<tool_call>", false)]
    [InlineData("hermes", "<<tool_call>", false)]
    [InlineData("hermes", "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>", true)]
    [InlineData("hermes", "so: <tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"any\", \"arguments\": {}}\n</tool_call> done", true)]
    [InlineData("hermes", "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": \"1\"}}\n</tool_call>", false)]
    [InlineData("hermes", "<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call>", false)]
    [InlineData("hermes", "<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>", false)]
    [InlineData("mistral", "The [TOOL_CALL] is none", true)]
    [InlineData("mistral", "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {\"a\": 1}}, {\"name\": \"any\", \"arguments\": {\"x\": []}}]", true)]
    [InlineData("mistral", "[TOOL_CALLS] [{\"name\": \"add\", \"arguments\": {\"b\": 1}}]", false)]
    [InlineData("mistral", "[TOOL_CALLS]add[ARGS]{\"a\": -7}[TOOL_CALLS]any{}", true)]
    [InlineData("mistral", "[TOOL_CALLS]add[ARGS]{\"a\": 1.5}", false)]
    [InlineData("llama", "", true)]
    [InlineData("llama", " The sun {\"name\": 7}", true)]
    [InlineData("llama", "<|python is a beginning", true)]
    [InlineData("llama", "<|pyth", true)]
    [InlineData("llama", "\n{\"name\": \"add\", \"parameters\": {\"a\": 1}}", true)]
    [InlineData("llama", "<|python_tag|>{\"name\": \"add\", \"parameters\": {\"a\": 1}}; {\"name\": \"any\", \"parameters\": {}}", true)]
    [InlineData("llama", "{\"name\": \"add\", \"parameters\": {\"a\": null}}", false)]
    [InlineData("llama", "{\"sun\": 1}", false)]
    [InlineData("llama", "<|python_tag|>print(1)", false)]
    public void A_text_is_taken_or_not(string form, string text, bool taken)
    {
        var machine = new GrammarMachine(Form(form).Within(s_tools));
        var state = machine.Start;
        foreach (var value in Encoding.UTF8.GetBytes(text))
            state = machine.Step(state, value);
        Assert.Equal(taken, state.CanEnd);
    }

    [Theory]
    [InlineData("hermes", "<tool_call>")]
    [InlineData("mistral", "[TOOL_CALLS]")]
    [InlineData("llama", "")]
    public void Whatever_is_written_behind_a_mark_is_read_as_calls_of_the_schema(string form, string mark)
    {
        var machine = new GrammarMachine(Form(form).Within(s_tools));
        var random = new Random(5);
        for (var i = 0; i < 40; i++)
        {
            var (state, text) = (machine.Start, new List<byte>());
            foreach (var value in Encoding.UTF8.GetBytes(mark.Length > 0 ? mark : "{"))
                state = Add(value);
            // At random, but for what closes, until the text is free again or can end.
            while (!state.TakesAnything && (state.CanGoOn && !(state.CanEnd && random.Next(2) == 0)))
            {
                byte[] may = [.. Enumerable.Range(0, 256).Select(value => (byte)value).Where(value => machine.Step(state, value) is var next && (next.CanGoOn || next.CanEnd))];
                byte[] closing = [.. may.Where(value => value is (byte)'"' or (byte)'}' or (byte)']')];
                state = Add(closing.Length > 0 && random.Next(3) == 0 ? closing[random.Next(closing.Length)] : may[random.Next(may.Length)]);
            }
            Assert.True(state.CanEnd);
            var reader = new ToolCallReader(Form(form), several: true);
            var (said, first) = reader.Append(Encoding.UTF8.GetString([.. text]));
            var (rest, last) = reader.Finish("");
            ToolCall[] calls = [.. first, .. last];
            Assert.NotEmpty(calls);
            Assert.Equal("", (said + rest).Trim());
            foreach (var call in calls)
            {
                var arguments = JsonElement.Parse(call.Arguments);
                Assert.Equal(JsonValueKind.Object, arguments.ValueKind);
                if (call.Name == "add")
                    Assert.True(Assert.Single(arguments.EnumerateObject()).Value.TryGetInt64(out _));
                else
                    Assert.Equal("any", call.Name);
            }

            GrammarMachine.State Add(byte value)
            {
                text.Add(value);
                return machine.Step(state, value);
            }
        }
    }
}
