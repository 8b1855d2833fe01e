using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Sampling;

namespace Handbook.Training.Methods.Grpo;

/// <summary>The keys of group-relative policy optimisation beyond those of sampling and of the reference; each property is one key, in
/// snake_case.</summary>
/// <remarks><c>beta</c>, <c>loss_type</c>, <c>max_prompt_length</c>, <c>max_completion_length</c>, <c>ref_model_name_or_path</c> and
/// <c>sync_ref_model</c> stand in <see cref="PreferenceOptions"/>, <c>num_generations</c>, <c>temperature</c> and their like in
/// <see cref="GenerationOptions"/>, <c>reward_funcs</c> and <c>reward_weights</c> in <see cref="ScorerOptions"/>.</remarks>
public sealed record GrpoOptions
{
    /// <summary>What a group's rewards are divided by after their mean is taken away: the spread of the <c>group</c>, of the <c>batch</c>,
    /// or <c>none</c>.</summary>
    public RewardScaling ScaleRewards { get; init; } = RewardScaling.Group;

    /// <summary>ε: how far below 1 the ratio of new to old probability counts.</summary>
    public double Epsilon { get; init; } = 0.2;

    /// <summary>How far above 1 the ratio counts; DAPO uses 0.28. null takes <c>epsilon</c>.</summary>
    public double? EpsilonHigh { get; init; }

    /// <summary>The greatest ratio that counts where the advantage is negative; null sets no such limit.</summary>
    public double? Delta { get; init; }

    /// <summary>Whether ratios are taken per <c>token</c> (GRPO) or as one mean per <c>sequence</c> (GSPO).</summary>
    public RatioLevel ImportanceSamplingLevel { get; init; } = RatioLevel.Token;

    /// <summary>Shuffle the prompts of each epoch; false takes them in the order of the data.</summary>
    [Key(Elsewhere = "train_sampling_strategy says how rows are ordered")]
    public bool ShuffleDataset { get; init; } = true;

    /// <summary>Under <c>zero_stage: 3</c>, gather all weights once for answers; <c>false</c> gathers layer by layer for every token, in
    /// less memory.</summary>
    public bool Ds3GatherForGeneration { get; init; } = true;

    /// <summary>μ: passes over the same answers before new ones are sampled.</summary>
    public int NumIterations { get; init; } = 1;

    /// <summary>Micro-batches that are sampled for at once; null takes <c>gradient_accumulation_steps</c>: one sampling per step.</summary>
    public int? StepsPerGeneration { get; init; }

    /// <summary>Answers that are sampled at once, another way to write <c>steps_per_generation</c>; null lets that key decide.</summary>
    public int? GenerationBatchSize { get; init; }

    /// <summary>Leave answers that reached <c>max_completion_length</c> without an end out of the loss.</summary>
    public bool MaskTruncatedCompletions { get; init; }

    /// <summary>Write the sampled answers with their rewards to <c>completions.jsonl</c> in the run folder.</summary>
    public bool LogCompletions { get; init; }

    /// <summary>The upper clip range.</summary>
    public double ClipHigh() => EpsilonHigh ?? Epsilon;

    /// <summary>Answers that are sampled at once.</summary>
    /// <param name="processes">Processes that the batch of a step counts.</param>
    public int AnswersPerSampling(TrainingOptions training, int processes = 1) =>
        GenerationBatchSize ?? training.PerDeviceTrainBatchSize * processes * (StepsPerGeneration ?? training.GradientAccumulationSteps);

    /// <summary>Prompts of a micro-batch, and micro-batches of a step: both count answers in the recipe. A group that is larger than a
    /// micro-batch makes the step one.</summary>
    public static (int Prompts, int MicroBatches) PromptsPerStep(TrainingOptions training, GenerationOptions sampling) =>
        training.PerDeviceTrainBatchSize % sampling.NumGenerations == 0
        ? (training.PerDeviceTrainBatchSize / sampling.NumGenerations, training.GradientAccumulationSteps)
        : (training.PerDeviceTrainBatchSize * training.GradientAccumulationSteps / sampling.NumGenerations, 1);

    /// <summary>Steps that one sampling serves in each pass.</summary>
    /// <exception cref="InputException">The answers that are sampled at once are not those of whole steps of so many processes.</exception>
    public int StepsPerSampling(TrainingOptions training, int processes = 1)
    {
        var (answers, step) = (AnswersPerSampling(training, processes), training.PerDeviceTrainBatchSize * training.GradientAccumulationSteps
            * processes);
        return processes == 1 || answers % step == 0 ? answers / step
            : throw new InputException($"generation_batch_size: {answers} answers are sampled at once, which is not a multiple of the {step} of a "
                + $"step on {processes} processes", why: "answers are sampled for one step or for several: the weights do not change within one",
                fix: "remove the key to sample once per step");
    }

