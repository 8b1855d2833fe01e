using System.Text;
using System.Text.Json;
using Handbook.Base;
using Handbook.Models.Constraints;
using Json.Schema;

namespace Handbook.Tests.Serving;

public sealed class SchemaGrammarTests
{
    public static TheoryData<string> Schemas() =>
    [
        "true",
        "{}",
        """{"type": "string"}""",
        """{"type": "string", "minLength": 2, "maxLength": 4}""",
        """{"type": "string", "format": "date"}""",
        """{"type": "string", "format": "uuid"}""",
        """{"type": "integer"}""",
        """{"type": "integer", "minimum": 0}""",
        """{"type": "integer", "exclusiveMinimum": 0}""",
        """{"type": "integer", "minimum": -3, "maximum": 12}""",
        """{"type": "number"}""",
        """{"type": "number", "minimum": 0}""",
        """{"type": ["boolean", "null"]}""",
        """{"type": ["string", "integer"], "enum": ["red", 7, null, 7.5]}""",
        """{"type": "integer", "minimum": 2, "exclusiveMinimum": 4, "maximum": 12, "exclusiveMaximum": 20}""",
        """{"enum": ["red", 7, null, {"a": [1]}]}""",
        """{"const": "ü\n\""}""",
        """{"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3}""",
        """{"type": "array", "items": {"type": "integer"}, "maxItems": 0}""",
        """{"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false}""",
        """{"type": "object"}""",
        """{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "boolean"}}, "required": ["b"], "additionalProperties": false}""",
        """{"type": "object", "properties": {"a": {"type": "integer"}, "ab": {"type": "null"}}, "additionalProperties": {"type": "boolean"}}""",
        """{"type": "object", "properties": {"kind": {"anyOf": [{"const": 1}, {"type": "array", "items": {"type": "null"}}]}}, "required": ["kind"]}""",
        """{"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {"value": {"type": "integer"}, "left": {"$ref": "#/$defs/tree"}}, "required": ["value"], "additionalProperties": false}}}""",
    ];

    /// <summary>Walks through a grammar at random, more and more towards its end.</summary>
    private static string Write(Grammar grammar, Random random)
    {
        var machine = new GrammarMachine(grammar);
        var (state, text) = (machine.Start, new List<byte>());
        while (state.CanGoOn && !(state.CanEnd && random.Next(3) == 0))
        {
            byte[] may = [.. Enumerable.Range(0, 256).Select(value => (byte)value).Where(value => machine.Step(state, value) is { } next && (next.CanGoOn || next.CanEnd))];
            // What closes is taken rather than what opens.
            byte[] closing = [.. may.Where(value => value is (byte)'"' or (byte)'}' or (byte)']')];
            var value = closing.Length > 0 && (text.Count > 40 || random.Next(4) == 0) ? closing[random.Next(closing.Length)] : may[random.Next(may.Length)];
            text.Add(value);
            state = machine.Step(state, value);
            Assert.True(text.Count < 100_000);
        }
        Assert.True(state.CanEnd);
        return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString([.. text]);
    }

