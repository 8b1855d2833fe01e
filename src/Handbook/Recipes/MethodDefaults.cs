using Handbook.Base.Keys;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Recipes;

/// <summary>The defaults that depend on the method or on the way a recipe is written; every other default stands in its record.</summary>
internal static class MethodDefaults
{
    /// <summary>The methods that compare or judge answers, and are told so row by row.</summary>
    private static readonly TrainingMethod[] s_answers = [TrainingMethod.Dpo, TrainingMethod.Orpo, TrainingMethod.Kto, TrainingMethod.Cpo,
        TrainingMethod.Bco];

    /// <summary>What holds for keys that the user did not write.</summary>
    /// <param name="written">The preference keys as they are written: the release that is asked for moves some defaults.</param>
    /// <returns>Only what differs from the records.</returns>
    public static IEnumerable<(string Key, object? Value, KeySource Source)> Of(TrainingMethod method, RecipeDialect dialect,
        PreferenceOptions written)
    {
        var mixer = dialect == RecipeDialect.Mixer;
        if (mixer)
        {
            yield return ("learning_rate", 5e-5, KeySource.Dialect);
            yield return ("logging_steps", new StepInterval(500), KeySource.Dialect);
            if (method is TrainingMethod.Sft or TrainingMethod.Cpt or TrainingMethod.Dpo)
                yield return ("logging_first_step", true, KeySource.Dialect);
            if (method is TrainingMethod.Sft or TrainingMethod.Cpt or TrainingMethod.RejectionSample)
            {
                yield return ("packing", true, KeySource.Dialect);
                yield return ("packing_strategy", PackingStrategy.Wrapped, KeySource.Dialect);
            }
            if (method == TrainingMethod.Dpo)
                yield return ("optim", OptimizerKind.RmsProp, KeySource.Dialect);
        }
        else if (LearningRate(method, written) is { } rate)
            yield return ("learning_rate", rate, KeySource.Method);

        if (method is TrainingMethod.RejectionSample || (method == TrainingMethod.Grpo && !written.IsCompatible(TrlRelease.V1_9)))
            yield return ("max_prompt_length", 512, KeySource.Method);
        if (method == TrainingMethod.Grpo)
        {
            yield return ("beta", 0.0, KeySource.Method);
            yield return ("loss_type", new[] { "dapo" }, KeySource.Method);
            yield return ("max_completion_length", 256, KeySource.Method);
        }
        if (!s_answers.Contains(method))
            yield break;
        yield return ("beta", written.BetaOr(), KeySource.Method);
        if (method != TrainingMethod.Orpo)
            yield return ("loss_type", new[] { method switch { TrainingMethod.Kto => "kto", TrainingMethod.Bco => "bco", _ =>
                "sigmoid" } }, KeySource.Method);
        if (method == TrainingMethod.Dpo && written.FDivergenceType == Divergence.Alpha)
            yield return ("f_alpha_divergence_coef", written.AlphaDivergence(), KeySource.Method);
        if (method is TrainingMethod.Dpo or TrainingMethod.Kto or TrainingMethod.Bco)
            yield return ("precompute_ref_log_probs", written.PrecomputesReference(), KeySource.Method);
        if (mixer && written.TrlCompat is null)     // a release that is named decides about lengths, whatever names the data
        {
            yield return ("truncation_mode", TruncationMode.KeepEnd, KeySource.Dialect);
            yield return ("max_length", 512, KeySource.Dialect);
            yield return ("max_prompt_length", 128, KeySource.Dialect);
            yield break;
        }
        yield return ("truncation_mode", written.Truncation(), KeySource.Method);
        if (!written.IsCompatible(TrlRelease.V1_9))
            yield return ("max_prompt_length", 512, KeySource.Method);
    }

    private static double? LearningRate(TrainingMethod method, PreferenceOptions written) => method switch
    {
        TrainingMethod.Dpo or TrainingMethod.Orpo or TrainingMethod.Kto or TrainingMethod.Cpo or TrainingMethod.Grpo => 1e-6,
        TrainingMethod.Bco => written.IsCompatible(TrlRelease.V0_24) ? 5e-5 : 5e-7,      // 0.24 took the one of its base class
        TrainingMethod.Reward => 1e-4,
        _ => null,
    };

    /// <summary>A key's defaults, each with the methods it is for, in words; empty words for what holds elsewhere.</summary>
    public static IReadOnlyList<(string Value, string Where)> Words(RecipeKey key)
    {
        TrainingMethod[] methods = [.. Enum.GetValues<TrainingMethod>().Where(key.Serves)];
        var usual = YamlWriter.Flow(key.Default);
        var newer = methods.Select(method => (Value: Default(method, RecipeDialect.Mixture), Method: method)).ToArray();
        var older = methods.Select(method => (Value: Default(method, RecipeDialect.Mixer), Method: method)).Except(newer).ToArray();
        return
        [
            .. newer.Any(entry => entry.Value == usual) ? new[] { (usual, "") } : [],
            .. newer.Where(entry => entry.Value != usual).GroupBy(entry => entry.Value).Select(group => (group.Key, Names(group))),
            .. older.GroupBy(entry => entry.Value).Select(group =>
            (group.Key, (group.Count() == methods.Length ? "" : Names(group) + " ") + "with dataset_mixer")),
        ];

        string Default(TrainingMethod method, RecipeDialect dialect) =>
            YamlWriter.Flow(Of(method, dialect, new()).Where(other => other.Key == key.Name).Select(other => other.Value)
                .FirstOrDefault(key.Default));

        static string Names(IEnumerable<(string Value, TrainingMethod Method)> group) =>
            string.Join(", ", group.Select(entry => RecipeNames.Of(entry.Method)));
    }
}
