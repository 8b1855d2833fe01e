using System.ClientModel;
using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using OpenAI;
using OpenAI.Chat;

namespace Handbook.Server.Tests;

/// <summary>Answers of a form, from a model that knows none: what it says is held to it token by token.</summary>
[Collection("tensors")]
public sealed class ConstrainedAnswersTests(ServedFixture served) : IClassFixture<ServedFixture>
{
    private const string Schema = """
        {"type": "object", "properties": {"name": {"type": "string", "maxLength": 6}, "size": {"enum": ["small", "large"]},
         "tags": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 20}, "minItems": 1, "maxItems": 2}},
         "required": ["name", "size", "tags"], "additionalProperties": false}
        """;

    private ChatClient Chat => new OpenAIClient(new ApiKeyCredential("none"), new OpenAIClientOptions { Endpoint = new Uri(served.Server.Address, "/v1") })
        .GetChatClient("base");

    [Fact]
    public async Task An_answer_has_the_form_of_a_schema_whole_and_in_parts()
    {
        for (var seed = 0; seed < 8; seed++)
        {
            var options = new ChatCompletionOptions
            {
                MaxOutputTokenCount = 150,
                ResponseFormat = ChatResponseFormat.CreateJsonSchemaFormat("thing", BinaryData.FromString(Schema), jsonSchemaIsStrict: true),
            };
#pragma warning disable OPENAI001 // the client calls the seed experimental
            options.Seed = seed;
#pragma warning restore OPENAI001
            ChatCompletion answer = await Chat.CompleteChatAsync([new UserChatMessage("one two")], options);
            Assert.Equal(ChatFinishReason.Stop, answer.FinishReason);
            var thing = JsonElement.Parse(answer.Content[0].Text);
            Assert.Equal(["name", "size", "tags"], thing.EnumerateObject().Select(property => property.Name));
            Assert.InRange(new StringInfoOf(thing.GetProperty("name").GetString()!).Count, 0, 6);
            Assert.Contains(thing.GetProperty("size").GetString(), (string[])["small", "large"]);
            Assert.All(thing.GetProperty("tags").EnumerateArray(), tag => Assert.InRange(tag.GetInt32(), 0, 20));
            var text = new StringBuilder();
            await foreach (var part in Chat.CompleteChatStreamingAsync([new UserChatMessage("one two")], options))
                foreach (var content in part.ContentUpdate)
                    text.Append(content.Text);
            Assert.Equal(answer.Content[0].Text, text.ToString());
        }
    }

    private readonly record struct StringInfoOf(string Text)
    {
        public int Count => Text.EnumerateRunes().Count();
    }

    [Fact]
    public async Task Any_json_object_is_one()
    {
        for (var seed = 0; seed < 6; seed++)
        {
            var answer = await Ask(new { model = "one", messages = new[] { new { role = "user", content = "x" } }, seed, max_tokens = 200, response_format = new { type = "json_object" } });
            var choice = answer.GetProperty("choices")[0];
            var text = choice.GetProperty("message").GetProperty("content").GetString()!;
            Assert.StartsWith("{", text, StringComparison.Ordinal);
            if (choice.GetProperty("finish_reason").GetString() == "stop")
                Assert.Equal(JsonValueKind.Object, JsonElement.Parse(text).ValueKind);
        }
    }

