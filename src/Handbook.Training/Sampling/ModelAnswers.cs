using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Training.Sampling;

/// <summary>Answers of a model in this process.</summary>
/// <param name="model">Owned from here on.</param>
/// <param name="options">How to draw; the model's end tokens are added.</param>
/// <param name="stops">Texts that end an answer.</param>
/// <param name="textsAreTurns">Whether a prompt that is a text is what a user says, not a text to go on from.</param>
/// <param name="maxPrompt">Most tokens of a prompt; null for any.</param>
/// <param name="cutsPrompts">Whether a longer prompt loses its beginning; otherwise it is refused.</param>
internal sealed class ModelAnswers(LanguageModel model, SamplingOptions options, IReadOnlyList<string> stops, bool textsAreTurns,
    int? maxPrompt = null, bool cutsPrompts = false) : IAnswerSource
{
    private readonly SamplingOptions _options = options with { StopIds = [.. options.StopIds.Union(model.StopIds)] };

    /// <summary>Of a conversation that the model's chat template has no form for.</summary>
    internal const string RefusedByTemplate = "refused by the chat template";

    public string Name => model.Folder;

    public string? Refuses(Prompt prompt) => Refuses(prompt, model.Prompts, cutsPrompts ? null : Longest(model.Network.Config, maxPrompt), textsAreTurns);

    /// <summary>Why a model cannot be asked this; null where it can.</summary>
    internal static string? Refuses(Prompt prompt, PromptEncoder encoder, DecoderConfig config, bool textsAreTurns, int? maxPrompt) =>
        Refuses(prompt, encoder, Longest(config, maxPrompt), textsAreTurns);

    private static int? Longest(DecoderConfig config, int? maxPrompt) =>
        config.Positions == PositionKind.Learned ? Math.Min(maxPrompt ?? int.MaxValue, config.MaxPositions) : maxPrompt;

    private static string? Refuses(Prompt prompt, PromptEncoder encoder, int? most, bool textsAreTurns)
    {
        try
        {
            var length = encoder.Encode(prompt, textsAreTurns).Length;
            return length == 0 ? "prompt without a token" : length > most ? $"prompt longer than {most} tokens" : null;
        }
        catch (TemplateException)
        {
            return RefusedByTemplate;
        }
    }

    public void Answer(IReadOnlyList<AnswerRequest> requests, Action<int, int, GivenAnswer> done, CancellationToken cancel)
    {
        var prompts = requests.Select(request => model.Prompts.Encode(request.Prompt, textsAreTurns)).ToArray();
        var isCut = Array.ConvertAll(prompts, prompt => cutsPrompts && prompt.Length > maxPrompt);
        var asked = requests.Select((request, r) =>
            new SampleRequest(isCut[r] ? prompts[r][^maxPrompt!.Value..] : prompts[r], request.Streams)).ToArray();
        var texts = requests.Select((request, r) =>
            request.Streams.Select(_ => new AnswerText(model.Tokenizer, stops, IsTurn(request.Prompt) ? [] : asked[r].Tokens)).ToArray())
            .ToArray();
        new Generator(model.Network).Sample(asked, _options, (r, s, token) =>
        {
            texts[r][s].Append(token);
            return !texts[r][s].Stopped;
        }, (r, s, answer) =>
        {
            texts[r][s].Finish();
            done(r, s, new(texts[r][s].Text, answer.Finish == FinishReason.Stop, answer.Tokens.Length,
                answer.LogProbs.Sum() + (answer.EndLogProb ?? 0), IsCut: isCut[r]));
        }, cancel);
    }

    private bool IsTurn(Prompt prompt) => prompt.Messages is not null || textsAreTurns;

    public void Dispose() => model.Dispose();
}
