using Handbook.Base.Keys;
using Handbook.Data;
using Handbook.Data.Tokenizing;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Optimizers;
using Handbook.Training.Plans;
using Handbook.Training.Reports;
using Handbook.Training.Sampling;

namespace Handbook.Recipes;

/// <summary>Which keys are read under which settings of others: one row for each condition. A key that stands in no row is read
/// always.</summary>
internal static class KeyConditions
{
    /// <summary>For conditions that the reference of keys need not repeat at each of them: what the training stage of a pipeline
    /// reads.</summary>
    private const string Undocumented = "";

    private static readonly string[] s_evaluation = ["do_eval", "eval_strategy", "eval_on_start"];
    private static readonly string[] s_packing = ["packing", "eval_packing", "packing_strategy", "dataset_mixer"];
    private static readonly string[] s_optimizer = ["optim", "adafactor"];
    private static readonly string[] s_endpoint = ["sample_model", "sample_base_url"];
    private static readonly string[] s_stage = ["train_method", "select"];

    /// <summary>Every condition, with the keys that it is of.</summary>
    public static IReadOnlyList<(IReadOnlyList<string> Keys, KeyCondition Condition)> All { get; } =
        [.. Adapters(), .. Data(), .. Training(), .. Evaluation(), .. Preferences(), .. Groups(), .. Scoring(), .. Rejection(), .. OfMethods()];

    private static readonly Lazy<IReadOnlyDictionary<string, KeyCondition[]>> s_byKey = new(() =>
        All.SelectMany(row => row.Keys.Select(key => (key, row.Condition))).GroupBy(pair => pair.key, pair => pair.Condition)
            .ToDictionary(group => group.Key, group => group.ToArray()));

    /// <summary>The conditions of a key, dotted below maps; none where it is read always.</summary>
    public static IReadOnlyList<KeyCondition> Of(string key) => s_byKey.Value.GetValueOrDefault(key, []);

    private static IEnumerable<(IReadOnlyList<string>, KeyCondition)> Adapters()
    {
        string[] ofNew = [.. KeyNames.Of<AdapterOptions>().Select(RecipeNames.Key).Except(["use_peft", "adapter_name_or_path", "lora_dropout",
            "disable_dropout", "loraplus_lr_ratio", "adapter_dtype"])];
        foreach (var (keys, fix) in ((string[], string)[])[
            ([.. ofNew.Except(["lora_target_parameters"]), "lora_dropout", "disable_dropout", "loraplus_lr_ratio", "adapter_dtype"], "add use_peft: true"),
            (["lora_target_parameters"], "add use_peft: true and lora_dropout: 0")])
            yield return When(keys, "with `use_peft`", recipe => recipe.Adapter.UsePeft, "without use_peft: the model's own weights are trained", fix, "use_peft");
        yield return When(ofNew, "where a new adapter begins, without `adapter_name_or_path`",
            recipe => recipe.Adapter.AdapterNameOrPath is null, "beside adapter_name_or_path: that adapter is what its own config says", null,
            "adapter_name_or_path");
        yield return When(["ensure_weight_tying"], "with `lora_modules_to_save` or `trainable_token_indices`",
            recipe => recipe.Adapter is { LoraModulesToSave.Count: > 0 } or { TrainableTokenIndices.Count: > 0 },
            "without lora_modules_to_save: the embedding is not trained", null, "lora_modules_to_save", "trainable_token_indices");
        yield return When(["bnb_4bit_quant_type", "bnb_4bit_compute_dtype", "use_bnb_nested_quant"], "with `load_in_4bit`",
            recipe => recipe.Quantisation.LoadIn4Bit, "without load_in_4bit: true (and use_peft: true)", null, "load_in_4bit");
    }

