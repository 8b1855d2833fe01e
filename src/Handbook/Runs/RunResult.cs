using Handbook.Training.Metrics;

namespace Handbook.Runs;

/// <summary>How a run ended.</summary>
public enum RunEnd
{
    /// <summary>It finished, and its model is in the folder.</summary>
    Finished,

    /// <summary>It had finished before it was started: nothing was done, and no file was changed.</summary>
    WasFinished,

    /// <summary>It was cancelled; what it had done is kept, and the same call goes on from there.</summary>
    Interrupted,
}

/// <summary>What came of a training run.</summary>
public sealed record RunResult
{
    /// <summary>How it ended.</summary>
    public required RunEnd End { get; init; }

    /// <summary>The run folder, where the model is once the run has finished.</summary>
    public required string Folder { get; init; }

    /// <summary>Loss, runtime and speed, as <c>train_results.json</c> has them; null where nothing was trained.</summary>
    public MetricSet? Train { get; init; }

    /// <summary>The evaluation after the last step; null where there was none.</summary>
    public MetricSet? Evaluation { get; init; }

    /// <summary>Whether the model is in the folder: by this run or one before.</summary>
    public bool IsFinished => End != RunEnd.Interrupted;
}
