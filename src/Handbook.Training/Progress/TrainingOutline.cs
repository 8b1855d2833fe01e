namespace Handbook.Training.Progress;

/// <summary>What a run is about to do: its banner.</summary>
public sealed record TrainingOutline
{
    /// <summary>E.g. <c>sft runs/tiny-sft</c>.</summary>
    public required string Title { get; init; }

    public required long Examples { get; init; }

    public required double Epochs { get; init; }

    /// <summary>Tokens of the model's input in one epoch; null where rows are not counted before.</summary>
    public long? TokensPerEpoch { get; init; }

    public required int BatchPerDevice { get; init; }

    public int AccumulationSteps { get; init; } = 1;

    public int DeviceCount { get; init; } = 1;

    public required int Steps { get; init; }

    /// <summary>Steps, at most, whose mean loss the summary compares: those at the beginning and those at the end.</summary>
    public int LossWindow { get; init; } = 10;

    public required long TrainableParameters { get; init; }

    /// <summary>All parameters, frozen ones included; null where they are the same.</summary>
    public long? Parameters { get; init; }

    /// <summary>The step of the checkpoint that the run continues from; 0 for a new run.</summary>
    public int ResumedStep { get; init; }

    public double ResumedEpoch { get; init; }

    /// <summary>Micro-batches of the epoch that the run had already seen.</summary>
    public long SkippedBatches { get; init; }
}