    private static IEnumerable<(IReadOnlyList<string>, KeyCondition)> Data()
    {
        yield return When(["dataset_splits"], "with `dataset_mixer`",
            recipe => recipe.Data.DatasetMixer is not null, "without dataset_mixer", null, "dataset_mixer");
        yield return When(["dataset_train_split", "dataset_test_split"], "with `dataset_name`",
            recipe => recipe.Data.DatasetName is not null,
            recipe => recipe.Data.DatasetMixer is not null ? "with dataset_mixer: dataset_splits names the splits"
                : "with dataset_mixture: each entry names its split, and test_split_size holds rows out", null, "dataset_name",
                    "dataset_mixer", "dataset_mixture");
        yield return When(["dataset_test_split", "eval_packing"], "where the run evaluates",
            recipe => recipe.Training.Evaluates(), "without evaluations", "add eval_strategy: epoch", s_evaluation);
        yield return When(["text_column"], "by `sft` and `cpt`", recipe => recipe.Definition.ReadsTexts,
            recipe => $"on {recipe.MethodName}, which reads prompts and answers: column_mapping names their columns", null);
        yield return When(["column_mapping"], "where an entry of `dataset_mixture` has none of its own",
            recipe => recipe.Data.DatasetMixture?.Datasets.All(entry => entry.ColumnMapping is not null) != true,
            "beside those of the dataset_mixture entries, which have one each", null, "dataset_mixture");
        yield return When(["packing_strategy"], "where rows are packed",
            Packs, "without packing", "add packing: true", "packing", "eval_packing");
        yield return When(["dataset_kwargs.skip_prepare_dataset"], "Nothing reads it",
            _ => false, "here: rows that hold input_ids are taken as they are, and all others are prepared", null);
        yield return When(["dataset_kwargs.add_special_tokens"], "with `dataset_mixer`",
            recipe => recipe.Dialect == RecipeDialect.Mixer, "without dataset_mixer: the tokenizer says which tokens texts begin with",
            null, "dataset_mixer");
        yield return When(["dataset_kwargs.append_concat_token"], "with `dataset_mixer` and packing",
            recipe => recipe is { Dialect: RecipeDialect.Mixer, Data.Packing: true },
            recipe => recipe.Dialect == RecipeDialect.Mixer ? "without packing" : "without dataset_mixer: every text gets its end token",
            null, "dataset_mixer", "packing");
        yield return When(["truncation_side", "truncation_mode"], "where rows are cut by themselves, not as one stream", CutsRows,
            recipe => recipe.Data.MaxLength is null ? "with max_length: null, which cuts nothing"
                : "with packing_strategy: wrapped, which cuts a stream of rows into blocks and no row",
            "set packing_strategy: bfd", ["max_length", .. s_packing]);
        yield return When(["truncation_mode"], "without `truncation_side`",
            recipe => recipe.Data.TruncationSide is null || Stage(recipe) is not { ReadsTexts: true },
            "beside truncation_side, which says the same", null, "truncation_side");
        yield return When(["completion_only_loss"], "without `assistant_only_loss`",
            recipe => !recipe.Sft.AssistantOnlyLoss, "beside assistant_only_loss: true, which says where the loss is", null,
            "assistant_only_loss");
        yield return When(["auto_insert_empty_system_msg"], "with `dataset_mixer`, and without `trl_compat`",
            recipe => recipe.Dialect == RecipeDialect.Mixer
                && (recipe.Definition.Answers(recipe) is null || recipe.Preference.TrlCompat is null),
            recipe => recipe.Dialect == RecipeDialect.Mixer
                ? $"with trl_compat: \"{RecipeNames.Of(recipe.Preference.TrlCompat!)}\", where no turn is inserted"
                : "without dataset_mixer: no turn is inserted", null, "dataset_mixer", "trl_compat");
    }

