using System.Diagnostics;
using System.Text.Json;
using Handbook.Models.Constraints;
using Handbook.Serving;
using Handbook.Testing;
using Handbook.Text.Tokenizers;

namespace Handbook.Tests.Serving;

/// <summary>Which tokens may come, found fast and found one by one.</summary>
public sealed class TokenTableTests(ITestOutputHelper output)
{
    // Beginnings of answers, within and between the parts of a grammar.
    private static readonly (string Schema, string[] Beginnings)[] s_cases =
    [
        ("""{"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string", "maxLength": 9}, "c": {"enum": ["größe", "sun", "日本"]}}, "required": ["a", "b", "c"], "additionalProperties": false}""",
            ["", "{", "{\"a", "{\"a\": \"", "{\"a\": \"the s", "{\"a\": \"\\", "{\"a\": \"x\", \"b\": \"", "{\"a\": \"x\", \"b\": \"the su", "{\"a\": \"x\", \"b\": \"the sun an", "{\"a\": \"x\", \"b\": \"\", \"c\": \""]),
        ("{}", ["", "{\"", "[1", "\"sun", "[\"a\", {\"b\": \"x"]),
        ("""{"type": "string", "minLength": 3}""", ["\"", "\"a", "\"abc"]),
    ];

    private static void Same(TokenTable table)
    {
        foreach (var (schema, beginnings) in s_cases)
        {
            var machine = new GrammarMachine(SchemaGrammar.Of(JsonElement.Parse(schema), "schema"));
            foreach (var text in beginnings)
                Equal(table, machine, text);
        }
        foreach (var form in (ToolForm[])[ToolForm.Hermes, ToolForm.Mistral, ToolForm.Llama])
        {
            var machine = new GrammarMachine(form.Within([(new("add", null, true), "x")]));
            foreach (var text in (string[])["", "sun <tool", "[TOOL_CALLS]", "{"])
                Equal(table, machine, text);
        }
    }

    private static void Equal(TokenTable table, GrammarMachine machine, string text)
    {
        var state = machine.Start;
        foreach (var value in System.Text.Encoding.UTF8.GetBytes(text))
            state = machine.Step(state, value);
        Assert.Equal(table.AllowedOneByOne(machine, state), table.Allowed(machine, state));
    }

    [Fact]
    public void A_vocabulary_of_50_thousand_tokens_has_the_same_tokens_either_way()
    {
        var tokenizer = Tokenizer.Load(SharedFiles.Need("tokenizers", "gpt2"));
        Same(new(tokenizer, tokenizer.VocabularySize, []));
    }

    [Fact, Trait("speed", "slow")]
    public void A_vocabulary_of_128_thousand_tokens_is_looked_through_in_few_milliseconds()
    {
        var tokenizer = Tokenizer.Load(SharedFiles.Need("tokenizers", "llama3"));
        var table = new TokenTable(tokenizer, tokenizer.VocabularySize, []);
        Same(table);
        foreach (var (schema, text) in (ReadOnlySpan<(string, string)>)[(s_cases[0].Schema, ""), (s_cases[0].Schema, "{\"a\": \"the s"), (s_cases[0].Schema, "{\"a\": \"x\", \"b\": \"the"), ("{}", "[\"a\", {\"b\": \"x")])
        {
            var (fast, slow) = (First((machine, state) => table.Allowed(machine, state)), First((machine, state) => table.AllowedOneByOne(machine, state)));
            output.WriteLine($"{text}: {fast:0.00} ms, one by one {slow:0.00} ms");

            // The least of several first visits, each of a machine that has met nothing.
            double First(Func<GrammarMachine, GrammarMachine.State, ulong[]> look) => Enumerable.Range(0, 9).Min(_ =>
            {
                var machine = new GrammarMachine(SchemaGrammar.Of(JsonElement.Parse(schema), "schema"));
                var state = machine.Start;
                foreach (var value in System.Text.Encoding.UTF8.GetBytes(text))
                    state = machine.Step(state, value);
                var clock = Stopwatch.StartNew();
                look(machine, state);
                return clock.Elapsed.TotalMilliseconds;
            });
        }
    }
}
