using System.Globalization;
using System.Text.Json;
using Handbook.Models.Generation;
using Handbook.Serving;

namespace Handbook.Server;

/// <summary>How a request wants its answers drawn: the fields that chats and completions have in common.</summary>
internal sealed record SamplingRequest
{
    public required ServedModel Model { get; init; }

    /// <summary>Without its greatest length, which depends on the prompt.</summary>
    public required SamplingOptions Sampling { get; init; }

    /// <summary>Most tokens of an answer; null where the request leaves it open.</summary>
    public required int? Length { get; init; }

    public required int Count { get; init; }

    public required IReadOnlyList<string> Stops { get; init; }

    public required bool Stream { get; init; }

    /// <summary>Whether a last chunk says how many tokens there were.</summary>
    public required bool StreamsUsage { get; init; }

    /// <param name="lengthKeys">The fields that say how long an answer may be; the first that is there counts.</param>
    public static SamplingRequest Read(RequestBody body, ServedModels models, ServerOptions options, params ReadOnlySpan<string> lengthKeys)
    {
        var model = Named(body, models);
        // What is left open is the model's to say, and else the interface's: a temperature of 1.
        var wishes = SamplingOptions.Of(model.Defaults with { DoSample = model.Defaults.DoSample ?? true });
        int? length = null;
        foreach (var key in lengthKeys)
            length ??= (int?)body.Whole(key, 1, int.MaxValue);
        var stream = body.Flag("stream");
        var streaming = body.Inner("stream_options");
        if (streaming is not null && !stream)
            throw body.Wrong("stream_options", "has a meaning only with stream: true");
        var usage = streaming?.Flag("include_usage") ?? false;
        streaming?.Refuse("include_obfuscation", "nothing is padded here", value => value.ValueKind == JsonValueKind.False);
        streaming?.Finish();
        var count = (int)(body.Whole("n", 1, options.MaxAnswers) ?? 1);
        var stops = body.Texts("stop", 16);
        if (stops.Contains(""))
            throw body.Wrong("stop", "has an empty text, which stands everywhere");
        return new()
        {
            Model = model,
            Length = length,
            Count = count,
            Stops = stops,
            Stream = stream,
            StreamsUsage = usage,
            Sampling = wishes with
            {
                Temperature = body.Number("temperature", 0, 100) ?? wishes.Temperature,
                TopP = body.Number("top_p", 1e-9, 1) ?? wishes.TopP,
                TopK = (int)(body.Whole("top_k", -1, int.MaxValue) is { } k ? Math.Max(k, 0) : wishes.TopK),
                MinP = body.Number("min_p", 0, 1) ?? 0,
                RepetitionPenalty = body.Number("repetition_penalty", 0.01, 100) ?? wishes.RepetitionPenalty,
                PresencePenalty = body.Number("presence_penalty", -2, 2) ?? 0,
                FrequencyPenalty = body.Number("frequency_penalty", -2, 2) ?? 0,
                LogitBias = Biases(body, model),
                Seed = body.Whole("seed", long.MinValue, long.MaxValue) ?? Random.Shared.NextInt64(),
                StopIds = model.Prompts.StopIds,
            },
        };
    }

    /// <summary>The model that a request names.</summary>
    /// <exception cref="ApiException">Nothing is called so.</exception>
    public static ServedModel Named(RequestBody body, ServedModels models)
    {
        var name = body.RequireText("model");
        return models.Find(name) ?? throw NotFound(name, models);
    }

    public static ApiException NotFound(string name, ServedModels models) => new(404, $"there is no model "
        + $"\"{(name.Length > 80 ? name[..80] + "…" : name)}\" here; there are: {string.Join(", ", models.All.Select(model => model.Name))}",
        ApiException.Invalid, "model", "model_not_found");

    /// <summary>The settings for a prompt, with room for the answer.</summary>
    /// <param name="unasked">Most tokens of an answer where the request leaves it open.</param>
    /// <exception cref="ApiException">The prompt, or the prompt with the answer, is longer than the window.</exception>
    public AnswerSettings For(int[] prompt, int unasked, string param)
    {
        var room = (long)Model.Window - prompt.Length;
        if (room < 1)
            throw ApiException.Bad(param, $"the prompt has {prompt.Length} tokens, but the model's window is {Model.Window}, answer "
                + "included; shorten the prompt", "context_length_exceeded");
        if (Length > room)
            throw ApiException.Bad(param, $"the prompt has {prompt.Length} tokens and the answer may have {Length}, together more than "
                + $"the model's window of {Model.Window}; ask for at most {room}, or shorten the prompt", "context_length_exceeded");
        return new()
        {
            Sampling = Sampling with { MaxNewTokens = Length ?? (int)Math.Min(room, Model.Defaults.MaxNewTokens ?? unasked) },
            Count = Count,
            Stops = Stops,
        };
    }

    private static Dictionary<int, double> Biases(RequestBody body, ServedModel model)
    {
        var biases = new Dictionary<int, double>();
        if (body.Find("logit_bias") is not { } given)
            return biases;
        if (given.ValueKind != JsonValueKind.Object)
            throw body.Wrong("logit_bias", $"is {RequestBody.Shown(given)}, but must be an object of token ids and numbers");
        foreach (var bias in given.EnumerateObject())
        {
            if (!int.TryParse(bias.Name, NumberStyles.None, CultureInfo.InvariantCulture, out var id)
                || id >= model.Network.Config.VocabularySize)
                throw body.Wrong($"logit_bias.{bias.Name}", "is no token id of the model");
            if (bias.Value.ValueKind != JsonValueKind.Number || bias.Value.GetDouble() is not (>= -100 and <= 100))
                throw body.Wrong($"logit_bias.{bias.Name}", $"is {RequestBody.Shown(bias.Value)}, but must lie between -100 and 100");
            biases[id] = bias.Value.GetDouble();
        }
        return biases;
    }
}