    private static IEnumerable<(IReadOnlyList<string>, KeyCondition)> Training()
    {
        yield return When(["adam_beta1", "adam_beta2"], "by the optimisers of AdamW's and Lion's kind",
            recipe => Traits(recipe).ReadsBetas, Optimizer, "set optim: adamw_torch", s_optimizer);
        yield return When(["adam_epsilon"], "by the optimisers of AdamW's kind",
            recipe => Traits(recipe).ReadsEpsilon, Optimizer, "set optim: adamw_torch", s_optimizer);
        yield return When(["optim_target_modules"], "with `optim: galore_adamw` and `apollo_adamw`",
            recipe => Traits(recipe).ReadsTargets, Optimizer, "set optim: galore_adamw", s_optimizer);
        yield return When(["optim"], "without `adafactor: true`",
            recipe => !recipe.Training.Adafactor || recipe.Training.Optim == OptimizerKind.Adafactor, "beside adafactor: true", null,
            "adafactor");
        yield return When(["num_train_epochs"], "with `max_steps: -1`",
            recipe => recipe.Training.MaxSteps <= 0,
            recipe => $"beside max_steps: {recipe.Training.MaxSteps}, which says how long the run is", null, "max_steps");
        yield return When(["warmup_ratio"], "with `warmup_steps: 0`",
            recipe => recipe.Training.WarmupSteps <= 0, recipe => $"beside warmup_steps: {recipe.Training.WarmupSteps}, which wins",
            null, "warmup_steps");
        yield return When(["warmup_ratio", "warmup_steps"],
            "where `lr_scheduler_type` has a warm-up, and with `optim: schedule_free_adamw`",
            recipe => Traits(recipe).ReadsWarmup
                || recipe.Training.LrSchedulerType is not (SchedulerType.Constant or SchedulerType.ReduceLrOnPlateau),
            recipe => $"with lr_scheduler_type: {RecipeNames.Of(recipe.Training.LrSchedulerType)}, which has no warm-up",
            "set lr_scheduler_type: constant_with_warmup", ["lr_scheduler_type", .. s_optimizer]);
        yield return When(["data_seed", "group_by_length"], "where rows are shuffled",
            recipe => !RowPlan.KeepsOrder(recipe), "on rows that keep their order", "set train_sampling_strategy: random",
            "train_sampling_strategy", "shuffle_dataset", "trl_compat");
        yield return When(["dataloader_drop_last"], "where a micro-batch has several rows", recipe => RowsOfAMicroBatch(recipe) > 1,
            "with micro-batches of one row, which are always full", null, "per_device_train_batch_size", "num_generations");
        yield return When(["shuffle_dataset"], "without `train_sampling_strategy`",
            recipe => recipe.Training.TrainSamplingStrategy is null, "beside train_sampling_strategy", null, "train_sampling_strategy");
        yield return When(["save_steps"], "with `save_strategy: steps`",
            recipe => recipe.Training.SaveStrategy == SaveStrategy.Steps,
            recipe => $"with save_strategy: {RecipeNames.Of(recipe.Training.SaveStrategy)}", "set save_strategy: steps", "save_strategy");
        yield return When(["save_total_limit"], "where checkpoints are saved",
            recipe => recipe.Training.SaveStrategy != SaveStrategy.No, "with save_strategy: no", "set save_strategy: steps",
            "save_strategy");
        yield return When(["logging_steps"], "with `logging_strategy: steps`, and for `eval_steps: null`",
            recipe => recipe.Training.LoggingStrategy == IntervalStrategy.Steps
                || recipe.Training is { EvalStrategy: IntervalStrategy.Steps, EvalSteps: null },
            recipe => $"with logging_strategy: {RecipeNames.Of(recipe.Training.LoggingStrategy)}", "set logging_strategy: steps",
            "logging_strategy", "eval_strategy");
        yield return When(["logging_first_step"], "with `logging_strategy: steps`",
            recipe => recipe.Training.LoggingStrategy == IntervalStrategy.Steps,
            recipe => $"with logging_strategy: {RecipeNames.Of(recipe.Training.LoggingStrategy)}", "set logging_strategy: steps",
            "logging_strategy");
        yield return When(["logging_dir"], "where TensorBoard files are written",
            recipe => recipe.Training.WritesTensorBoard(), "without TensorBoard files", "set report_to: tensorboard", "report_to");
        yield return When(["wandb_project", "wandb_entity", "wandb_run_group"], "with `report_to: wandb`",
            recipe => ReportTargets.Has(recipe.Training.ReportTo, ReportTargets.Wandb), "without report_to: wandb",
                "set report_to: wandb", "report_to");
        yield return When(["push_to_hub_organization", "hub_strategy", "hub_private_repo", "hub_always_push", "hub_model_revision"],
            "with `push_to_hub`", recipe => recipe.Hub.PushToHub, "without push_to_hub: nothing is published", "add push_to_hub: true",
            "push_to_hub");
        yield return When(["hub_always_push"], "where checkpoints are published",
            recipe => recipe.Hub.HubStrategy != HubStrategy.End, "with hub_strategy: end", "set hub_strategy: every_save", "hub_strategy");
    }

