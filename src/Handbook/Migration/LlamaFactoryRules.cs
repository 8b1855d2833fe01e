using System.Globalization;
using Handbook.Base;
using Handbook.Training.Methods;

namespace Handbook.Migration;

/// <summary>The settings of LLaMA-Factory: its YAML file, or the words behind <c>llamafactory-cli train</c>.</summary>
internal static class LlamaFactoryRules
{
    private const string Own = "LLaMA-Factory's own default";
    private const string Files = "not needed: the model's and the tokenizer's files say it";
    private const string Pictures = "text alone is trained here";
    private const string Elsewhere = "a command of its own: `handbook generate`, `chat`, `merge` or `quantize`";

    private static readonly MigrationRules s_rules = new MigrationRules()
        .Read("stage", "finetuning_type", "dataset", "dataset_dir", "eval_dataset", "val_size", "max_samples")
        .None("the command trains", "do_train").None("`handbook generate` writes answers", "do_predict")
        .Same("do_eval").Reports().On("template", Template).As("cutoff_len", "max_length").Read("train_on_prompt")
        .None("the last turn of a row can be learnt alone with rows of prompt and completion", "mask_history")
        .On("packing", Packing).On("neat_packing", Packing)
        .As("lora_rank", "lora_r").On("lora_target", LoraTarget)
        .On("additional_target", (draft, setting) => draft.Set("lora_modules_to_save", setting.Texts))
        .On("pissa_init", (draft, setting) => Flag(draft, setting, "init_lora_weights", "pissa"))
        .None("the adapter is saved as it was trained; `handbook merge` makes a model of it", "pissa_convert", "pissa_iter")
        .Read("create_new_adapter").On("adapter_name_or_path", Adapter)
        .Read("quantization_bit", "double_quantization", "quantization_type")
        .On("quantization_method", (draft, setting) => draft.Leave(setting,
            "quantised while it is loaded, as bitsandbytes does; published GPTQ and AWQ "
            + "models are read as they are"))
        .As("pref_beta", "beta").Read("pref_loss", "pref_ftx").As("dpo_label_smoothing", "label_smoothing")
        .As("kto_chosen_weight", "desirable_weight").As("kto_rejected_weight", "undesirable_weight").Same("simpo_gamma", "ld_alpha")
        .As("ref_model", "ref_model_name_or_path")
        .None("a reference is the model as it was before, or the folder of ref_model_name_or_path", "ref_model_adapters",
            "ref_model_quantization_bit")
        .None("one loss is added to another with loss_type: [sigmoid, bco_pair] and loss_weights", "pref_bco_weight")
        .Read("use_dft_loss", "use_galore", "use_apollo", "use_muon", "disable_gradient_checkpointing", "disable_shuffling", "pure_bf16")
        .Read("galore_rank", "galore_scale", "galore_update_interval", "galore_target", "galore_proj_type", "apollo_rank", "apollo_scale",
            "apollo_update_interval", "apollo_target", "apollo_proj", "apollo_proj_type", "apollo_scale_type")
        .None("every matrix is stepped when its turn comes in any case", "galore_layerwise", "apollo_layerwise")
        .None("the limit of a norm's growth stands behind the scale here", "apollo_scale_front")
        .As("moe_aux_loss_coef", "router_aux_loss_coef").As("add_special_tokens", "new_special_tokens").As("neftune_alpha",
            "neftune_noise_alpha")
        .None("tokens of a text are not added; handbook tokenizer train makes a new tokenizer", "add_tokens")
        .On("resize_vocab", (draft, setting) => draft.Leave(setting, "rows of the embedding grow with new_special_tokens by themselves"))
        .None(Files, "rope_scaling", "flash_attn_version", "use_fast_tokenizer", "split_special_tokens", "upcast_layernorm",
            "upcast_lmhead_output",
            "tool_format", "enable_thinking", "cache_dir", "low_cpu_mem_usage", "infer_dtype")
        .None(MigrationRules.Kernels, "flash_attn", "enable_liger_kernel", "use_unsloth", "use_unsloth_gc", "use_v1_kernels", "use_reentrant_gc",
            "shift_attn")
        .None(MigrationRules.Cache, "overwrite_cache", "tokenized_path", "preprocessing_batch_size", "streaming", "buffer_size", "data_shared_file_system")
        .None("a mixture of weights says how much of each set is taken", "mix_strategy", "interleave_probs", "eval_on_each_dataset")
        .None(Pictures, "media_dir", "freeze_vision_tower", "freeze_multi_modal_projector", "freeze_language_model", "image_max_pixels",
            "image_min_pixels",
            "video_max_pixels", "video_min_pixels", "video_fps", "video_maxlen")
        .None(Elsewhere, "export_dir", "export_size", "export_device", "infer_backend", "predict_with_generate", "generation_max_length",
            "generation_num_beams", "max_new_tokens")
        .None(MigrationRules.Trackers, "use_swanlab", "swanlab_project", "swanlab_run_name", "swanlab_mode", "ray_run_name")
        .None("not needed: it is always so here", "plot_loss", "include_effective_tokens_per_second", "print_param_status",
            "compute_accuracy",
            "ignore_pad_token_for_loss").Same("overwrite_output_dir")
        .None(MigrationRules.Stopping, "early_stopping_steps")
        .On("deepspeed", AxolotlRules.DeepSpeed);

