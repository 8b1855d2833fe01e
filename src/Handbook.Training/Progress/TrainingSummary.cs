namespace Handbook.Training.Progress;

/// <summary>How a run ended: its last lines.</summary>
public sealed record TrainingSummary
{
    /// <summary>False where the run was interrupted, or stopped at a step that was asked for.</summary>
    public bool Finished { get; init; } = true;

    /// <summary>Whether it stopped at a step that was asked for, before its end.</summary>
    public bool StoppedAsAsked { get; init; }

    /// <summary>Time that the training thread waited for data.</summary>
    public TimeSpan Waited { get; init; }

    /// <summary>Held-out loss at the end; null where there was no evaluation.</summary>
    public double? EvalLoss { get; init; }

    /// <summary>The most memory that was in use; null where it is not known.</summary>
    public long? PeakMemoryBytes { get; init; }

    /// <summary>The most bytes that tensors took at a time: what grows with the model, its states and its batches. Mapped files are not among
    /// them. Null where nobody counts.</summary>
    public long? PeakTensorBytes { get; init; }

    /// <summary>Lines to add: rows left out by reason, where the model is, ….</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];
}
