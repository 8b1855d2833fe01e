using Handbook.Hub;
using Handbook.Recipes;
using Handbook.Training.Distributed;
using Handbook.Training.Plans;

namespace Handbook.Runs;

/// <summary>What is known of a run before its first step.</summary>
/// <param name="Recipe">What to train.</param>
/// <param name="Start">Whether it begins anew or goes on.</param>
/// <param name="Plan">What the recipe comes to.</param>
/// <param name="Rows">The rows, read and judged.</param>
/// <param name="CommandLine">What the user typed; null where the run was not started by a command.</param>
internal sealed record RunSetup(Recipe Recipe, RunStart Start, TrainingPlan Plan, RunRows Rows, string? CommandLine)
{
    /// <summary>Who publishes the run meanwhile; null for nobody.</summary>
    public HubPublisher? Publisher { get; init; }

    /// <summary>The step after which the run stops with a checkpoint; null for its end.</summary>
    public int? LastStep { get; init; }

    /// <summary>Who trains the model together.</summary>
    public Workers Workers { get; init; } = Workers.Alone;
}
