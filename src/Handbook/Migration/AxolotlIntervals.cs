using Handbook.Training;

namespace Handbook.Migration;

/// <summary>When Axolotl evaluates and saves.</summary>
internal static class AxolotlIntervals
{
    public static void Apply(MigrationDraft draft)
    {
        if (draft.Number("val_set_size") is > 0 || draft["test_datasets"] is not null && draft.Has("dataset_test_split"))
            Set(draft, "eval", "evals_per_epoch", draft["eval_strategy"] ?? draft["evaluation_strategy"]);
        else
            foreach (var name in (string[])["evals_per_epoch", "eval_steps", "eval_strategy", "evaluation_strategy"])
                if (draft[name] is { Text: not "no" } setting && setting.Number != 0 && (name.EndsWith("strategy", StringComparison.Ordinal)
                    || draft.Number(setting) is not null))
                    draft.Leave(setting, "no rows are held out, so nothing is evaluated");
        Set(draft, "save", "saves_per_epoch", draft["save_strategy"]);
    }

    // so many times in an epoch is a share of the whole run: 1 / (times · epochs)
    private static void Set(MigrationDraft draft, string what, string often, ForeignKey? strategy)
    {
        if (draft.Number(often) is > 0 and var times && draft[often] is { } perEpoch)
        {
            var epochs = draft.Number("num_epochs") ?? 1;
            if (draft.Number("max_steps") is > 0)
            {
                draft.Leave(perEpoch, $"max_steps ends the run, so that nobody knows how long an epoch is; {what}_steps says it in steps");
                return;
            }
            draft.Set($"{what}_strategy", times * epochs > 1 ? "steps" : "epoch", from: perEpoch);
            if (times * epochs > 1)
                draft.Set($"{what}_steps", new StepInterval(1 / (times * epochs)),
                    $"{times} in each of {epochs} epochs, as a share of the run");
        }
        else if (strategy is not null)
        {
            draft.Take(strategy, $"{what}_strategy");
            if (strategy.Text == "steps" && draft[$"{what}_steps"] is { } steps)
                draft.Take(steps, $"{what}_steps");
        }
        else if (draft[$"{what}_steps"] is { } every && draft.Number(every) is > 0)
        {
            draft.Set($"{what}_strategy", "steps");
            draft.Take(every, $"{what}_steps");
        }
        else
            draft.Set($"{what}_strategy", draft[often]?.Number == 0 ? "no" : "epoch", from: draft[often]);
    }
}
