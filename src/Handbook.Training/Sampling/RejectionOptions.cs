using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Training.Methods;
using Handbook.Training.Sampling.Endpoints;

namespace Handbook.Training.Sampling;

/// <summary>The keys of rejection sampling beyond those of sampling, scoring and training; each property is one
/// key, in snake_case.</summary>
public sealed record RejectionOptions
{
    /// <summary>Which answers are trained on: <c>best_of_n</c>, the <c>top_k</c> best of each prompt, all that reach a <c>threshold</c>, or
    /// <c>best_vs_worst</c> as preference pairs.</summary>
    [Key(IsUsual = true)]
    public SelectionRule Select { get; init; } = SelectionRule.BestOfN;

    /// <summary>For <c>select: top_k</c>: how many answers of each prompt.</summary>
    public int SelectK { get; init; } = 2;

    /// <summary>Least score of an answer that is trained on (for pairs, of the chosen one); null sets none.</summary>
    public double? SelectThreshold { get; init; }

    /// <summary>For <c>select: best_vs_worst</c>: by how much the chosen answer's score must be the higher; pairs of equal scores
    /// are always left out.</summary>
    public double SelectMargin { get; init; }

    /// <summary>What is trained on the selected answers: <c>sft</c>, <c>dpo</c> or <c>none</c>; null takes <c>dpo</c> for pairs,
    /// <c>sft</c> otherwise.</summary>
    [Key(IsUsual = true)]
    public RoundTraining? TrainMethod { get; init; }

    /// <summary>How often to sample, score, select and train, each time with the model of the round before.</summary>
    [Key(IsUsual = true)]
    public int Rounds { get; init; } = 1;

    /// <summary>Most prompts that are used; null uses all.</summary>
    public int? MaxPrompts { get; init; }

    /// <summary>What the model is told first, in a system turn before every prompt; null for nothing.</summary>
    public string? SystemPrompt { get; init; }

    /// <summary>Answers that are worked on at once.</summary>
    public int SampleBatchSize { get; init; } = 16;

    /// <summary>Texts that end an answer and are not part of it.</summary>
    public IReadOnlyList<string>? StopTexts { get; init; }

    /// <summary>Sample from an OpenAI-compatible endpoint at this address instead of from the model itself; null
    /// samples in this process.</summary>
    public string? SampleBaseUrl { get; init; }

    /// <summary>The model to sample from on the endpoint; naming one without <c>sample_base_url</c> means OpenAI's own.</summary>
    public string? SampleModel { get; init; }

    /// <summary>Whether answers come from an endpoint.</summary>
    public bool SamplesElsewhere => SampleBaseUrl is not null || SampleModel is not null;

    /// <summary>The method of the training stage; null for none.</summary>
    public TrainingMethod? Trains() => TrainMethod switch
    {
        RoundTraining.Sft => Methods.TrainingMethod.Sft,
        RoundTraining.Dpo => Methods.TrainingMethod.Dpo,
        RoundTraining.None => null,
        _ => Select == SelectionRule.BestVsWorst ? Methods.TrainingMethod.Dpo : Methods.TrainingMethod.Sft,
    };

