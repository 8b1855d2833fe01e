using Handbook.Base;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Reports;

namespace Handbook.Migration;

/// <summary>The settings of Axolotl: its YAML file from top to bottom.</summary>
internal static class AxolotlRules
{
    private const string Config = "not needed: config.json and the tokenizer's files say it";
    private const string Placement = "not needed: the machine's own memory is used; zero_stage shares a model out among processes";
    private const string Length = "not needed: no batch is ever padded";

    private static readonly MigrationRules s_rules = new MigrationRules()
        .As("base_model", "model_name_or_path").As("tokenizer_config", "tokenizer_name_or_path").As("revision_of_model", "model_revision")
        .None(Config, "base_model_config", "model_type", "tokenizer_type", "tokenizer_use_fast", "tokenizer_legacy", "cls_model_config",
            "is_falcon_derived_model", "is_llama_derived_model", "is_mistral_derived_model", "is_qwen_derived_model", "processor_type",
            "overrides_of_model_config", "model_config", "lora_fan_in_fan_out", "gptq", "low_cpu_mem_usage")
        .Read("adapter", "load_in_4bit", "load_in_8bit", "lora_target_linear", "lora_target_modules")
        .As("lora_model_dir", "adapter_name_or_path").Same("lora_r", "lora_alpha", "lora_dropout", "lora_modules_to_save",
            "loraplus_lr_ratio")
        .As("peft_use_dora", "use_dora").As("peft_use_rslora", "use_rslora").As("peft_layers_to_transform", "layers_to_transform")
        .As("peft_init_lora_weights", "init_lora_weights").As("peft_layers_pattern", "layers_pattern")
        .As("peft_trainable_token_indices", "trainable_token_indices").As("peft_ensure_weight_tying", "ensure_weight_tying")
        .Read("rl", "reward_model", "datasets", "pretraining_dataset", "val_set_size", "test_datasets")
        .As("sequence_len", "max_length").On("sample_packing", (draft, setting) => draft.Take(setting, "packing", Packed(draft)))
        .As("eval_sample_packing", "eval_packing").As("max_prompt_len", "max_prompt_length")
        .None(Length, "pad_to_sequence_len", "pad_to_multiple_of", "batch_flattening", "multipack_real_batches")
        .As("micro_batch_size", "per_device_train_batch_size").As("eval_batch_size", "per_device_eval_batch_size")
        .Same("gradient_accumulation_steps").On("batch_size", BatchSize)
        .As("num_epochs", "num_train_epochs").On("optimizer", Optimizer).Read("lr_scheduler", "cosine_min_lr_ratio")
        .Read("train_on_inputs").None("rows of a mixture are always shuffled", "shuffle_merged_datasets")
        .None("not needed: a setting that nothing here has is always told", "strict")
        .On("bf16", Precision).On("bfloat16", Precision).On("tf32", TensorFloats).On("gradient_checkpointing", Checkpointing)
        .Read("evals_per_epoch", "saves_per_epoch", "eval_steps", "save_steps", "eval_strategy", "evaluation_strategy", "save_strategy")
        .As("dataset_processes", "dataset_num_proc").As("wandb_name", "run_name").As("wandb_run_name", "run_name")
        .Read("use_tensorboard", "use_wandb", "use_mlflow").On("special_tokens", SpecialTokens).As("tokens", "new_special_tokens")
        .On("chat_template", Template).On("chat_template_jinja", (draft, setting) => draft.Take(setting, "chat_template"))
        .On("deepspeed", DeepSpeed).On("fsdp", Sharded).None("zero_stage: 3 has no such details", "fsdp_config", "fsdp_version",
            "fsdp_final_state_dict_type")
        .As("sequence_parallel_degree", "context_parallel_size").As("context_parallel_size", "context_parallel_size")
        .As("rl_beta", "beta").As("dpo_beta", "beta").As("orpo_alpha", "beta", "λ of the odds ratio, which Axolotl calls orpo_alpha")
        .As("kto_desirable_weight", "desirable_weight").As("kto_undesirable_weight", "undesirable_weight")
        .As("dpo_label_smoothing", "label_smoothing").As("dpo_use_weighting", "use_weighting").Read("dpo_loss_type")
        .As("dpo_use_logits_to_keep", "use_logits_to_keep").On("trl", Trl).Rewards()
        .None(MigrationRules.Kernels, "flash_attention", "xformers_attention", "sdp_attention", "flex_attention", "eager_attention", "s2_attention",
            "flash_attn_cross_entropy", "flash_attn_rms_norm", "flash_attn_fuse_qkv", "flash_attn_fuse_mlp", "flash_optimum",
            "unsloth_cross_entropy_loss", "unsloth_lora_mlp", "unsloth_lora_qkv", "unsloth_lora_o", "unsloth_rms_norm", "unsloth_rope",
            "lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "liger_rope", "liger_rms_norm", "liger_glu_activation",
                "liger_layer_norm",
            "liger_swiglu", "liger_fused_linear_cross_entropy", "cut_cross_entropy", "attn_implementation")
        .None("plugins are Python code; what they compute is built in or has no counterpart", "plugins")
        .None(MigrationRules.Cache, "dataset_prepared_path", "dataset_keep_in_memory", "push_dataset_to_hub", "preprocess_iterable", "skip_prepare_dataset")
        .Same("wandb_project").Same("wandb_entity").As("wandb_group", "wandb_run_group").As("mlflow_run_name", "run_name")
        .None(MigrationRules.Variables, "wandb_mode", "wandb_run_id", "mlflow_tracking_uri", "mlflow_experiment_name")
        .None(MigrationRules.Trackers, "wandb_watch", "wandb_log_model", "hf_mlflow_log_artifacts", "use_comet", "comet_project_name",
            "comet_workspace")
        .None(Placement, "device_map", "max_memory", "gpu_memory_limit", "lora_on_cpu", "ddp", "world_size", "device")
        .None("a run that goes on does so from its last checkpoint by itself", "auto_resume_from_checkpoints")
        .None("a loss that is no number stops the run; no other limit is watched", "loss_watchdog_threshold", "loss_watchdog_patience")
        .None(MigrationRules.Stopping, "early_stopping_patience")
        .None("`handbook merge` makes one model of adapter and base", "merge_lora", "merge_method")
        .None("`handbook inspect` shows rows, `handbook generate` answers", "debug", "eval_table_size", "eval_max_new_tokens",
            "eval_causal_lm_metrics",
            "do_causal_lm_eval", "do_bench_eval", "bench_dataset")
        .None("the template's own system text counts; a system turn of a row wins", "default_system_message")
        .None("the end token of a turn is learnt, whatever the template calls it", "eot_tokens", "train_on_eot")
        .None("only rows that are the same are left out there; nothing is left out here", "dataset_exact_deduplication");

