using Handbook.Base;
using Handbook.Base.Keys;

namespace Handbook.Training.Schedules;

/// <summary>Whether a run that goes on may have another length: only where the steps already taken had the learning rates
/// that they would have had.</summary>
internal static class LengthChange
{
    /// <param name="before">Steps of the whole run when the checkpoint was saved; 0 where that is not known.</param>
    /// <param name="now">Steps of the whole run by this recipe.</param>
    /// <param name="step">Steps taken.</param>
    /// <param name="checkpoint">Its path, for the message.</param>
    public static void Require(TrainingOptions options, int before, int now, int step, string checkpoint)
    {
        var key = options.MaxSteps > 0 ? "max_steps" : "num_train_epochs";
        if (now < step)
            throw new InputException($"{checkpoint} stands at step {step}, but the recipe ends at step {now}",
                fix: $"raise {key}, or begin anew with --fresh=true or another output_dir");
        if (before == 0 || before == now || options.IgnoreRecipeChanges)
            return;
        var (old, current) = (Schedule(options, before), Schedule(options, now));
        for (var taken = 0; taken < step; taken++)
            if (old.At(taken) != current.At(taken))
                throw new InputException($"{checkpoint} belongs to a run of {before} steps, but the recipe has {now}, and with "
                    + $"lr_scheduler_type {RecipeNames.Of(options.LrSchedulerType)} the length decides the learning rate "
                    + $"of steps already taken: step {taken + 1} had {old.At(taken):g4}, and would have {current.At(taken):g4}",
                    why: "no single recipe would lead to the model that comes out",
                    fix: $"keep {key}; or use lr_scheduler_type: constant from the start; or begin anew with --fresh=true or another "
                        + "output_dir; or go on all the same with --ignore_recipe_changes=true, which run.json records");
    }

    /// <summary>Whether a run of this many steps, at its end, may go on to a greater length.</summary>
    public static bool MayGrow(TrainingOptions options, int steps)
    {
        var (own, longer) = (Schedule(options, steps), Schedule(options, 2 * steps));
        return Enumerable.Range(0, steps).All(step => own.At(step) == longer.At(step));
    }

    private static LearningRateSchedule Schedule(TrainingOptions options, int total) => LearningRateSchedule.Create(options.LrSchedulerType,
        options.LrSchedulerKwargs, options.Warmup(total), total, options.LearningRate);
}
