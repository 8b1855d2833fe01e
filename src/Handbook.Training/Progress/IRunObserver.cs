using Handbook.Base.Progress;
using Handbook.Training.Metrics;

namespace Handbook.Training.Progress;

/// <summary>Hears what happens in a run: the console, a log, a dashboard. Members that are not implemented do nothing.</summary>
/// <remarks>All of these come from the thread that trains, in the order in which things happen; what takes long in one of them
/// makes the run wait.</remarks>
public interface IRunObserver : IWorkObserver
{
    /// <summary>All that the run needs is there and fits together; from here on its folder is written to.</summary>
    /// <param name="folder">The run folder.</param>
    void Entered(string folder)
    {
    }

    /// <summary>Training is about to begin.</summary>
    void Started(TrainingOutline outline)
    {
    }

    /// <summary>An optimiser step is done.</summary>
    void Stepped(StepReport report)
    {
    }

    /// <summary>The metrics of a step that is logged: <c>loss</c>, <c>grad_norm</c>, <c>learning_rate</c>, ….</summary>
    /// <param name="steps">Optimiser steps done.</param>
    /// <param name="epoch">Epochs done, with fraction.</param>
    /// <param name="metrics">Names with values in full precision.</param>
    void Logged(int steps, double epoch, MetricSet metrics)
    {
    }

    /// <summary>The held-out rows were measured; the names begin with <c>eval_</c>.</summary>
    /// <inheritdoc cref="Logged"/>
    void Evaluated(int steps, double epoch, MetricSet metrics)
    {
    }

    /// <summary>A checkpoint is on disk, whole.</summary>
    /// <param name="checkpoint">Its folder.</param>
    void Saved(string checkpoint)
    {
    }

    /// <summary>Training has ended, or was interrupted after a checkpoint.</summary>
    void Ended(TrainingSummary summary)
    {
    }

    /// <summary>The results of a run that is at its end, as <c>SPLIT_results.json</c> holds them.</summary>
    /// <param name="split"><c>train</c> or <c>eval</c>.</param>
    /// <param name="results">Names with values.</param>
    void Measured(string split, MetricSet results)
    {
    }
}
