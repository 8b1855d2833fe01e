using Handbook.Generation;
using OpenAI.Chat;

namespace Handbook.Sampling;

/// <summary>Answers of a model on an OpenAI-compatible endpoint; a prompt that is a text is what a user says.</summary>
/// <param name="endpoint">Where the model is.</param>
/// <param name="name">What it is, for provenance.</param>
/// <param name="options">Of these, temperature, top-p, length and seed are sent.</param>
/// <param name="stops">Texts that end an answer.</param>
public sealed class EndpointAnswers(ChatEndpoint endpoint, string name, SamplingOptions options, IReadOnlyList<string> stops) : IAnswerSource
{
    public string Name => name;

    public string? Refuses(Prompt prompt) => null;

    public void Answer(IReadOnlyList<AnswerRequest> requests, Action<int, int, GivenAnswer> done, CancellationToken cancel)
    {
        var all = requests.SelectMany((request, r) => request.Streams.Select((stream, s) => (Request: r, Place: s, Stream: stream))).ToArray();
        endpoint.Ask(all.Length,
            i => (Turns(requests[all[i].Request].Prompt), Options(all[i].Stream)),
            (i, reply) => done(all[i].Request, all[i].Place, new(reply.Text, reply.Finished, reply.Tokens)),
            cancel);
    }

    private static IReadOnlyList<ChatMessage> Turns(Prompt prompt) =>
        prompt.Messages is { } messages ? ChatTurnList.Of(messages, prompt.Place) : [new UserChatMessage(prompt.Text)];

    private ChatCompletionOptions Options(long stream)
    {
        var asked = new ChatCompletionOptions
        {
            MaxOutputTokenCount = options.MaxNewTokens,
            Temperature = (float)options.Temperature,
            TopP = (float)options.TopP,
        };
#pragma warning disable OPENAI001 // a seed is best effort on their side, and harmless where it is not known
        asked.Seed = (long)(SplitMix.Mix(SplitMix.Mix((ulong)options.Seed) ^ (ulong)stream) >> 33);
#pragma warning restore OPENAI001
        foreach (var stop in stops)
            asked.StopSequences.Add(stop);
        return asked;
    }

    public void Dispose()
    {
    }
}