    private static IEnumerable<(IReadOnlyList<string>, KeyCondition)> Evaluation()
    {
        yield return When(["per_device_eval_batch_size", "generate_during_eval"], "where the run evaluates",
            recipe => recipe.Training.Evaluates(), "without evaluations: the recipe never evaluates",
            "add eval_strategy: epoch, and rows that are held out", s_evaluation);
        yield return When(["do_eval"], "with `eval_strategy: no`",
            recipe => recipe.Training.DoEval || recipe.Training is { EvalStrategy: IntervalStrategy.No, EvalOnStart: false },
            "beside eval_strategy and eval_on_start, which ask for evaluations", null, s_evaluation);
        yield return When(["eval_steps"], "with `eval_strategy: steps`",
            recipe => recipe.Training.EvalStrategy == IntervalStrategy.Steps, EvalStrategy, "set eval_strategy: steps", "eval_strategy");
        yield return When(["eval_delay", "metric_for_best_model", "greater_is_better"], "with `eval_strategy: steps` and `epoch`",
            recipe => recipe.Training.EvalStrategy != IntervalStrategy.No, EvalStrategy, "set eval_strategy: epoch", "eval_strategy");
        yield return When(["metric_for_best_model", "greater_is_better"],
            "with `load_best_model_at_end`, `save_strategy: best` or `save_total_limit`",
            recipe => recipe.Training is { LoadBestModelAtEnd: true } or { SaveStrategy: SaveStrategy.Best }
                || recipe.Training is { SaveTotalLimit: not null, SaveStrategy: not SaveStrategy.No },
            "without load_best_model_at_end: every checkpoint is kept, and the last weights are the model's",
            "set load_best_model_at_end: true", "load_best_model_at_end", "save_strategy", "save_total_limit");
    }

