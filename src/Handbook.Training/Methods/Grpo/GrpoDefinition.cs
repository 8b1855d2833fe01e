using Handbook.Base;
using Handbook.Data;
using Handbook.Data.Formats;
using Handbook.Data.Tokenizing;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Plans;
using Handbook.Training.Sampling;

namespace Handbook.Training.Methods.Grpo;

/// <summary>Group-relative policy optimisation: prompts, which the model answers itself.</summary>
internal sealed class GrpoDefinition : AnswerDefinition
{
    public override string Summary => "Train a model on its own answers: those that score above their group become likelier";

    public override MethodPaper? Paper => new("DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
        "2402.03300",
        "shao2024deepseekmath", "Zhihong Shao and Peiyi Wang and Qihao Zhu and Runxin Xu and Junxiao Song and Xiao Bi and Haowei "
        + "Zhang and Mingchuan Zhang and Y. K. Li and Y. Wu and Daya Guo", 2024);

    public override RowUse Use => RowUse.Prompts;

    protected override AnswerShape Shape => AnswerShape.Prompt;

    public override string RowNoun => "answers";

    public override Type Losses => typeof(GrpoAggregation);

    public override bool BalancesExperts => true;

    public override bool ScoresAnswers => true;

    public override IEnumerable<string> Measures(MethodOptions run) =>
    [
        "reward", "reward_std", "frac_reward_zero_std", "entropy", "kl", "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean",
        "clip_ratio/low_min", "clip_ratio/high_max", "completions/mean_length", "completions/min_length", "completions/max_length",
        "completions/clipped_ratio", "completions/mean_terminated_length", "completions/min_terminated_length", "completions/max_terminated_length",
        .. (run.Scoring.RewardFuncs ?? []).SelectMany(name => (string[])[$"rewards/{name}/mean", $"rewards/{name}/std"]),
    ];

    public override IReadOnlyList<string> Keys =>
    [
        nameof(SftOptions.AutoInsertEmptySystemMsg), nameof(PreferenceOptions.Beta), nameof(PreferenceOptions.LossType),
            nameof(PreferenceOptions.SyncRefModel),
        nameof(PreferenceOptions.RefModelMixupAlpha), nameof(PreferenceOptions.RefModelSyncSteps),
            nameof(PreferenceOptions.RefModelNameOrPath), nameof(PreferenceOptions.TrlCompat),
        nameof(PreferenceOptions.MaxPromptLength), nameof(PreferenceOptions.MaxCompletionLength), nameof(PreferenceOptions.SharePrompts),
        nameof(AdapterOptions.DisableDropout), .. KeyNames.Of<GenerationOptions>(), .. KeyNames.Of<ScorerOptions>(), .. KeyNames.Of<GrpoOptions>(),
    ];

    public override IReadOnlyList<(string Key, string Why)> Unread =>
        [("max_length", "max_prompt_length and max_completion_length say how long rows may be")];

    protected override double? LearningRate(PreferenceOptions written) => 1e-6;

    public override IEnumerable<(string Key, object? Value, KeySource Source)> Defaults(RecipeDialect dialect, PreferenceOptions written)
    {
        foreach (var other in base.Defaults(dialect, written))
            yield return other;
        if (!written.IsCompatible(TrlRelease.V1_9))
            yield return ("max_prompt_length", 512, KeySource.Method);
        yield return ("beta", 0.0, KeySource.Method);
        yield return ("loss_type", new[] { "dapo" }, KeySource.Method);
        yield return ("max_completion_length", 256, KeySource.Method);
    }

    public override void Check(MethodOptions run, Diagnostics report)
    {
        run.Sampling.Validate(report);
        run.Scoring.Validate(report);
        LossNames.Check<GrpoAggregation>(run.Preference.LossType ?? ["dapo"], Name, report);
        run.Grpo.Validate(run, report);
    }

    public override (string Keys, int Length)? LongestRow(MethodOptions run) =>
        run.Preference is { MaxPromptLength: { } prompt, MaxCompletionLength: { } answer }
            ? ("max_prompt_length + max_completion_length", prompt + answer) : null;

    public override WrittenAnswers? Writes(MethodOptions run)
    {
        var processes = run.BatchProcesses;
        return new(run.Sampling.NumGenerations, Math.Min(GrpoRun.AnswersAtOnce, run.Grpo.AnswersPerSampling(run.Training, processes) / processes),
            run.Preference.MaxPromptLength, run.Preference.MaxCompletionLength ?? 256);
    }

    public override bool KeepsOrder(MethodOptions run) => !run.Grpo.ShuffleDataset;

    /// <summary>The keys count answers; the rows of a step are their prompts, taken as often as answers are trained on.</summary>
    public override StepPlanOptions Steps(StepPlanOptions steps, MethodOptions run)
    {
        if (run.Sampling.NumGenerations < 1)
            return steps;       // a mistake that is reported elsewhere
        var (prompts, microBatches) = GrpoOptions.PromptsPerStep(run.Training, run.Sampling);
        return steps with
        {
            BatchSize = prompts,
            AccumulationSteps = microBatches,
            PassLength = run.Grpo.StepsPerSampling(run.Training, run.BatchProcesses),
            Passes = run.Grpo.NumIterations
        };
    }

    public override bool AsksReference(MethodOptions run) => run.Preference.BetaOr(0) != 0;

    public override IMethodRun Begin(MethodStart start) => new GrpoRun(start);
}
