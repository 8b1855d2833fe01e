using Handbook.Data;
using Handbook.Models;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;

namespace Handbook.Training;

/// <summary>Everything one run of the loop works on.</summary>
internal sealed record TrainingJob
{
    public required TrainingOptions Options { get; init; }

    /// <summary>Which rows each step has.</summary>
    public required StepPlan Plan { get; init; }

    public required ITrainingMethod Method { get; init; }

    /// <summary>The model to train; its parameters change in place.</summary>
    public required Decoder Model { get; init; }

    public required ITokenRows Train { get; init; }

    /// <summary>Held-out rows; null where nothing is evaluated.</summary>
    public ITokenRows? Evaluation { get; init; }

    /// <summary>Rows before packing, as the results report them.</summary>
    public required int TrainSamples { get; init; }

    /// <inheritdoc cref="TrainSamples"/>
    public int EvaluationSamples { get; init; }

    /// <summary>What the order of rows depends on.</summary>
    public required string DataKey { get; init; }

    /// <summary>Writes the model with its tokenizer, in the published layout, into a folder.</summary>
    public required Action<string> SaveModel { get; init; }

    /// <summary>About how many bytes <see cref="SaveModel"/> writes.</summary>
    public required long ModelBytes { get; init; }

    /// <summary>Share of the adapters' inputs that is dropped in training; 0 for none.</summary>
    public double Dropout { get; init; }

    /// <summary>Called after each evaluation with the number of steps done; null for nothing.</summary>
    public Action<int>? Evaluated { get; init; }

    /// <summary>Who trains the model together.</summary>
    public Workers Workers { get; init; } = Workers.Alone;

    /// <summary>Processes that the batch of a step counts.</summary>
    public int BatchProcesses { get; init; } = 1;

    /// <summary>The step after which training stops with a checkpoint, though the plan goes on; null for its end.</summary>
    public int? LastStep { get; init; }

    /// <summary>Most tokens that go through the network at once.</summary>
    public required int MaxTokens { get; init; }
}