    private static IEnumerable<(IReadOnlyList<string>, KeyCondition)> Preferences()
    {
        yield return When(["ref_model_mixup_alpha", "ref_model_sync_steps"], "with `sync_ref_model`",
            recipe => recipe.Preference.SyncRefModel, "without sync_ref_model: the reference stays as it is", "add sync_ref_model: true",
            "sync_ref_model");
        yield return When(["precompute_ref_log_probs"], "where a reference is asked",
            recipe => !recipe.Preference.ReferenceFree || recipe.Preference.TrlCompat == TrlRelease.V0_24,
            "with reference_free: there is no reference", null, "reference_free", "trl_compat");
        yield return When(["discopop_tau"], Undocumented,
            recipe => recipe.Preference.LossesOr("sigmoid").Contains("discopop"), Losses, "set loss_type: discopop", "loss_type");
        yield return When(["cpo_alpha"], "Not read with `loss_type: alphapo`",
            recipe => recipe.Preference.LossesOr("sigmoid") is not ["alphapo"], "on loss_type alphapo, which has no likelihood term",
            null, "loss_type");
        yield return When(["simpo_gamma"], "with `loss_type: simpo` and `alphapo`",
            recipe => recipe.Preference.LossesOr("sigmoid") is ["simpo"] or ["alphapo"], Losses, "set loss_type: simpo", "loss_type");
        yield return When(["alpha"], "with `loss_type: alphapo`",
            recipe => recipe.Preference.LossesOr("sigmoid") is ["alphapo"], Losses, "set loss_type: alphapo", "loss_type");
        yield return When(["min_density_ratio", "max_density_ratio"], Undocumented,
            recipe => recipe.Preference.UseDensityRatio, "without use_density_ratio", "add use_density_ratio: true", "use_density_ratio");
        yield return When(["max_completion_length"], "Not read by `orpo`, `kto`, `cpo` and `bco` with `trl_compat`",
            recipe => !recipe.Definition.IgnoresCompletionLength(recipe) || recipe.Training.GenerateDuringEval
                && recipe.Training.Evaluates(),
            recipe => $"with trl_compat: \"{RecipeNames.Of(recipe.Preference.TrlCompat!)}\": there it cuts the answers of "
            + "encoder-decoder models alone", null, "trl_compat");
        yield return When(["max_prompt_length"], "where `max_length` is not null, with `dataset_mixer` and `trl_compat: \"0.24\"`",
            ReadsPromptLength, "with max_length: null, as it cuts prompts of rows that are longer than that alone",
            "set max_length: 1024", "max_length", "dataset_mixer", "trl_compat");
        yield return When(["truncation_mode"], "where answers are cut at one end", KeepsOneEnd,
            recipe => recipe.Data.MaxLength is null ? "with max_length: null, which cuts nothing"
                : Trained(recipe) is var trained && trained.Definition.Answers(trained)?.PromptLimit is { } limit
                    ? $"on {recipe.MethodName} with max_prompt_length: {limit} and dataset_mixer: longer prompts are left out, not cut"
                : $"on {recipe.MethodName} here: its rows that are too long are cut by a rule of their own", null, "max_length",
                "max_prompt_length", "trl_compat", "dataset_mixer");
    }

    private static IEnumerable<(IReadOnlyList<string>, KeyCondition)> Groups()
    {
        yield return When(["epsilon", "epsilon_high", "delta"], "where answers are trained on in several steps",
            recipe => recipe.Grpo.NumIterations > 1 || recipe.Grpo.AnswersPerSampling(recipe.Training)
                > (long)recipe.Training.PerDeviceTrainBatchSize * recipe.Training.GradientAccumulationSteps,
            "with answers that are trained on in one step alone: new and old probabilities are the same there, and no ratio is cut",
            "set num_iterations: 2", "num_iterations", "steps_per_generation", "generation_batch_size");
        yield return When(["temperature", "top_p", "min_p"], "where `top_k` is not 1",
            recipe => recipe.Sampling.TopK != 1, "with top_k: 1, which takes the likeliest token", "set top_k: 0", "top_k");
        yield return When(["top_p", "top_k", "min_p"], "where `temperature` is not 0",
            recipe => recipe.Sampling.Temperature != 0, "with temperature: 0, which takes the likeliest token", "set temperature: 1.0",
            "temperature");
    }

