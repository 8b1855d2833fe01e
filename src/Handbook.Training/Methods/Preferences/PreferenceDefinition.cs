using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Data;
using Handbook.Data.Formats;
using Handbook.Data.Tokenizing;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Plans;

namespace Handbook.Training.Methods.Preferences;

/// <summary>A method that compares or judges the answers in its rows.</summary>
internal abstract class PreferenceDefinition : AnswerDefinition
{
    public override RowUse Use => Shape == AnswerShape.Single ? RowUse.Unpaired : RowUse.Preferences;

    protected override AnswerShape Shape => AnswerShape.Pair;

    public override IReadOnlyList<string> Keys =>
    [
        nameof(SftOptions.AutoInsertEmptySystemMsg), nameof(PreferenceOptions.Beta), nameof(PreferenceOptions.TrlCompat),
        nameof(PreferenceOptions.MaxPromptLength), nameof(PreferenceOptions.MaxCompletionLength), nameof(PreferenceOptions.TruncationMode),
        nameof(PreferenceOptions.SharePrompts), nameof(TrainingOptions.GenerateDuringEval),
        nameof(AdapterOptions.DisableDropout),
    ];

    public override bool DisablesDropout => true;

    public override IEnumerable<string> Measures(MethodOptions run) => ["rewards/chosen", "rewards/rejected", "rewards/margins",
        .. Shape == AnswerShape.Pair ? ["rewards/accuracies"] : Array.Empty<string>(), "logps/chosen", "logps/rejected", "logits/chosen",
        "logits/rejected", "entropy", "mean_token_accuracy"];

    /// <summary>The keys of a reference that is asked for the log-probabilities of answers.</summary>
    protected static IReadOnlyList<string> ReferenceKeys { get; } = [nameof(PreferenceOptions.RefModelNameOrPath),
        nameof(PreferenceOptions.PrecomputeRefLogProbs)];

    /// <summary>The keys of a reference that follows the policy.</summary>
    protected static IReadOnlyList<string> FollowingKeys { get; } =
        [nameof(PreferenceOptions.SyncRefModel), nameof(PreferenceOptions.RefModelMixupAlpha), nameof(PreferenceOptions.RefModelSyncSteps)];

    /// <summary>The loss without <c>loss_type</c>; null where the method has a single loss, which needs no name.</summary>
    protected virtual string? UsualLoss => "sigmoid";

    protected override double? LearningRate(PreferenceOptions written) => 1e-6;

    public override IEnumerable<(string Key, object? Value, KeySource Source)> Defaults(RecipeDialect dialect, PreferenceOptions written)
    {
        foreach (var other in base.Defaults(dialect, written))
            yield return other;
        yield return ("beta", written.BetaOr(), KeySource.Method);
        if (UsualLoss is { } loss)
            yield return ("loss_type", new[] { loss }, KeySource.Method);
        if (Keys.Contains(nameof(PreferenceOptions.PrecomputeRefLogProbs)))
            yield return ("precompute_ref_log_probs", written.PrecomputesReference(), KeySource.Method);
        // a release that is named decides about lengths, whatever names the data
        if (dialect == RecipeDialect.Mixer && written.TrlCompat is null)
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

    public override void Check(MethodOptions run, Diagnostics report)
    {
        if (run.Preference.Beta is <= 0)
            report.OutOfRange("beta", run.Preference.Beta, "must be greater than 0",
                why: "β scales the preference signal; at 0 there is none, below 0 it points the wrong way",
                fix: "use 0.1 (the usual value), or less to let the policy move further");
    }

    /// <summary>In the reference trainers the key is for encoder-decoder models.</summary>
    public override bool IgnoresCompletionLength(MethodOptions run) => run.Preference.TrlCompat is not null;

    /// <summary>Single answers keep their order only where a release is to be reproduced: pairs give all their chosen answers before the
    /// rejected ones, and in that order a model would learn from good answers first and from bad ones afterwards.</summary>
    public override bool KeepsOrder(MethodOptions run) => Shape == AnswerShape.Single && run.Preference.TrlCompat is not null;

    public override SurveyOptions Survey(MethodOptions run) => new()
    {
        CountsAnswers = Shape == AnswerShape.Single,
        Digests = AsksReference(run) && run.Preference.PrecomputesReference(),
    };

    public override void Tell(RowSurvey survey, MethodOptions run, IWorkObserver observer)
    {
        if (Shape == AnswerShape.Single && survey.Answers.OneSided() is { } problem)
            observer.Warned(problem);
    }

    /// <summary>The loss, where it needs nothing of the run but its options.</summary>
    public abstract IPreferenceObjective Objective(PreferenceOptions options);

    public override IMethodRun Begin(MethodStart start) => PreferenceRun.Begin(start, Objective(start.Run.Preference));

    /// <summary>Rows over which a loss is one mean: those of a step, or of a micro-batch where an older release is to be
    /// reproduced.</summary>
    public static int RowsPerGroup(MethodOptions run) =>
        run.Training.PerDeviceTrainBatchSize * (run.Preference.TrlCompat is null ? run.Training.GradientAccumulationSteps * run.BatchProcesses : 1);
}
