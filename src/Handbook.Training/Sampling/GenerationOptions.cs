using Handbook.Base;
using Handbook.Models.Generation;
using Handbook.Training.Methods;

namespace Handbook.Training.Sampling;

/// <summary>The keys that say how answers are sampled; each property is one key, in snake_case.</summary>
public sealed record GenerationOptions
{
    /// <summary>Answers sampled for each prompt.</summary>
    [Key(IsUsual = true)]
    public int NumGenerations { get; init; } = 8;

    /// <summary>The next token's log-probabilities are divided by this before one is drawn; 0 takes the likeliest.</summary>
    public double Temperature { get; init; } = 1.0;

    /// <summary>Draw among the likeliest tokens that together have this share of the probability; 1 draws among all.</summary>
    public double TopP { get; init; } = 1.0;

    /// <summary>Draw among this many of the likeliest tokens; 0 or null draws among all.</summary>
    public int? TopK { get; init; } = 0;

    /// <summary>Draw among the tokens with at least this share of the likeliest one's probability; null draws among all.</summary>
    public double? MinP { get; init; }

    /// <summary>Above 1: what has been said already becomes less likely.</summary>
    public double RepetitionPenalty { get; init; } = 1.0;

    /// <summary>Whether the likeliest token is always taken, so that all answers to a prompt are the same.</summary>
    public bool IsGreedy() => Temperature == 0 || TopK == 1;

    /// <summary>How a model samples with these keys.</summary>
    /// <param name="maxNewTokens">Most tokens of an answer.</param>
    /// <param name="batchSize">Answers that are worked on at once.</param>
    /// <param name="stopIds">Tokens that end an answer.</param>
    internal SamplingOptions Sampling(int maxNewTokens, long seed, int batchSize, IReadOnlyList<int> stopIds) => new()
    {
        MaxNewTokens = maxNewTokens,
        Temperature = Temperature,
        TopP = TopP,
        TopK = TopK ?? 0,
        MinP = MinP ?? 0,
        RepetitionPenalty = RepetitionPenalty,
        Seed = seed,
        StopIds = stopIds,
        BatchSize = batchSize,
    };

    /// <summary>The key that makes it so.</summary>
    internal string GreedyKey() => Temperature == 0 ? "temperature" : "top_k";

    internal void Validate(Diagnostics report)
    {
        if (NumGenerations < 1)
            report.OutOfRange("num_generations", NumGenerations, "must be at least 1", fix: "use 8");
        if (Temperature < 0)
            report.OutOfRange("temperature", Temperature, "must be 0 or greater",
                fix: "use 1.0 to sample as the model predicts, or less to stay closer to the likeliest");
        if (TopP is <= 0 or > 1)
            report.OutOfRange("top_p", TopP, "must be above 0 and at most 1", fix: "use 1.0 to draw among all tokens");
        if (TopK < 0)
            report.OutOfRange("top_k", TopK, "must be 0 or greater", fix: "use 0 to draw among all tokens");
        if (MinP is < 0 or > 1)
            report.OutOfRange("min_p", MinP, "must lie between 0 and 1", fix: "use 0.05, or remove the key");
        if (RepetitionPenalty <= 0)
            report.OutOfRange("repetition_penalty", RepetitionPenalty, "must be greater than 0",
                fix: "use 1.0 for none, 1.1 for a little");
    }
}