    [Fact]
    public async Task A_call_that_is_asked_for_is_made_with_arguments_of_its_schema()
    {
        var tool = ChatTool.CreateFunctionTool("weather", "tells the weather", BinaryData.FromString("""
            {"type": "object", "properties": {"city": {"enum": ["Bonn", "Kyoto"]}, "days": {"type": "integer", "minimum": 1, "maximum": 3}}, "required": ["city"], "additionalProperties": false}
            """));
        // both have short arguments: an answer that is cut off is no call
        var nothing = ChatTool.CreateFunctionTool("nothing", null, BinaryData.FromString("""{"type": "object", "properties": {}, "additionalProperties": false}"""));
        var options = new ChatCompletionOptions { Tools = { tool, nothing }, ToolChoice = ChatToolChoice.CreateFunctionChoice("weather"), MaxOutputTokenCount = 150 };
        ChatCompletion answer = await Chat.CompleteChatAsync([new UserChatMessage("one two")], options);
        Assert.Equal(ChatFinishReason.ToolCalls, answer.FinishReason);
        Assert.Equal("weather", answer.ToolCalls.Single().FunctionName);
        Assert.Contains(JsonElement.Parse(answer.ToolCalls[0].FunctionArguments).GetProperty("city").GetString(), (string[])["Bonn", "Kyoto"]);
        Assert.Empty(answer.Content);
        // What the tool said goes back into the conversation.
        ChatCompletion next = await Chat.CompleteChatAsync([new UserChatMessage("one two"), new AssistantChatMessage(answer), new ToolChatMessage(answer.ToolCalls[0].Id, "sun")],
            new ChatCompletionOptions { MaxOutputTokenCount = 5 });
        Assert.NotEmpty(next.Content);
        options.ToolChoice = ChatToolChoice.CreateRequiredChoice();
        var (name, arguments) = ("", new StringBuilder());
        await foreach (var part in Chat.CompleteChatStreamingAsync([new UserChatMessage("one two")], options))
            foreach (var call in part.ToolCallUpdates)
            {
                name += call.FunctionName;
                arguments.Append(call.FunctionArgumentsUpdate);
            }
        Assert.Contains(name, (string[])["weather", "nothing"]);
        Assert.Equal(JsonValueKind.Object, JsonElement.Parse(arguments.ToString()).ValueKind);
    }

    private async Task<JsonElement> Ask(object body, HttpStatusCode status = HttpStatusCode.OK)
    {
        using var response = await served.Http.PostAsJsonAsync("/v1/chat/completions", body);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(status == response.StatusCode, text);
        return JsonElement.Parse(text);
    }

    [Theory]
    [InlineData("""{"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"pattern": "x"}}}}}""", "response_format.json_schema.schema.properties.a.pattern is not built here")]
    [InlineData("""{"type": "json_schema"}""", "response_format.json_schema is missing")]
    [InlineData("""{"type": "xml"}""", "response_format.type is xml, but must be")]
    [InlineData("""{"type": "json_object", "extra": 1}""", "response_format.extra is not known here")]
    public async Task A_form_that_is_not_built_is_refused_with_its_path(string format, string message)
    {
        var error = await Ask(new { model = "base", messages = new[] { new { role = "user", content = "x" } }, response_format = JsonElement.Parse(format) }, HttpStatusCode.BadRequest);
        Assert.StartsWith(message, error.GetProperty("error").GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""[{"type": "retrieval"}]""", "\"auto\"", "tools[0] must be an object with type: function")]
    [InlineData("""[{"type": "function", "function": {"name": "a b"}}]""", "\"auto\"", "tools[0].function.name may have")]
    [InlineData("""[{"type": "function", "function": {"name": "f", "strict": "yes"}}]""", "\"auto\"", "tools[0].function.strict is \"yes\"")]
    [InlineData("""[{"type": "function", "function": {"name": "f", "strict": true, "parameters": {"type": "object", "minProperties": 1}}}]""", "\"auto\"", "tools[0].function.parameters.minProperties is not built here")]
    [InlineData("""[{"type": "function", "function": {"name": "f"}}]""", "\"perhaps\"", "tool_choice must be")]
    [InlineData("""[{"type": "function", "function": {"name": "f"}}]""", """{"type": "function", "function": {"name": "g"}}""", "tool_choice names g")]
    [InlineData("""[{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "minProperties": 1}}}]""", "\"required\"", "tools[0].function.parameters.minProperties is not built here")]
    [InlineData("[]", "\"required\"", "tool_choice has a meaning only with tools")]
    public async Task Tools_that_cannot_be_called_are_refused(string tools, string choice, string message)
    {
        var error = await Ask(new { model = "base", messages = new[] { new { role = "user", content = "x" } }, tools = JsonElement.Parse(tools), tool_choice = JsonElement.Parse(choice) }, HttpStatusCode.BadRequest);
        Assert.StartsWith(message, error.GetProperty("error").GetProperty("message").GetString(), StringComparison.Ordinal);
    }
}