    public static void Apply(MigrationDraft draft, IReadOnlyList<ForeignKey> settings)
    {
        draft.Method = Method(draft);
        draft.Tell(draft["stage"]);
        Tuning(draft);
        LlamaFactoryData.Apply(draft);
        s_rules.Apply(draft, settings);
        Losses(draft);
        Optimizer(draft);
        if (draft.Method == TrainingMethod.Cpt && !draft.Has("packing"))
        {
            draft.Set("packing", true, "LLaMA-Factory joins texts to blocks in stage pt, unless packing: false");
            draft.Set("packing_strategy", "wrapped");
        }
        draft.Default("max_length", 2048, Own);
        draft.Default("learning_rate", 5e-5, Own);
        if (draft.Flag("disable_gradient_checkpointing") == true)
            draft.Set("gradient_checkpointing", false, from: draft["disable_gradient_checkpointing"]);
        else
            draft.Default("gradient_checkpointing", true, "always on there, unless disable_gradient_checkpointing");
        if (draft.Flag("pure_bf16") == true)
        {
            draft.Set("bf16", true);
            draft.Leave(draft["pure_bf16"]!, MigrationRules.Masters);
        }
        if (draft.Flag("disable_shuffling") == true)
            draft.Set("train_sampling_strategy", "sequential", from: draft["disable_shuffling"]);
    }

    private static TrainingMethod Method(MigrationDraft draft) => (draft["stage"]?.Text ?? "sft", draft["pref_loss"]?.Text) switch
    {
        ("pt", _) => TrainingMethod.Cpt,
        ("sft", _) => TrainingMethod.Sft,
        ("rm", _) => TrainingMethod.Reward,
        ("dpo", "orpo") => TrainingMethod.Orpo,
        ("dpo", "simpo") => TrainingMethod.Cpo,
        ("dpo", _) => TrainingMethod.Dpo,
        ("kto", _) => TrainingMethod.Kto,
        ("ppo", _) => Unknown(draft, "stage: ppo has no counterpart here", "there is no critic that is trained beside the model",
            "grpo learns from the same prompts and reward model: handbook explain --method grpo"),
        var (stage, _) => Unknown(draft, $"stage: {stage} is no stage of LLaMA-Factory", null, "pt, sft, rm, dpo or kto"),
    };

    private static TrainingMethod Unknown(MigrationDraft draft, string what, string? why, string fix)
    {
        draft.Wrong(draft["stage"]!, what, why, fix);
        return TrainingMethod.Sft;
    }

    private static void Tuning(MigrationDraft draft)
    {
        var kind = draft["finetuning_type"]?.Text ?? "lora";
        if (kind is not ("lora" or "full"))
            draft.Wrong(draft["finetuning_type"]!, $"finetuning_type: {kind} has no counterpart here",
                kind == "freeze" ? "all layers are trained, or adapters on those that layers_to_transform names" : null,
                "finetuning_type: full or lora");
        draft.Tell(draft["finetuning_type"]);
        if (kind != "lora")
            return;
        draft.Set("use_peft", true, draft["finetuning_type"] is null ? "lora, LLaMA-Factory's own default" : null,
            draft["finetuning_type"]);
        draft.Set("lora_r", 8, Own);
        var rank = draft.Number("lora_rank") ?? 8;
        draft.Default("lora_alpha", 2 * rank, "twice the rank, LLaMA-Factory's own default");
        draft.Default("lora_dropout", 0.0, Own);
        if (draft["lora_target"] is null)
            draft.SetTexts("lora_target_modules", Own, "all-linear");
        if (draft["quantization_bit"] is not { } setting || draft.Number(setting) is not { } bits)
            return;
        if (bits is not (4 or 8))
        {
            draft.Leave(setting, "weights are kept in 4 or 8 bits");
            return;
        }
        draft.Set(bits == 4 ? "load_in_4bit" : "load_in_8bit", true, from: setting);
        if (bits == 4)
        {
            draft.Set("use_bnb_nested_quant", draft.Flag("double_quantization") != false, from: draft["double_quantization"]);
            if (draft["quantization_type"] is { } code)
                draft.Take(code, "bnb_4bit_quant_type");
        }
    }

    private static void Template(MigrationDraft draft, ForeignKey setting)
    {
        if (draft.Method == TrainingMethod.Cpt)
            draft.Leave(setting, "texts have no template");
        else if (setting.Text is "chatml" or "zephyr")
            draft.Set("chat_template", setting.Text == "chatml" ? Text.Templates.ChatTemplate.ChatMl : Text.Templates.ChatTemplate.Zephyr,
                $"the template that LLaMA-Factory calls {setting.Text}");
        else
            draft.Leave(setting, "the tokenizer's own template counts, as the model was published with it; chat_template names another");
    }

