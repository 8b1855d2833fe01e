using Handbook.Base;

namespace Handbook.Models.Generation;

/// <summary>How an answer is drawn; names and order of the steps as in the Python library.</summary>
public sealed record SamplingOptions
{
    /// <summary>Most tokens of an answer.</summary>
    public int MaxNewTokens { get; init; } = 256;

    /// <summary>Logits are divided by it; 0 takes the best token.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>Keep the most likely tokens whose probabilities reach this sum; 1 keeps all.</summary>
    public double TopP { get; init; } = 1;

    /// <summary>Keep this many of the most likely tokens; 0 keeps all.</summary>
    public int TopK { get; init; }

    /// <summary>Keep the tokens with at least this share of the most likely one's probability; 0 keeps all. Nguyen et al.
    /// 2024, arXiv:2407.01082.</summary>
    public double MinP { get; init; }

    /// <summary>Logits of tokens that already occurred are divided (positive ones) or multiplied (negative ones) by it. Keskar et
    /// al. 2019, arXiv:1909.05858.</summary>
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>Subtracted from the logits of tokens that the answer has said already.</summary>
    public double PresencePenalty { get; init; }

    /// <summary>Subtracted from the logit of a token for each time that the answer has said it.</summary>
    public double FrequencyPenalty { get; init; }

    /// <summary>Added to the logits of single tokens.</summary>
    public IReadOnlyDictionary<int, double> LogitBias { get; init; } = System.Collections.Immutable.ImmutableDictionary<int, double>.Empty;

    /// <summary>How many of the likeliest tokens of each place are told with it.</summary>
    public int TopLogProbs { get; init; }

    /// <summary>Seed of the draws; each row has its own numbers, whatever the batch.</summary>
    public long Seed { get; init; } = 42;

    /// <summary>Ids that end an answer; they are not part of it.</summary>
    public IReadOnlyList<int> StopIds { get; init; } = [];

    /// <summary>Rows that are worked on at once; a finished row makes room for the next.</summary>
    public int BatchSize { get; init; } = 16;

    /// <summary>How a model wishes to be sampled; as in the Python library its temperature counts only where it
    /// wants to be drawn from.</summary>
    public static SamplingOptions Of(GenerationDefaults wishes) => new()
    {
        MaxNewTokens = wishes.MaxNewTokens ?? 256,
        Temperature = wishes.DoSample == true ? wishes.Temperature ?? 1 : 0,
        TopP = wishes.TopP ?? 1,
        TopK = wishes.TopK ?? 0,
        RepetitionPenalty = wishes.RepetitionPenalty ?? 1,
    };

    /// <summary>Refuses what no answer can be drawn with.</summary>
    /// <exception cref="InputException">A value is out of its range.</exception>
    public void Validate()
    {
        if (MaxNewTokens < 1)
            throw new InputException($"max-new-tokens is {MaxNewTokens}, but must be at least 1", fix: "use 256, or remove the option");
        if (!(Temperature >= 0) || !double.IsFinite(Temperature))
            throw new InputException($"temperature is {Temperature}, but must be 0 (the best token) or greater",
                fix: "use 0.7 for lively answers, 0 for the same answer every time");
        if (!(TopP > 0 && TopP <= 1))
            throw new InputException($"top-p is {TopP}, but must be greater than 0 and at most 1", fix: "use 0.9, or 1 for all tokens");
        if (TopK < 0)
            throw new InputException($"top-k is {TopK}, but must be 0 (all) or greater", fix: "use 50, or 0 for all tokens");
        if (!(MinP >= 0 && MinP <= 1))
            throw new InputException($"min-p is {MinP}, but must lie between 0 and 1", fix: "use 0.05, or 0 for all tokens");
        if (!(RepetitionPenalty > 0) || !double.IsFinite(RepetitionPenalty))
            throw new InputException($"repetition-penalty is {RepetitionPenalty}, but must be greater than 0",
                fix: "use 1 for none, 1.1 for a little");
        if (!double.IsFinite(PresencePenalty) || !double.IsFinite(FrequencyPenalty) || LogitBias.Values.Any(bias => !double.IsFinite(bias)))
            throw new InputException("a penalty or a bias is not a finite number", fix: "use 0 for none, or a number from -2 to 2");
        if (TopLogProbs < 0)
            throw new InputException($"top-logprobs is {TopLogProbs}, but must be 0 (none) or greater", fix: "use 5, or 0");
        if (BatchSize < 1)
            throw new InputException($"batch-size is {BatchSize}, but must be at least 1", fix: "use 16");
    }
}