    public static void Apply(MigrationDraft draft, IReadOnlyList<ForeignKey> settings)
    {
        draft.Method = Method(draft);
        draft.Tell(draft["rl"] ?? (draft.Method == TrainingMethod.Reward ? draft["reward_model"] : null));
        Adapter(draft);
        AxolotlData.Apply(draft);
        s_rules.Apply(draft, settings);
        Schedule(draft);
        AxolotlIntervals.Apply(draft);
        Losses(draft);
        // what Axolotl does where nothing is said
        draft.Default("max_length", 512, "Axolotl's own length");
        draft.Default("num_train_epochs", 1.0, "Axolotl's own count");
        draft.Default("per_device_train_batch_size", 1, "Axolotl's own size");
        draft.Default("bf16", true, "Axolotl computes in bfloat16 where the processor can");
        if (!draft.Has("warmup_steps") && !draft.Has("warmup_ratio"))
            draft.Default("warmup_ratio", 0.03, "Axolotl warms up for 3 % of the steps, at most 100");
        var reports = Reports(draft).ToArray();
        if (reports.Length > 0)
            draft.SetTexts("report_to", null, [.. reports.Select(report => report.Name)]);
        foreach (var (_, from) in reports)
            draft.Tell(from);
    }

    /// <summary>Axolotl reports to whatever a setting speaks of.</summary>
    private static IEnumerable<(string Name, ForeignKey? From)> Reports(MigrationDraft draft)
    {
        if (draft.Flag("use_tensorboard") == true)
            yield return (ReportTargets.TensorBoard, draft["use_tensorboard"]);
        if (draft.Flag("use_wandb") ?? draft["wandb_project"] is not null)
            yield return (ReportTargets.Wandb, draft["use_wandb"]);
        if (draft.Flag("use_mlflow") ?? draft["mlflow_tracking_uri"] is not null)
            yield return (ReportTargets.Mlflow, draft["use_mlflow"]);
    }

    private static TrainingMethod Unknown(MigrationDraft draft, string what)
    {
        draft.Wrong(draft["rl"]!, what, fix: "handbook trains with dpo, ipo, kto, orpo, simpo, bco and grpo");
        return TrainingMethod.Dpo;
    }