    private static void Packing(MigrationDraft draft, ForeignKey setting)
    {
        if (draft.Flag(setting.Name) is not { } isOn)
            return;
        if (draft.Method == TrainingMethod.Cpt)
        {
            if (setting.Name == "neat_packing")
                draft.Leave(setting, "texts are joined to one stream, in which all is seen");
            else
                draft.Tell(setting);
            if (setting.Name == "packing" && !isOn)
                draft.Set("packing", false);
        }
        else if (isOn)
            draft.Set("packing", true, draft["neat_packing"] is { IsOn: true } ? null
                : "rows of a block never see each other here, as with neat_packing");
        else if (!draft.Has("packing"))
            draft.Set("packing", false);
    }

    private static void LoraTarget(MigrationDraft draft, ForeignKey setting) =>
        draft.Set("lora_target_modules", setting.Text == "all" ? ["all-linear"] : setting.Texts);

    private static void Adapter(MigrationDraft draft, ForeignKey setting)
    {
        if (draft.Flag("create_new_adapter") == true)
        {
            draft.Tell(draft["create_new_adapter"]);
            draft.Leave(setting, "a new adapter over another one begins from that one's folder: model_name_or_path names it");
        }
        else if (setting.Texts is [var only])
            draft.Set("adapter_name_or_path", only);
        else
            draft.Leave(setting, "one adapter is gone on with; `handbook merge` makes the others a part of the model");
    }

    private static void Flag(MigrationDraft draft, ForeignKey setting, string key, object value)
    {
        if (draft.Flag(setting.Name) == true)
            draft.Set(key, value);
    }

    private static void Losses(MigrationDraft draft)
    {
        var (loss, also) = (draft["pref_loss"], draft.Number("pref_ftx") ?? 0);
        if (draft.Method is TrainingMethod.Cpo or TrainingMethod.Orpo)
            draft.Tell(loss);
        if (draft.Method == TrainingMethod.Cpo)
        {
            draft.SetTexts("loss_type", null, "simpo");
            draft.Set("cpo_alpha", also, "LLaMA-Factory adds no likelihood term, unless pref_ftx", draft["pref_ftx"]);
        }
        else if (draft.Method == TrainingMethod.Orpo)
            draft.Set("orpo_nll", "completion", "LLaMA-Factory counts the answer's tokens alone");
        else if (draft.Method == TrainingMethod.Dpo && loss is not null)
            draft.Take(loss, "loss_type");
        if (draft.Method == TrainingMethod.Dpo && also > 0)
            draft.Set("rpo_alpha", also, string.Create(CultureInfo.InvariantCulture,
                $"pref_ftx: {also}, the weight of the chosen answer's likelihood"), draft["pref_ftx"]);
        else if (also > 0 && draft.Method != TrainingMethod.Cpo)
            draft.Leave(draft["pref_ftx"]!, "added to DPO's and CPO's losses alone");
        if (draft.Flag("use_dft_loss") == true && draft.Method == TrainingMethod.Sft)
            draft.Set("loss_type", (string[])["dft"], from: draft["use_dft_loss"]);
    }

    private static void Optimizer(MigrationDraft draft)
    {
        if (draft.Flag("use_muon") == true)
            draft.Set("optim", "muon", from: draft["use_muon"]);
        foreach (var (flag, optimizer, prefix, scale) in ((string, string, string, string)[])
            [("use_galore", "galore_adamw", "galore", "2.0"), ("use_apollo", "apollo_adamw", "apollo", "32.0")])
            if (draft.Flag(flag) == true)
            {
                draft.Set("optim", optimizer, from: draft[flag]);
                var target = draft[$"{prefix}_target"];
                draft.Set("optim_target_modules", target?.Text is null or "all" ? ["all-linear"] : target.Texts, from: target);
                Projection(draft, prefix, scale);
            }
    }

    // LLaMA-Factory's own numbers are not ours: each is said
    private static void Projection(MigrationDraft draft, string prefix, string scale)
    {
        List<string> arguments = [];
        foreach (var (theirs, ours, usual) in ((string, string, string?)[])[("rank", "rank", "16"),
            ("update_interval", "update_proj_gap", "200"), ("scale", "scale", scale),
            ("proj_type", "proj_type", null), ("proj", "proj", null), ("scale_type", "scale_type", null)])
        {
            var setting = draft[$"{prefix}_{theirs}"];
            if (usual is not null)
                draft.Number(setting);
            if ((setting?.Text ?? usual) is { } value)
                arguments.Add($"{ours}={value.Trim()}");
            draft.Tell(setting);
        }
        draft.Set("optim_args", string.Join(',', arguments), "the projection, with LLaMA-Factory's own numbers where nothing is said");
    }
}