    private static IEnumerable<(IReadOnlyList<string>, KeyCondition)> Scoring()
    {
        yield return Of("exact_match", "number_match", "answer_pattern");
        yield return Of("regex", null, "reward_pattern");
        yield return Of("length", null, "min_answer_length", "max_answer_length");
        yield return Of("reward_model", null, "reward_model_name_or_path");
        yield return Of("judge", null, "judge_base_url", "judge_model", "judge_prompt", "judge_pattern", "judge_least", "judge_best");
        yield return Of("unit_test", null, "unit_test_command", "unit_test_file", "unit_test_template", "allow_code", "unit_test_timeout",
            "unit_test_memory_mb");
        yield return When(["reference_column"], "where a scorer reads right answers",
            recipe => Scores(recipe, "exact_match", "number_match", "judge", "unit_test"), Scorers, null, "reward_funcs");
        yield return When(["endpoint_parallel", "endpoint_retries", "endpoint_timeout", "endpoint_key_variable"],
            "where an endpoint is asked",
            AsksEndpoint, "without an endpoint that is asked", null, "reward_funcs", "sample_model", "sample_base_url");

        static (IReadOnlyList<string>, KeyCondition) Of(string scorer, string? other, params string[] keys) =>
            When(keys, Undocumented, recipe => Scores(recipe, scorer) || other is not null && Scores(recipe, other), Scorers,
                $"name {scorer} in reward_funcs", "reward_funcs");
    }

    private static IEnumerable<(IReadOnlyList<string>, KeyCondition)> Rejection()
    {
        yield return When(["select_k"], Undocumented,
            recipe => recipe.Rejection.Select == SelectionRule.TopK, Selection, "set select: top_k", "select");
        yield return When(["select_margin"], Undocumented,
            recipe => recipe.Rejection.Select == SelectionRule.BestVsWorst, Selection, null, "select");
        yield return When(["sample_batch_size"], "where the model answers in this process", recipe => !recipe.Rejection.SamplesElsewhere,
            "on answers of an endpoint: endpoint_parallel says how many are asked for at once", null, s_endpoint);
        yield return When(["max_prompt_length"], Undocumented,
            recipe => !recipe.Rejection.SamplesElsewhere || Stage(recipe) is { ReadsTexts: false } || IsOneRun(recipe),
            "on answers of an endpoint, which judges its prompts itself", null, s_endpoint);
        yield return When(["packing", "packing_strategy", "eval_packing", "dataset_kwargs", "truncation_side", "label_smoothing_factor"],
            Undocumented,
            recipe => Stage(recipe) is { ReadsTexts: true }, Trains, null, s_stage);
        foreach (var key in RecipeKeys.All.Where(key => key.Methods.Count > 0 && MethodDefinition.All.Any(method =>
            method.IsPipeline && key.Serves(method.Method) && !key.Methods.Contains(method.Method))))
            yield return When([key.Name], Undocumented,
            recipe => IsOneRun(recipe) || Stage(recipe) is { } stage && key.Methods.Contains(stage.Method), Trains, null, s_stage);
        yield return When(["max_length", "max_tokens", "dataset_num_proc", "torch_dtype", "truncation_mode", .. OfTheLoop()], Undocumented,
            recipe => Stage(recipe) is not null, Trains, null, s_stage);
    }

    /// <summary>The keys of the training loop that a run without training does not read.</summary>
    private static IEnumerable<string> OfTheLoop() => RecipeKeys.All.Where(key => key.Property?.DeclaringType == typeof(TrainingOptions))
        .Select(key => key.Name)
        .Except(["output_dir", "env", "fresh", "resume_from_checkpoint", "ignore_recipe_changes", "seed", "bf16", "disable_tqdm",
            "do_eval", "eval_strategy", "eval_on_start"]);

    /// <summary>Keys that all methods read but some.</summary>
    private static IEnumerable<(IReadOnlyList<string>, KeyCondition)> OfMethods() =>
        from method in MethodDefinition.All
        from unread in method.Unread
        select When([unread.Key], $"Not read by `{method.Name}`", recipe => recipe.Method != method.Method,
            $"on {method.Name}{(unread.Why.StartsWith("which", StringComparison.Ordinal) ? "," : ":")} {unread.Why}", null);

    private static bool IsOneRun(Recipe recipe) => !recipe.Definition.IsPipeline;

    /// <summary>What the recipe trains with; null where it trains nothing.</summary>
    private static MethodDefinition? Stage(Recipe recipe) => recipe.Definition.Trains(recipe);

