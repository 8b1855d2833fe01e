using System.ClientModel;
using System.Text;
using OpenAI;
using OpenAI.Chat;
using OpenAI.Embeddings;

namespace Handbook.Server.Tests;

/// <summary>OpenAI's own client for .NET asks the server.</summary>
[Collection("tensors")]
public sealed class OpenAIClientTests(ServedFixture served) : IClassFixture<ServedFixture>
{
    private OpenAIClient Client => new(new ApiKeyCredential("none"), new OpenAIClientOptions { Endpoint = new Uri(served.Server.Address, "/v1") });

    [Fact]
    public async Task It_chats_whole_and_in_parts()
    {
        var chat = Client.GetChatClient("base");
        ChatMessage[] messages = [new SystemChatMessage("be short"), new UserChatMessage("one two"), new AssistantChatMessage("three"), new UserChatMessage("four")];
        var options = new ChatCompletionOptions { MaxOutputTokenCount = 20, Temperature = 1.2f, TopP = 0.95f, IncludeLogProbabilities = true, TopLogProbabilityCount = 2 };
#pragma warning disable OPENAI001 // the client calls the seed experimental
        options.Seed = 11;
#pragma warning restore OPENAI001
        ChatCompletion whole = await chat.CompleteChatAsync(messages, options);
        Assert.Contains(whole.FinishReason, (ChatFinishReason[])[ChatFinishReason.Stop, ChatFinishReason.Length]);
        Assert.NotEmpty(whole.ContentTokenLogProbabilities);
        Assert.Equal(2, whole.ContentTokenLogProbabilities[0].TopLogProbabilities.Count);
        Assert.True(whole.Usage.OutputTokenCount > 0);
        var text = new StringBuilder();
        var (usage, parts) = (0, 0);
        await foreach (var part in chat.CompleteChatStreamingAsync(messages, options))
        {
            parts++;
            foreach (var content in part.ContentUpdate)
                text.Append(content.Text);
            usage = part.Usage?.OutputTokenCount ?? usage;
        }
        Assert.Equal(string.Concat(whole.Content.Select(part => part.Text)), text.ToString());
        Assert.Equal(whole.Usage.OutputTokenCount, usage);
        Assert.True(parts > 2);
    }

    [Fact]
    public async Task It_lists_models_and_embeds_texts()
    {
        var models = await Client.GetOpenAIModelClient().GetModelsAsync();
        Assert.Equal(["base", "one", "two"], models.Value.Select(model => model.Id));
        OpenAIEmbeddingCollection vectors = await Client.GetEmbeddingClient("one").GenerateEmbeddingsAsync(["one two", "the moon"]);
        Assert.Equal([32, 32], vectors.Select(vector => vector.ToFloats().Length));
    }

    [Fact]
    public async Task It_is_told_what_is_wrong()
    {
        var failure = await Assert.ThrowsAsync<ClientResultException>(() => Client.GetChatClient("nobody").CompleteChatAsync(new UserChatMessage("x")));
        Assert.Equal(404, failure.Status);
        Assert.Contains("there is no model \"nobody\" here; there are: base, one, two", failure.Message, StringComparison.Ordinal);
    }
}
