using Handbook.Base;
using Handbook.Models.Generation;
using Handbook.Training.Sampling.Endpoints;
using OpenAI.Chat;

namespace Handbook.Training.Sampling;

/// <summary>Answers of a model on an OpenAI-compatible endpoint; a prompt that is a text is what a user says.</summary>
/// <param name="endpoint">Where the model is.</param>
/// <param name="name">What it is, for provenance.</param>
/// <param name="options">Of these, temperature, top-p, length and seed are sent.</param>
/// <param name="stops">Texts that end an answer.</param>
/// <param name="firstTokens">How many of the likeliest first tokens are asked for, with log p; 0 asks for none.</param>
internal sealed class EndpointAnswers(ChatEndpoint endpoint, string name, SamplingOptions options, IReadOnlyList<string> stops,
    int firstTokens = 0) : IAnswerSource
{
    private readonly SamplingOptions _options = Sendable(options);

    public string Name => name;

    /// <summary>Whether the interface of an endpoint has no word for an option.</summary>
    internal static IEnumerable<string> Unsendable(int topK, double minP, double repetitionPenalty)
    {
        if (topK > 0)
            yield return "top_k";
        if (minP > 0)
            yield return "min_p";
        if (repetitionPenalty != 1)
            yield return "repetition_penalty";
    }

    private static SamplingOptions Sendable(SamplingOptions options) =>
        Unsendable(options.TopK, options.MinP, options.RepetitionPenalty).ToArray() is { Length: > 0 } names
        ? throw new InputException($"{string.Join(" and ", names)} cannot be sent to an endpoint",
            "its interface has no such option, and answers drawn in another way would not be what was asked for",
            "leave it out, or set it where the endpoint is started; or let a model folder answer")
        : options;

    public string? Refuses(Prompt prompt) => null;

    public void Answer(IReadOnlyList<AnswerRequest> requests, Action<int, int, GivenAnswer> done, CancellationToken cancel)
    {
        var all = requests.SelectMany((request, r) => request.Streams.Select((stream, s) => (Request: r, Place: s, Stream: stream)))
            .ToArray();
        endpoint.Ask(all.Length,
            i => (Turns(requests[all[i].Request].Prompt), Options(all[i].Stream)),
            (i, reply) => done(all[i].Request, all[i].Place, new(reply.Text, reply.Finished, reply.Tokens,
                FirstTokens: reply.FirstTokens)),
            cancel);
    }

    private static IReadOnlyList<ChatMessage> Turns(Prompt prompt) =>
        prompt.Messages is { } messages ? ChatTurnList.Of(messages, prompt.Place) : [new UserChatMessage(prompt.Text)];

    private ChatCompletionOptions Options(long stream)
    {
        var asked = new ChatCompletionOptions
        {
            MaxOutputTokenCount = _options.MaxNewTokens,
            Temperature = (float)_options.Temperature,
            TopP = (float)_options.TopP,
        };
#pragma warning disable OPENAI001 // a seed is best effort on their side, and harmless where it is not known
        asked.Seed = (long)(SplitMix.Mix(SplitMix.Mix((ulong)_options.Seed) ^ (ulong)stream) >> 33);
#pragma warning restore OPENAI001
        if (firstTokens > 0)
            (asked.IncludeLogProbabilities, asked.TopLogProbabilityCount) = (true, firstTokens);
        foreach (var stop in stops)
            asked.StopSequences.Add(stop);
        return asked;
    }

    public void Dispose()
    {
    }
}
