using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Tokenizing;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Plans;
using Handbook.Training.Sampling;

namespace Handbook.Training.Methods.Rejection;

/// <summary>Rejection sampling: prompts are answered, answers scored and selected, and <c>sft</c> or <c>dpo</c> trains on what was
/// selected.</summary>
internal sealed class RejectionDefinition : AnswerDefinition
{
    public override string Summary => """
        Sample answers, score them, keep the best, and train on these: from prompts to a new model

        Each prompt of the recipe's data gets num_generations answers, from the model itself or from an OpenAI-compatible endpoint (sample_base_url).
        Every answer is scored by reward_funcs: exact_match or number_match with a column of right answers, a regex, a unit_test, a judge on an
        endpoint, a reward_model. select keeps the best_of_n, the top_k, all that reach a threshold, or best_vs_worst as preference pairs; then sft or
        dpo trains on them. rounds: k does it again with the new model. The recipe's training keys are those of `handbook sft` and `handbook dpo`.

        The same command goes on where it was stopped: nothing is sampled or scored twice. output_dir gets the new model, samples.jsonl (every answer
        with its scores, and why it was used or not) and summary.json.

        Examples:
          handbook rejection-sample recipes/tiny/rejection-sample.yaml
          handbook rejection-sample recipes/tiny/rejection-sample.yaml --rounds=2 --num_generations=16
          handbook rejection-sample recipes/tiny/rejection-sample.yaml --select=best_vs_worst       pairs, and dpo on them
          handbook rejection-sample recipes/tiny/rejection-sample.yaml --train_method=none          only the data
          handbook explain reward_funcs select
        """;

    public override IReadOnlyList<string> OtherNames => ["rejection"];

    public override RowUse Use => RowUse.Prompts;

    protected override AnswerShape Shape => AnswerShape.Prompt;

    public override bool ScoresAnswers => true;

    /// <summary>Its own keys; those of the training stage are read through it.</summary>
    public override IEnumerable<string> Measures(MethodOptions run) => run.Rejection.Trains() is { } method ? Of(method).Measures(run) : [];

    public override IReadOnlyList<string> Keys =>
    [
        nameof(DataOptions.Packing), nameof(DataOptions.PackingStrategy), nameof(DataOptions.EvalPacking),
            nameof(DataOptions.DatasetKwargs), nameof(DataOptions.TruncationSide),
        nameof(SftOptions.AutoInsertEmptySystemMsg), nameof(PreferenceOptions.TrlCompat), nameof(PreferenceOptions.MaxCompletionLength),
            nameof(PreferenceOptions.TruncationMode),
        nameof(TrainingOptions.LabelSmoothingFactor), .. KeyNames.Of<GenerationOptions>(), .. KeyNames.Of<ScorerOptions>(),
            .. KeyNames.Of<RejectionOptions>(),
    ];

    public override IReadOnlyList<(string Key, string Why)> Unread =>
    [
        ("resume_from_checkpoint", "which goes on by itself from what it finds"),
            ("auto_insert_empty_system_msg", "system_prompt is what is put before prompts"),
    ];

    public override IReadOnlyList<MethodDefinition> Stages => [Of(TrainingMethod.Sft), Of(TrainingMethod.Dpo)];

    public override MethodDefinition? Trains(MethodOptions run) => run.Rejection.Trains() is { } stage ? Of(stage) : null;

    public override IEnumerable<(string Key, object? Value, KeySource Source)> Defaults(RecipeDialect dialect, PreferenceOptions written) =>
    [
        .. base.Defaults(dialect, written), .. dialect == RecipeDialect.Mixer ? TextDefinition.PackedByDefault : [],
            ("max_prompt_length", 512, KeySource.Method),
    ];

    public override void Check(MethodOptions run, Diagnostics report)
    {
        run.Sampling.Validate(report);
        run.Scoring.Validate(report);
        run.Rejection.Validate(run, report);
    }
}
