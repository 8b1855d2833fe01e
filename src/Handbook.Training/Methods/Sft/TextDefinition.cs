using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Training.Methods.Sft;

/// <summary>A method that predicts the tokens of texts: supervised fine-tuning and continued pretraining.</summary>
internal abstract class TextDefinition : MethodDefinition
{
    public override IReadOnlyList<string> Keys =>
    [
        nameof(DataOptions.Packing), nameof(DataOptions.PackingStrategy), nameof(DataOptions.EvalPacking),
            nameof(DataOptions.DatasetKwargs),
        nameof(DataOptions.TruncationSide), nameof(TrainingOptions.LabelSmoothingFactor), nameof(PreferenceOptions.TrlCompat),
        nameof(TrainingOptions.GenerateDuringEval),
    ];

    public override bool BalancesExperts => true;

    public override IEnumerable<string> Measures(MethodOptions run) => ["perplexity", "entropy", "mean_token_accuracy"];

    public override IEnumerable<(string Key, object? Value, KeySource Source)> Defaults(RecipeDialect dialect, PreferenceOptions written) =>
        dialect == RecipeDialect.Mixer
            ? [.. base.Defaults(dialect, written), ("logging_first_step", true, KeySource.Dialect), .. PackedByDefault]
            : base.Defaults(dialect, written);

    /// <summary>Recipes with <c>dataset_mixer</c> always packed.</summary>
    public static IReadOnlyList<(string Key, object? Value, KeySource Source)> PackedByDefault { get; } =
        [("packing", true, KeySource.Dialect), ("packing_strategy", PackingStrategy.Wrapped, KeySource.Dialect)];

    public override IMethodRun Begin(MethodStart start)
    {
        var run = start.Run;
        return new PlainRun(start, new SupervisedMethod(Name, run.Preference.TrlCompat == TrlRelease.V0_24 && !run.Data.PacksBestFit(),
            run.Training.LabelSmoothingFactor, dynamic: run.Preference.LossType is ["dft"]));
    }
}