    internal void Validate(MethodOptions recipe, Diagnostics report)
    {
        if (Epsilon is < 0 or >= 1)
            report.OutOfRange("epsilon", Epsilon, "must be at least 0 and below 1", why: "ratios below 1 − ε are cut; at 1 nothing is",
                fix: "use 0.2 (the paper's value)");
        if (EpsilonHigh < 0)
            report.OutOfRange("epsilon_high", EpsilonHigh, "must be 0 or greater",
                fix: "use 0.28 (DAPO's value), or remove the key to take epsilon");
        if (EpsilonHigh is >= 0 and var high && high < Epsilon)
            report.Warning("epsilon_high", $"is {high}, below epsilon {Epsilon}",
                why: "a good answer may then grow likelier by less than a bad one may grow unlikelier; the upper side is meant to be "
                + "the wider one",
                fix: "use 0.28 (DAPO's value), or remove the key to take epsilon");
        if (Delta is { } delta && delta <= 1 + ClipHigh())
            report.OutOfRange("delta", delta, $"must be greater than 1 + epsilon = {1 + ClipHigh()}",
                why: "below that it would cut what the usual clip lets through", fix: "use 4.0, or remove the key");
        if (NumIterations < 1)
            report.OutOfRange("num_iterations", NumIterations, "must be at least 1", fix: "use 1");
        if (StepsPerGeneration is < 1)
            report.OutOfRange("steps_per_generation", StepsPerGeneration, "must be at least 1",
                fix: "remove the key to sample once per step");
        if (StepsPerGeneration is not null && GenerationBatchSize is not null)
            report.Error("generation_batch_size", "is given together with steps_per_generation",
                why: "each says how many answers are sampled at once", fix: "remove one of the two");
        if (recipe.Preference.BetaOr(0) < 0)
            report.OutOfRange("beta", recipe.Preference.Beta, "must be 0 or greater",
                why: "β weighs the distance to the reference; below 0 it drives the policy away", fix: "use 0 for no reference, or 0.001");
        if (recipe.Sampling.IsGreedy())
            report.Error(recipe.Sampling.GreedyKey(), $"is {(recipe.Sampling.Temperature == 0 ? 0 : 1)}, which takes the likeliest token",
                why: "all answers to a prompt would be the same, and none better than another",
                fix: "use temperature: 1.0 and no top_k");
        if (recipe.Preference is { RefModelNameOrPath: not null } or { SyncRefModel: true } && recipe.Preference.BetaOr(0) == 0)
            report.Error("beta", "is 0, but the recipe says something of a reference", why: "at 0 no reference is asked",
                fix: "use beta: 0.04, or remove ref_model_name_or_path and sync_ref_model");
        Groups(recipe, report);
    }

    private void Groups(MethodOptions recipe, Diagnostics report)
    {
        var (training, group) = (recipe.Training, recipe.Sampling.NumGenerations);
        var (size, step) = (AnswersPerSampling(training), training.PerDeviceTrainBatchSize * training.GradientAccumulationSteps);
        var sizeKey = GenerationBatchSize is not null ? "generation_batch_size" : StepsPerGeneration is not null ? "steps_per_generation"
            : "num_generations";
        var byMicroBatch = recipe.Preference.LossType is ["bnpo"];
        if (group < 2)
            report.OutOfRange("num_generations", group, "must be at least 2",
                why: "an answer's advantage is its reward compared with the group's mean",
                fix: Enumerable.Range(2, 7).Reverse().FirstOrDefault(Fits) is > 0 and var fitting ? $"use {fitting}" : Cure(8));
        if (group < 2 || step < 1)
            return;
        var cure = Cure(group);
        if (size < 1 || size % group != 0)
            report.Error(GenerationBatchSize is null ? "num_generations" : "generation_batch_size",
                $"is {(GenerationBatchSize is null ? group : size)}: {size} answers are sampled at once, which is not a multiple of "
                    + $"num_generations {group}",
                why: "a group of answers to one prompt is sampled whole", fix: cure);
        else if (step % group != 0)
            report.Error("num_generations", $"is {group}, but a step has {step} answers, which is not a multiple of it",
                why: "a group of answers to one prompt is trained on in one step", fix: cure);
        else
        {
            if (size % step != 0)
                report.Error(sizeKey, $"lets {size} answers be sampled at once, which is not a multiple of the {step} of a step",
                    why: "answers are sampled for one step or for several: the weights do not change within one",
                    fix: "remove the key to sample once per step");
            if (byMicroBatch && training.PerDeviceTrainBatchSize % group != 0)
                report.Error("loss_type", $"is bnpo, but per_device_train_batch_size {training.PerDeviceTrainBatchSize} is not a multiple "
                    + $"of num_generations {group}", why: "that loss is a mean over each micro-batch, and groups are whole",
                    fix: "use loss_type: dapo, the mean over the step");
        }

        bool Fits(int answers) => size > 0 && step > 0 && size % step == 0 && step % answers == 0
            && (!byMicroBatch || training.PerDeviceTrainBatchSize % answers == 0);

        // the least batch of at least this size whose steps hold whole groups; sampling once per step then fits as well
        string Cure(int answers)
        {
            var whole = byMicroBatch ? answers : answers / GreatestDivisor(answers, Math.Max(1, training.GradientAccumulationSteps));
            var batch = ((long)Math.Max(1, training.PerDeviceTrainBatchSize) + whole - 1) / whole * whole;
            string[] own = [.. GenerationBatchSize is null ? [] : (string[])["generation_batch_size"],
                .. StepsPerGeneration is null ? [] : (string[])["steps_per_generation"]];
            return (answers == group ? "" : $"use {answers}, ") + $"set per_device_train_batch_size: {batch}"
                + (own.Length == 0 ? "" : $" and remove {string.Join(" and ", own)}");
        }

        static int GreatestDivisor(int a, int b) => b == 0 ? a : GreatestDivisor(b, a % b);
    }
}

/// <summary>What rewards are divided by after their group's mean is taken away.</summary>
public enum RewardScaling
{
    /// <summary>The spread of the rewards of one prompt.</summary>
    [Spelled("group", "true", "True")] Group,
    /// <summary>The spread of all rewards of a step.</summary>
    [Spelled("batch")] Batch,
    /// <summary>Nothing: rewards keep their size.</summary>
    [Spelled("none", "false", "False", "no")] None,
}

/// <summary>How often the ratio of new to old probability is taken.</summary>
public enum RatioLevel
{
    /// <summary>For each token by itself (GRPO).</summary>
    [Spelled("token")] Token,
    /// <summary>Once for the whole answer, the mean over its tokens (GSPO).</summary>
    [Spelled("sequence")] Sequence,
}
