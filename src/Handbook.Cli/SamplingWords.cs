using System.CommandLine;
using Handbook.Base;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Torch;
using Handbook.Training.Plans;

namespace Handbook.Cli;

/// <summary>The options of a command that lets a model speak; what is not given comes from the model's
/// <c>generation_config.json</c>.</summary>
internal sealed class SamplingWords
{
    private readonly Option<int?> _length = new("--max-new-tokens")
    { Description = "most tokens of an answer; without it the model's own, or 256" };
    private readonly Option<double?> _temperature = new("--temperature")
    { Description = "0 takes the best token, larger values are livelier; without it the model's own, or 0" };
    private readonly Option<double?> _topP = new("--top-p")
    { Description = "draw from the likeliest tokens that reach this probability together" };
    private readonly Option<int?> _topK = new("--top-k") { Description = "draw from this many of the likeliest tokens" };
    private readonly Option<double?> _penalty = new("--repetition-penalty") { Description = "above 1, what was said becomes less likely" };
    private readonly Option<long> _seed = new("--seed")
    {
        Description = "the same seed gives the same answers",
        DefaultValueFactory = _ => 42
    };
    private readonly Option<string[]> _stop = new("--stop")
    { Description = "a text that ends an answer and is not part of it; may be repeated", AllowMultipleArgumentsPerToken = false };
    private readonly Option<string> _dtype = OptionWords.Precision();
    private readonly Option<bool> _useCpu = OptionWords.UseCpu();

    public void AddTo(Command command)
    {
        foreach (var option in (Option[])[_length, _temperature, _topP, _topK, _penalty, _seed, _stop, _dtype, _useCpu])
            command.Options.Add(option);
    }

    /// <summary>The options that say how and where products are computed.</summary>
    public IEnumerable<Option> Computing => [_dtype, _useCpu];

    public DType Compute(ParseResult args) => args.Compute(_dtype);

    public DeviceWish Wish(ParseResult args) => args.Wish(_useCpu);

    public IReadOnlyList<string> Stops(ParseResult args)
    {
        var stops = args.GetValue(_stop) ?? [];
        return !stops.Contains("") ? stops : throw new InputException("--stop is empty", why: "an empty text stands everywhere",
            fix: "name the text that ends an answer, or leave --stop out");
    }

    /// <summary>The options for a model; what they leave open is the model's to say.</summary>
    /// <param name="model">null where the model is elsewhere and says nothing.</param>
    public SamplingOptions Of(ParseResult args, LanguageModel? model)
    {
        var own = model?.Defaults ?? new GenerationDefaults();
        var (temperature, topP, topK) = (args.GetValue(_temperature), args.GetValue(_topP), args.GetValue(_topK));
        // Whoever narrows the sampling wants to sample.
        var wished = SamplingOptions.Of(topP is null && topK is null ? own : own with { DoSample = true });
        var options = wished with
        {
            MaxNewTokens = args.GetValue(_length) ?? wished.MaxNewTokens,
            Temperature = temperature ?? wished.Temperature,
            TopP = topP ?? wished.TopP,
            TopK = topK ?? wished.TopK,
            RepetitionPenalty = args.GetValue(_penalty) ?? wished.RepetitionPenalty,
            Seed = args.GetValue(_seed),
            StopIds = model?.StopIds ?? [],
        };
        options.Validate();
        if (temperature == 0 && (topP is not null || topK is not null))
            Console.Error.WriteLine("note: at temperature 0 the best token is taken; --top-p and --top-k have no effect");
        return options;
    }
}
