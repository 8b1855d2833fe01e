using Handbook.Training.Progress;

namespace Handbook.Runs;

/// <summary>What came of one round of rejection sampling.</summary>
/// <param name="Round">Its number, from 1.</param>
/// <param name="Prompts">Prompts that were sampled for.</param>
/// <param name="Answers">Answers that were sampled.</param>
/// <param name="MeanScore">Mean of all scores; NaN where nothing has one.</param>
/// <param name="MeanBest">Mean of each prompt's best score; NaN where nothing has one.</param>
/// <param name="Selected">Rows to train on.</param>
/// <param name="NotUsed">Answers that are not used, by reason.</param>
public sealed record RejectionRoundResult(int Round, int Prompts, int Answers, double MeanScore, double MeanBest, int Selected,
    IReadOnlyDictionary<string, int> NotUsed);

/// <summary>What came of a rejection-sampling run.</summary>
public sealed record RejectionResult
{
    /// <summary>How it ended.</summary>
    public required RunEnd End { get; init; }

    /// <summary>The run folder, with every answer in <c>samples.jsonl</c>.</summary>
    public required string Folder { get; init; }

    /// <summary>The folder of the last round's model; null where none was trained.</summary>
    public string? Model { get; init; }

    /// <summary>The rounds that were done, in their order.</summary>
    public IReadOnlyList<RejectionRoundResult> Rounds { get; init; } = [];

    /// <summary>Rows and prompts that were not sampled for, by reason.</summary>
    public IReadOnlyDictionary<string, int> PromptsLeftOut { get; init; } = new Dictionary<string, int>();
}

/// <summary>Also hears what the rounds of a rejection-sampling run gave.</summary>
public interface IRejectionObserver : IRunObserver
{
    /// <summary>Sampling is over, or a round selected nothing to train on.</summary>
    /// <param name="rounds">The rounds so far.</param>
    /// <param name="promptsLeftOut">Rows and prompts that were not sampled for, by reason.</param>
    void Sampled(IReadOnlyList<RejectionRoundResult> rounds, IReadOnlyDictionary<string, int> promptsLeftOut);
}