    /// <summary>The recipe of the training stage, which for most methods is the recipe itself.</summary>
    private static Recipe Trained(Recipe recipe) => IsOneRun(recipe) || Stage(recipe) is not { } stage ? recipe
        : DerivedRecipe.For(recipe, stage.Method, "", "", "", fresh: false);

    private static bool Packs(Recipe recipe) => Trained(recipe) is var trained
        && (trained.Data.Packing || trained.Data.PacksEvaluation() && trained.Training.Evaluates());

    private static bool CutsRows(Recipe recipe)
    {
        var trained = Trained(recipe);
        return !trained.Definition.ReadsTexts
            || trained.Data.MaxLength is not null && (!IsStream(trained.Data.Packing) || trained.Training.Evaluates()
                && !IsStream(trained.Data.PacksEvaluation()));

        bool IsStream(bool packs) => packs && trained.Data.PackingStrategy == PackingStrategy.Wrapped;
    }

    private static int RowsOfAMicroBatch(Recipe recipe) => RowPlan.StepOptions(recipe).BatchSize;

    private static bool ReadsPromptLength(Recipe recipe) =>
        Trained(recipe) is var trained && trained.Definition.Answers(trained) is not
        {
            MaxLength: null,
            Cut: AnswerCut.LongestAnswer or AnswerCut.BeforeSpecialTokens
        };

    private static bool KeepsOneEnd(Recipe recipe)
    {
        var trained = Trained(recipe);
        if (trained.Definition.Answers(trained with { Preference = trained.Preference with { TruncationMode = TruncationMode.KeepEnd } })
            is not { } rows)
            return true;
        return rows is { KeepsEnd: true, MaxLength: not null } && rows.Cut switch
        {
            AnswerCut.Sequence => true,
            AnswerCut.LongestAnswer or AnswerCut.BeforeSpecialTokens => rows is { MaxPromptLength: not null, PromptLimit: null },
            _ => false,
        };
    }

    private static bool Scores(Recipe recipe, params string[] scorers) => recipe.Scoring.RewardFuncs?.Any(scorers.Contains) == true;

    private static bool AsksEndpoint(Recipe recipe) => Scores(recipe, "judge") || !IsOneRun(recipe) && recipe.Rejection.SamplesElsewhere;

    private static OptimizerTraits Traits(Recipe recipe) => OptimizerTraits.Of(recipe.Training.Optimizer());

    private static string Optimizer(Recipe recipe) =>
        $"with {(recipe.Training.Adafactor ? "adafactor: true" : $"optim: {RecipeNames.Of(recipe.Training.Optim)}")}";

    private static string EvalStrategy(Recipe recipe) => $"with eval_strategy: {RecipeNames.Of(recipe.Training.EvalStrategy)}";

    private static string Losses(Recipe recipe) => $"on loss_type {string.Join(", ", recipe.Preference.LossesOr("sigmoid"))}";

    private static string Scorers(Recipe recipe) => $"with reward_funcs: {string.Join(", ", recipe.Scoring.RewardFuncs ?? [])}";

    private static string Selection(Recipe recipe) => $"with select: {RecipeNames.Of(recipe.Rejection.Select)}";

    private static string Trains(Recipe recipe) => Stage(recipe) is { } stage ? $"where answers are trained on by {stage.Name}"
        : "with train_method: none, which trains nothing";

    private static (IReadOnlyList<string>, KeyCondition) When(IReadOnlyList<string> keys, string only, Func<Recipe, bool> holds,
        Func<Recipe, string> otherwise, string? fix, params string[] reads) =>
        (keys, new(only, holds, otherwise, fix, reads));

    private static (IReadOnlyList<string>, KeyCondition) When(IReadOnlyList<string> keys, string only, Func<Recipe, bool> holds,
        string otherwise, string? fix, params string[] reads) =>
        When(keys, only, holds, _ => otherwise, fix, reads);
}
