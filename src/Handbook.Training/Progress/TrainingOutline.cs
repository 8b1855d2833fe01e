namespace Handbook.Training.Progress;

/// <summary>What a run is about to do: its banner.</summary>
public sealed record TrainingOutline
{
    /// <summary>E.g. <c>sft runs/tiny-sft</c>.</summary>
    public required string Title { get; init; }

    /// <summary>Rows to train on, counted before they are packed.</summary>
    public required long Examples { get; init; }

    /// <summary>How often each row is seen; a part of an epoch where the steps end within one.</summary>
    public required double Epochs { get; init; }

    /// <summary>Tokens of the model's input in one epoch; null where rows are not counted before.</summary>
    public long? TokensPerEpoch { get; init; }

    /// <summary>Rows of a micro-batch on each device.</summary>
    public required int BatchPerDevice { get; init; }

    /// <summary>Micro-batches whose gradients make one step.</summary>
    public int AccumulationSteps { get; init; } = 1;

    /// <summary>Devices that work on a step together.</summary>
    public int DeviceCount { get; init; } = 1;

    /// <summary>Optimiser steps of the whole run, those before a resume included.</summary>
    public required int Steps { get; init; }

    /// <summary>Steps, at most, whose mean loss the summary compares: those at the beginning and those at the end.</summary>
    public int LossWindow { get; init; } = 10;

    /// <summary>Numbers that the optimiser moves.</summary>
    public required long TrainableParameters { get; init; }

    /// <summary>All parameters, frozen ones included; null where they are the same.</summary>
    public long? Parameters { get; init; }

    /// <summary>The step of the checkpoint that the run continues from; 0 for a new run.</summary>
    public int ResumedStep { get; init; }

    /// <summary>How far into the epochs that checkpoint is; 0 for a new run.</summary>
    public double ResumedEpoch { get; init; }

    /// <summary>Micro-batches of the epoch that the run had already seen.</summary>
    public long SkippedBatches { get; init; }
}