    private static TrainingMethod Method(MigrationDraft draft) => draft["rl"]?.Text?.ToLowerInvariant() switch
    {
        "dpo" or "ipo" or "true" => TrainingMethod.Dpo,
        "kto" or "kto_pair" => TrainingMethod.Kto,
        "orpo" => TrainingMethod.Orpo,
        "simpo" or "cpo" => TrainingMethod.Cpo,
        "grpo" => TrainingMethod.Grpo,
        "bco" => TrainingMethod.Bco,
        { } other => Unknown(draft, $"rl: {other} has no counterpart here"),
        null when draft.Flag("reward_model") == true => TrainingMethod.Reward,
        null when draft["pretraining_dataset"] is not null || AxolotlData.IsText(draft) => TrainingMethod.Cpt,
        null => TrainingMethod.Sft,
    };

    private static void Adapter(MigrationDraft draft)
    {
        var (adapter, four, eight) = (draft["adapter"], draft.Flag("load_in_4bit") == true, draft.Flag("load_in_8bit") == true);
        var (kind, linear) = (adapter?.Text, draft.Flag("lora_target_linear") == true);
        if (adapter is not null && kind is not ("lora" or "qlora"))
            draft.Wrong(adapter, $"{adapter.Shown} has no counterpart here", fix: "adapter: lora or qlora");
        if (kind is null)
        {
            foreach (var bits in (ForeignKey?[])[four ? draft["load_in_4bit"] : null, eight ? draft["load_in_8bit"] : null])
                if (bits is not null)
                    draft.Leave(bits, "without an adapter there is nothing to train over quantised weights");
            return;
        }
        draft.Set("use_peft", true, from: adapter);
        if (kind == "qlora" || four)
        {
            draft.Set("load_in_4bit", true, from: four ? draft["load_in_4bit"] : adapter);
            draft.Set("use_bnb_nested_quant", true, "Axolotl keeps the scales of 4-bit weights as codes");
        }
        else if (eight)
            draft.Set("load_in_8bit", true, from: draft["load_in_8bit"]);
        draft.Default("lora_dropout", 0.0);
        if (linear)
            draft.Set("lora_target_modules", (string[])["all-linear"], from: draft["lora_target_linear"]);
        if (draft["lora_target_modules"] is { } modules && linear)
            draft.Leave(modules, "lora_target_linear: true takes all linear layers, these among them");
        else if (draft["lora_target_modules"] is { } named)
            draft.Set("lora_target_modules", named.Texts, from: named);
    }

    private static string? Packed(MigrationDraft draft) =>
        draft["sample_packing"] is { IsOn: true } && !draft.Method.Equals(TrainingMethod.Cpt) ? "rows of a block never see each other"
            : null;

    private static void BatchSize(MigrationDraft draft, ForeignKey setting)
    {
        if (draft.Number("micro_batch_size") is > 0 and var micro && draft["gradient_accumulation_steps"] is null
            && draft.Number(setting) is { } all)
            draft.Set("gradient_accumulation_steps", Math.Max(1, (int)(all / micro)), "batch_size / micro_batch_size, on one process");
        else
            draft.Leave(setting, "micro_batch_size and gradient_accumulation_steps say it");
    }

    private static void Optimizer(MigrationDraft draft, ForeignKey setting)
    {
        string? ours = setting.Text switch
        {
            "adamw_hf" or "adamw_torch_fused" or "adamw_apex_fused" or "adamw_anyprecision" or "adamw_torch_xla" => "adamw_torch",
            "adamw_8bit" => "adamw_bnb_8bit",
            "lion_pytorch" or "lion" => "lion_32bit",
            "ao_adamw_8bit" or "ao_adamw_4bit" or "ao_adamw_fp8" => "adamw_bnb_8bit",
            _ => null,
        };
        draft.Take(ours is null ? setting : setting with { Value = new ScalarNode(setting.Value.Span, ours, false) }, "optim",
            setting.Text is { } said && said.StartsWith("ao_", StringComparison.Ordinal) ? $"{said} keeps states of few bits, too" : null);
    }

    private static void Schedule(MigrationDraft draft)
    {
        var schedule = draft["lr_scheduler"];
        if (draft.Number("cosine_min_lr_ratio") is { } least && schedule?.Text is null or "cosine")
        {
            draft.Set("lr_scheduler_type", "cosine_with_min_lr", from: schedule);
            draft.Set("lr_scheduler_kwargs", new Dictionary<string, object?> { ["min_lr_rate"] = least },
                from: draft["cosine_min_lr_ratio"]);
        }
        else if (schedule is not null)
            draft.Take(schedule, "lr_scheduler_type");
        if (!draft.Has("lr_scheduler_type"))
            draft.Default("lr_scheduler_type", "cosine", "Axolotl's own schedule");
    }

