using Handbook.Data;

namespace Handbook.Training;

/// <summary>After which steps a run logs, evaluates and saves.</summary>
internal sealed class Intervals(TrainingOptions options, StepPlan plan)
{
    public int Logging { get; } = options.LoggingSteps.Resolve(plan.TotalSteps);

    public int Evaluation { get; } = (options.EvalSteps ?? options.LoggingSteps).Resolve(plan.TotalSteps);

    public int Saving { get; } = options.SaveSteps.Resolve(plan.TotalSteps);

    /// <param name="step">Steps done.</param>
    public bool Logs(int step) => options.LoggingStrategy switch
    {
        IntervalStrategy.Steps => step % Logging == 0 || (step == 1 && options.LoggingFirstStep),
        IntervalStrategy.Epoch => EndsEpoch(step),
        _ => false,
    };

    /// <param name="step">Steps done.</param>
    /// <param name="epoch">Epochs done, with fraction.</param>
    public bool Evaluates(int step, double epoch) => options.EvalStrategy switch
    {
        IntervalStrategy.Steps => step % Evaluation == 0 && step >= options.EvalDelay,
        IntervalStrategy.Epoch => EndsEpoch(step) && epoch >= options.EvalDelay,
        _ => false,
    };

    /// <summary>Also after the last step, where steps are the measure.</summary>
    public bool Saves(int step) => options.SaveStrategy switch
    {
        SaveStrategy.Steps => step % Saving == 0 || step == plan.TotalSteps,
        SaveStrategy.Epoch => EndsEpoch(step),
        _ => false,
    };

    private bool EndsEpoch(int step) =>
        step == plan.TotalSteps
            || Math.Floor(plan[step - 1].EpochAfter + 1e-9) > (step == 1 ? 0 : Math.Floor(plan[step - 2].EpochAfter + 1e-9));
}