    internal void Validate(MethodOptions recipe, Diagnostics report)
    {
        if (SelectK < 1)
            report.OutOfRange("select_k", SelectK, "must be at least 1", fix: "use 2");
        if (Select == SelectionRule.Threshold && SelectThreshold is null)
            report.Error("select_threshold", "is missing", why: "select: threshold keeps the answers that reach it",
                fix: "add `select_threshold: 1.0`");
        if (SelectMargin < 0)
            report.OutOfRange("select_margin", SelectMargin, "must be 0 or greater", fix: "use 0 to leave out equal scores alone");
        if (Rounds < 1)
            report.OutOfRange("rounds", Rounds, "must be at least 1", fix: "use 1");
        if (MaxPrompts < 1)
            report.OutOfRange("max_prompts", MaxPrompts, "must be at least 1", fix: "remove the key to use all");
        if (SampleBatchSize < 1)
            report.OutOfRange("sample_batch_size", SampleBatchSize, "must be at least 1", fix: "use 16");
        if (StopTexts?.Contains("") == true)
            report.Error("stop_texts", "holds an empty text", why: "an empty text stands everywhere", fix: "remove it");
        if (Select == SelectionRule.BestVsWorst && recipe.Sampling.NumGenerations < 2)
            report.OutOfRange("num_generations", recipe.Sampling.NumGenerations, "must be at least 2",
                why: "a pair needs two answers", fix: "use 8");
        if (recipe.Sampling is { NumGenerations: > 1 } sampling && sampling.IsGreedy())
        {
            var what = $"is {(sampling.Temperature == 0 ? 0 : 1)}, which takes the likeliest token: the {sampling.NumGenerations} answers "
                + "to a prompt are all the same";
            if (Select == SelectionRule.BestVsWorst && !SamplesElsewhere)
                report.Error(sampling.GreedyKey(), what, why: "no answer is then worse than another, so there would be no pair",
                    fix: "use temperature: 1.0 and no top_k");
            else
                report.Warning(sampling.GreedyKey(), what, fix: "use temperature: 1.0 and no top_k, or num_generations: 1");
        }
        if (Trains() == Methods.TrainingMethod.Dpo && Select != SelectionRule.BestVsWorst)
            report.Error("train_method", $"is dpo, but select: {RecipeNames.Of(Select)} gives no pairs",
                fix: "set select: best_vs_worst, or train_method: sft");
        if (Trains() == Methods.TrainingMethod.Sft && Select == SelectionRule.BestVsWorst)
            report.Error("train_method", "is sft, but select: best_vs_worst gives pairs",
                fix: "set select: best_of_n, or train_method: dpo");
        if (Trains() is null && Rounds > 1)
            report.Error("rounds", $"is {Rounds}, but train_method: none trains no model for the next round", fix: "set rounds: 1");
        if (SamplesElsewhere && SampleModel is null)
            report.Error("sample_model", "is missing", why: "an endpoint serves several models", fix: "name the one to sample from");
        if (SamplesElsewhere && Rounds > 1)
            report.Error("rounds", $"is {Rounds}, but the answers come from an endpoint",
                why: "the endpoint's model does not learn, so every round would sample the same", fix: "set rounds: 1");
        if (SamplesElsewhere)
            foreach (var key in EndpointAnswers.Unsendable(recipe.Sampling.TopK ?? 0, recipe.Sampling.MinP ?? 0,
                recipe.Sampling.RepetitionPenalty))
                report.Error(key, "is given, but the answers come from an endpoint, whose interface has no such option",
                    fix: "remove the key and set it where the endpoint is started, or sample in this process");
        EndpointAddress.Check("sample_base_url", SampleBaseUrl, report);
        if (recipe.Training.Evaluates())
            report.Error(recipe.Training.EvalStrategy != IntervalStrategy.No ? "eval_strategy" : recipe.Training.DoEval ? "do_eval"
                : "eval_on_start", "asks for evaluations, but the rows are sampled in this run and none is held out",
                fix: "remove the key, and ask the new model with `handbook generate MODEL --prompts FILE --expect COLUMN`");
    }
}

/// <summary>Which sampled answers are trained on.</summary>
public enum SelectionRule
{
    /// <summary>The best answer to each prompt.</summary>
    [Spelled("best_of_n")] BestOfN,
    /// <summary>The best <c>select_k</c> answers to each prompt.</summary>
    [Spelled("top_k")] TopK,
    /// <summary>Every answer whose score reaches <c>select_threshold</c>.</summary>
    [Spelled("threshold")] Threshold,
    /// <summary>The best and the worst answer to each prompt, as a pair.</summary>
    [Spelled("best_vs_worst")] BestVsWorst,
}

/// <summary>What a round trains.</summary>
public enum RoundTraining
{
    /// <summary>Fine-tuning on the selected answers.</summary>
    [Spelled("sft")] Sft,
    /// <summary>Preference optimisation on the selected pairs.</summary>
    [Spelled("dpo")] Dpo,
    /// <summary>No training: the selected answers are the result.</summary>
    [Spelled("none")] None,
}
