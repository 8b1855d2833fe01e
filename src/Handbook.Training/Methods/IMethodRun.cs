using Handbook.Base.Progress;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Text.Tokenizers;
using Handbook.Training.Distributed;

namespace Handbook.Training.Methods;

/// <summary>A method at work in one run: its rows with all that belongs to them, and its loss.</summary>
internal interface IMethodRun : IDisposable
{
    /// <summary>The rows that are trained on.</summary>
    ITokenRows Train { get; }

    /// <summary>The rows that are held out; null without evaluations.</summary>
    ITokenRows? Evaluation { get; }

    /// <summary>What is computed of a group of rows.</summary>
    ITrainingMethod Method { get; }

    /// <summary>Opens the files that the method writes, now that the run folder is this run's alone.</summary>
    /// <param name="folder">The run folder.</param>
    /// <param name="firstStep">The step that the run begins with.</param>
    void OpenFiles(RunFolder folder, int firstStep)
    {
    }
}

/// <summary>What a method begins with.</summary>
internal sealed record MethodStart
{
    /// <summary>The options of the run.</summary>
    public required MethodOptions Run { get; init; }

    /// <summary>The model, with its current weights.</summary>
    public required Decoder Model { get; init; }

    /// <summary>Where its weights, or its adapter's, were read from.</summary>
    public required string ModelFolder { get; init; }

    /// <summary>The model that the run began with.</summary>
    public required ModelSource Source { get; init; }

    /// <summary>The folder of its whole weights.</summary>
    public string InitialFolder => Source.Folder;

    /// <summary>Whether the model is as the run began with it, and no checkpoint's.</summary>
    public bool IsFresh => Path.GetFullPath(InitialFolder) == Path.GetFullPath(ModelFolder);

    /// <summary>The model as the run began with it, where adapters are trained: the same weights under other adapters.</summary>
    public Decoder? Initial() => Run.Adapter.UsePeft
        ? Model.With([.. Model.Parameters.Plan.Adapters.Where(adapter => !adapter.IsTrained).Select(adapter => adapter.Name)]) : null;

    public required Tokenizer Tokenizer { get; init; }

    /// <summary>The rows, and what is known of their sources.</summary>
    public required TrainingData Data { get; init; }

    /// <summary>The rows that are held out; null without evaluations.</summary>
    public ITokenRows? Evaluation { get; init; }

    /// <summary>What is known of the training rows.</summary>
    public required RowSurvey Survey { get; init; }

    /// <summary>What is known of the rows that are held out; null without evaluations.</summary>
    public RowSurvey? HeldOutSurvey { get; init; }

    public required IWorkObserver Observer { get; init; }

    /// <summary>Who trains the model together.</summary>
    public Workers Workers { get; init; } = Workers.Alone;

    public CancellationToken Cancel { get; init; }

    /// <summary>Most tokens that go through the network at once.</summary>
    public int MaxTokens => Run.Data.TokensAtOnce();
}

/// <summary>A method that has nothing beside its loss.</summary>
internal sealed class PlainRun(MethodStart start, ITrainingMethod method) : IMethodRun
{
    public ITokenRows Train => start.Data.Train;

    public ITokenRows? Evaluation => start.Evaluation;

    public ITrainingMethod Method => method;

    public void Dispose()
    {
    }
}
