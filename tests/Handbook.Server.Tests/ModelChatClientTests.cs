using System.Text.Json;
using Handbook.Base;
using Handbook.Serving;
using Microsoft.Extensions.AI;

namespace Handbook.Server.Tests;

/// <summary>The same models in this process, as .NET programs talk with any chat model.</summary>
[Collection("tensors")]
public sealed class ModelChatClientTests(ServedFixture served) : IClassFixture<ServedFixture>
{
    private ModelChatClient Open() => ModelChatClient.Open(Path.Combine(served.Folder, "base"),
        new Dictionary<string, string> { ["one"] = Path.Combine(served.Folder, "one") });

    [Fact]
    public async Task It_says_what_the_server_says_whole_and_in_parts()
    {
        using var client = Open();
        foreach (var model in (string[])["base", "one"])
        {
            var options = new ChatOptions { ModelId = model, Seed = 4, MaxOutputTokens = 12, Temperature = 1.25f, Instructions = "be short" };
            var whole = await client.GetResponseAsync([new(ChatRole.User, "one two")], options);
            using var response = await served.Http.PostAsync("/v1/chat/completions", new StringContent(JsonSerializer.Serialize(new
            {
                model,
                seed = 4,
                max_tokens = 12,
                temperature = 1.25,
                messages = new[] { new { role = "system", content = "be short" }, new { role = "user", content = "one two" } },
            }), System.Text.Encoding.UTF8, "application/json"));
            var answer = JsonElement.Parse(await response.Content.ReadAsStringAsync());
            Assert.Equal(answer.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString(), whole.Text);
            Assert.Equal(answer.GetProperty("usage").GetProperty("completion_tokens").GetInt64(), whole.Usage?.OutputTokenCount);
            var text = "";
            await foreach (var update in client.GetStreamingResponseAsync([new(ChatRole.User, "one two")], options))
                text += update.Text;
            Assert.Equal(whole.Text, text);
        }
    }

    [Fact]
    public async Task It_holds_answers_to_a_form_and_calls_functions()
    {
        using var client = Open();
        var response = await client.GetResponseAsync([new(ChatRole.User, "one")], new ChatOptions
        {
            MaxOutputTokens = 60,
            ResponseFormat = ChatResponseFormat.ForJsonSchema(JsonElement.Parse("""{"enum": ["yes", "no"]}""")),
        });
        Assert.Contains(response.Text, (string[])["\"yes\"", "\"no\""]);
        var tool = AIFunctionFactory.CreateDeclaration("flip", "flips a coin", JsonElement.Parse("""
            {"type": "object", "properties": {"side": {"enum": ["heads", "tails"]}}, "required": ["side"], "additionalProperties": false}
            """));
        var called = await client.GetResponseAsync([new(ChatRole.User, "one")], new ChatOptions { MaxOutputTokens = 100, Tools = [tool], ToolMode = ChatToolMode.RequireAny });
        var call = Assert.Single(called.Messages.SelectMany(message => message.Contents).OfType<FunctionCallContent>());
        Assert.Equal("flip", call.Name);
        Assert.Contains(call.Arguments!["side"]!.ToString(), (string[])["heads", "tails"]);
        Assert.Equal(ChatFinishReason.ToolCalls, called.FinishReason);
        var next = await client.GetResponseAsync([new(ChatRole.User, "one"), .. called.Messages, new(ChatRole.Tool, [new FunctionResultContent(call.CallId, "heads")])],
            new ChatOptions { MaxOutputTokens = 4 });
        Assert.NotEqual("", next.Text);
    }

    [Fact]
    public async Task What_could_have_no_effect_is_refused()
    {
        using var client = Open();
        foreach (var (options, message) in new[]
        {
            (new ChatOptions { ConversationId = "x" }, "ChatOptions.ConversationId is set"),
            (new ChatOptions { ModelId = "nobody" }, "there is no model nobody here"),
            (new ChatOptions { MaxOutputTokens = 5000 }, "more than the model's window"),
            (new ChatOptions { ToolMode = ChatToolMode.RequireAny }, "there are no Tools"),
        })
            Assert.Contains(message, (await Assert.ThrowsAsync<InputException>(() => client.GetResponseAsync([new(ChatRole.User, "x")], options))).What, StringComparison.Ordinal);
        await Assert.ThrowsAsync<InputException>(() => client.GetResponseAsync([new(ChatRole.User, [new DataContent(new byte[1], "image/png")])]));
    }
}