    private static void Losses(MigrationDraft draft)
    {
        var (rl, loss) = (draft["rl"]?.Text?.ToLowerInvariant(), draft["dpo_loss_type"]);
        if (loss is not null)
            draft.Take(loss, "loss_type");
        else if (rl is "ipo" or "simpo")
            draft.SetTexts("loss_type", null, rl);
    }

    private static void Precision(MigrationDraft draft, ForeignKey setting)
    {
        var isOn = setting.Text is "full" or "auto" || draft.Flag(setting.Name) == true;
        draft.Set("bf16", isOn, setting.Text == "auto" ? "auto there: where the processor can" : null);
        if (setting.Name == "bfloat16" && isOn)
            draft.Leave(setting, MigrationRules.Masters);
    }

    // auto takes it where the processor can
    private static void TensorFloats(MigrationDraft draft, ForeignKey setting)
    {
        if (setting.Text == "auto")
            draft.Leave(setting, "tf32: true says it here, for a processor that can");
        else
            draft.Take(setting, "tf32");
    }

    private static void Checkpointing(MigrationDraft draft, ForeignKey setting)
    {
        if (setting.Text is "unsloth" or "offload" or "offload_disk" or "legacy")
            draft.Set("gradient_checkpointing", true, $"{setting.Text} there; activations are in the machine's memory here");
        else if (draft.Flag(setting.Name) is { } isOn)
            draft.Set("gradient_checkpointing", isOn);
    }

    private static void SpecialTokens(MigrationDraft draft, ForeignKey setting)
    {
        if (setting.Value is not MapNode map)
        {
            draft.Leave(setting, "not a map of tokens");
            return;
        }
        foreach (var (name, value) in map.Entries)
        {
            var token = new ForeignKey(name.Text, value, name.Span.Line);
            if (token.IsEmpty)
                continue;
            if (token.Name is "eos_token" or "pad_token")
                draft.Take(token, token.Name);
            else if (token.Name == "additional_special_tokens")
                draft.Take(token, "new_special_tokens");
            else
                draft.Leave(token, "the tokenizer's own is kept");
        }
    }

    private static void Template(MigrationDraft draft, ForeignKey setting)
    {
        if (setting.Text == "chatml" || setting.Text == "tokenizer_default_fallback_chatml" && draft["chat_template_jinja"] is null)
            draft.Set("chat_template", ChatTemplate.ChatMl,
                "ChatML; its tokens have to be in the vocabulary, or setup_chat_format: true adds them");
        else if (setting.Text is not ("tokenizer_default" or "jinja"))
            draft.Leave(setting, "the tokenizer's own template counts; chat_template or chat_template_path names another");
    }

    public static void DeepSpeed(MigrationDraft draft, ForeignKey setting)
    {
        if (setting.Text is { } file && !File.Exists(file) && !File.Exists(Path.Combine(draft.Folder, file)))
        {
            var stage = Array.Find(["3", "2", "1"], digit => Path.GetFileName(file).Contains($"zero{digit}",
                StringComparison.OrdinalIgnoreCase)
                || Path.GetFileName(file).Contains($"z{digit}", StringComparison.OrdinalIgnoreCase));
            if (stage is null)
                draft.Leave(setting, "the file is not here; zero_stage: 1, 2 or 3 says what processes share out");
            else
                draft.Set("zero_stage", int.Parse(stage), $"as the name of {Path.GetFileName(file)} tells, which is not here");
        }
        else if (setting.Text is { } found)
            draft.Set("deepspeed", File.Exists(found) ? Path.GetFullPath(found) : Path.Combine(draft.Folder, found));
        else
            draft.Take(setting, "deepspeed");
    }

    private static void Sharded(MigrationDraft draft, ForeignKey setting)
    {
        var words = string.Join(' ', setting.Texts);
        draft.Set("zero_stage", words.Contains("shard_grad_op", StringComparison.Ordinal) ? 2 : 3, $"{setting.Name}: {words}");
    }

    // GRPO's settings stand below `trl`, under TRL's own names
    private static void Trl(MigrationDraft draft, ForeignKey setting)
    {
        if (setting.Value is not MapNode)
            draft.Leave(setting, "not a map of TRL's settings");
    }

    /// <summary>The settings with those below <c>trl</c> among them, as they stand under TRL's own names.</summary>
    public static IReadOnlyList<ForeignKey> WithTrl(IReadOnlyList<ForeignKey> settings) =>
        [.. settings.SelectMany(setting => setting is { Name: "trl", Value: MapNode map }
            ? map.Entries.Select(entry => new ForeignKey(entry.Key.Text, entry.Value, entry.Key.Span.Line)) : [setting])];
}