    [Fact] // by calls within calls each of the first four would end the whole process: no stack is that deep
    public void What_one_schema_may_ask_for_has_bounds()
    {
        var chain = Enumerable.Range(0, 50_000).Select(i => $"\"d{i}\": {{\"$ref\": \"#/$defs/d{i + 1}\"}}");
        Says("lies behind more than 200 schemas", $"{{\"$ref\": \"#/$defs/d0\", \"$defs\": {{{string.Join(',', chain)}}}}}");
        Says("is one part too many", Properties(20_001));
        Says("has a name of 100,000 characters", $"{{\"properties\": {{\"{new string('x', 100_000)}\": {{}}}}, \"additionalProperties\": {{}}}}");
        Says("together the names and values have more than 120,000 characters", $"{{\"const\": \"{new string('x', 200_000)}\"}}");
        Says("is one part too many", $"{{\"type\": \"array\", \"prefixItems\": [{string.Join(',', Enumerable.Repeat("{\"type\": \"integer\", \"minimum\": 0, \"maximum\": 999}", 30))}]}}");
        // What is left open of many can still be many, one behind another.
        var machine = new GrammarMachine(SchemaGrammar.Of(JsonElement.Parse(Properties(19_000)), "schema"));
        Assert.True(machine.Start.CanGoOn);
        Assert.True(machine.Step(machine.Start, (byte)'{').CanGoOn);

        static string Properties(int count) =>
            $"{{\"properties\": {{{string.Join(',', Enumerable.Range(0, count).Select(i => $"\"{i}\": {{\"type\": \"null\"}}"))}}}}}";

        static void Says(string message, string schema) =>
            Assert.Contains(message, Assert.Throws<InputException>(() => SchemaGrammar.Of(JsonElement.Parse(schema), "schema")).Message);
    }

    [Theory, MemberData(nameof(Schemas))]
    public void Whatever_the_grammar_writes_is_what_the_schema_allows(string text)
    {
        var judge = JsonSchema.FromText(text);
        var grammar = SchemaGrammar.Of(JsonElement.Parse(text), "schema");
        var random = new Random(7);
        var seen = new HashSet<string>();
        for (var i = 0; i < 40; i++)
        {
            var written = Write(grammar, random);
            seen.Add(written);
            Assert.True(judge.Evaluate(JsonElement.Parse(written), new() { RequireFormatValidation = true }).IsValid, written);
        }
        Assert.True(seen.Count > 1 || text.Contains("const", StringComparison.Ordinal) || text.Contains("\"maxItems\": 0", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("{}", """{"a": [1, -2.5e3, "x\u00e4\ud83d\ude00", true, false, null, {"b": {}}]}""", true)]
    [InlineData("{}", "[ ]", true)]
    [InlineData("""{"anyOf": [{"$ref": "#"}, {"type": "boolean"}]}""", "true", true)]
    [InlineData("""{"anyOf": [{"$ref": "#"}, {"type": "boolean"}]}""", "1", false)]
    [InlineData("{}", "[1,]", false)]
    [InlineData("{}", "01", false)]
    [InlineData("{}", "\"\\ud800\"", false)]
    [InlineData("{}", "\"a\nb\"", false)]
    [InlineData("{}", "{\n  \"a\": 1,\n  \"b\": 2\n}", true)]
    [InlineData("""{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}""", "{}", false)]
    [InlineData("""{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}""", """{"a":1}""", true)]
    [InlineData("""{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}""", """{"a":1.5}""", false)]
    [InlineData("""{"type": "object", "properties": {"ab": {"type": "integer"}}, "additionalProperties": {"type": "string"}}""", """{"ab": "x"}""", false)]
    [InlineData("""{"type": "object", "properties": {"ab": {"type": "integer"}}, "additionalProperties": {"type": "string"}}""", """{"a": "x", "abc": "y"}""", true)]
    public void A_text_is_taken_or_not(string schema, string text, bool taken)
    {
        var machine = new GrammarMachine(SchemaGrammar.Of(JsonElement.Parse(schema), "schema"));
        var state = machine.Start;
        foreach (var value in Encoding.UTF8.GetBytes(text))
            state = machine.Step(state, value);
        Assert.Equal(taken, state.CanEnd);
    }

    [Theory]
    [InlineData("""{"type": "string", "pattern": "a+"}""", "schema.pattern is not built here")]
    [InlineData("""{"type": "object", "properties": {"x": {"oneOf": [{}]}}}""", "schema.properties.x.oneOf is not built here")]
    [InlineData("""{"type": "array", "items": {"type": "number", "multipleOf": 2}}""", "schema.items.multipleOf is not built here")]
    [InlineData("""{"type": "array", "uniqueItems": true}""", "schema.uniqueItems is not built here")]
    [InlineData("""{"type": "text"}""", "schema.type is text")]
    [InlineData("""{"type": "object", "required": ["x"]}""", "schema.required names x")]
    [InlineData("""{"type": "integer", "minimum": 5}""", "schema.minimum is built for 0 and 1 alone")]
    [InlineData("""{"$ref": "http://example.org/x"}""", "schema.$ref is \"http://example.org/x\"")]
    [InlineData("""{"$ref": "#/$defs/x"}""", "schema.$ref is #/$defs/x, which is not there")]
    [InlineData("""{"$ref": "#"}""", "schema.$ref is #, which is nothing but itself")]
    [InlineData("""{"allOf": [{}, {}]}""", "schema.allOf has several schemas")]
    [InlineData("""{"type": "string", "format": "email"}""", "schema.format is \"email\", which is not built")]
    [InlineData("""{"enum": [1], "minimum": 2}""", "schema.minimum stands beside enum")]
    [InlineData("""{"type": "string", "enum": [1]}""", "schema.enum has no value of the schema's type")]
    [InlineData("""{"type": "array", "items": 3}""", "schema.items is 3, but must be a schema")]
    [InlineData("""{"type": "string", "minLength": 4, "maxLength": 2}""", "schema.maxLength is 2, and minLength is 4")]
    public void What_a_grammar_cannot_hold_is_refused_with_its_path(string schema, string message) =>
        Assert.StartsWith(message, Assert.Throws<InputException>(() => SchemaGrammar.Of(JsonElement.Parse(schema), "schema")).What, StringComparison.Ordinal);
}
