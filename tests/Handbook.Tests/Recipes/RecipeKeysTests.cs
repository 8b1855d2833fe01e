using System.Reflection;
using System.Text;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Optimizers;

namespace Handbook.Tests.Recipes;

public sealed class RecipeKeysTests
{
    /// <summary>Keys that work by themselves within <c>Recipes/</c>: read by a method of their record, which the rest of the code
    /// calls.</summary>
    private static readonly Dictionary<string, string> s_readThrough = new()
    {
        ["dataloader_drop_last"] = "StepPlan",
        ["model_revision"] = "ModelNameOrPath",         // the loader puts it behind the name
        ["hub_model_id"] = "Repository",
        ["push_to_hub_organization"] = "Repository",
        ["dataset_mixer"] = "Mixture",
        ["dataset_splits"] = "Mixture",
        ["dataset_configs"] = "Mixture",
        ["dataset_mixture"] = "Mixture",
        ["dataset_name"] = "Mixture",
        ["dataset_config"] = "Mixture",
        ["dataset_train_split"] = "Mixture",
        ["dataset_test_split"] = "Mixture",
        ["column_mapping"] = "Mixture",
        ["dataset_encoding"] = "Mixture",
        ["sample_by"] = "Mixture",
        ["max_tokens"] = "TokensAtOnce",
        ["tokenizer_name_or_path"] = "TokenizerPath",
        ["eval_packing"] = "PacksEvaluation",
        ["warmup_ratio"] = "Warmup",
        ["warmup_steps"] = "Warmup",
        ["metric_for_best_model"] = "BestMetric",
        ["greater_is_better"] = "BestIsGreatest",
        ["report_to"] = "WritesTensorBoard",
        ["do_eval"] = "Evaluates",
        ["optim"] = "Optimizer",
        ["adafactor"] = "Optimizer",
        ["optim_args"] = "OptimizerArguments",
        ["beta"] = "BetaOr|Beta",
        ["loss_type"] = "LossesOr|LossType",
        ["loss_weights"] = "WeightAt|LossWeights",
        ["f_alpha_divergence_coef"] = "AlphaDivergence|FAlphaDivergenceCoef",
        ["trl_compat"] = "IsCompatible|TrlCompat",
        ["new_special_tokens"] = "NewSpecialTokens|TokensToAdd",
        ["truncation_mode"] = "Truncation|TruncationMode",
        ["precompute_ref_log_probs"] = "PrecomputesReference|PrecomputeRefLogProbs",
        ["reward_weights"] = "WeightAt",
        ["epsilon_high"] = "ClipHigh",
        ["steps_per_generation"] = "StepsPerSampling",
        ["generation_batch_size"] = "StepsPerSampling",
        ["train_method"] = "Trains",
    };

    [Fact]
    public void The_values_of_a_loss_are_listed_for_each_method_with_a_few_words()
    {
        var text = KeyReference.Explain("loss_type");
        foreach (var (method, values) in new[] { ("sft", "nll dft"),
            ("dpo", "sigmoid hinge ipo exo_pair nca_pair robust bco_pair sppo_hard aot aot_unpaired apo_zero apo_down discopop sft "
            + "sigmoid_norm kto_pair"),
            ("kto", "kto apo_zero_unpaired"), ("cpo", "sigmoid hinge ipo simpo alphapo"), ("bco", "bco"),
                ("grpo", "dapo grpo dr_grpo bnpo") })
        {
            var lines = text[text.IndexOf($"  for handbook {method}:\n", StringComparison.Ordinal)..].Split('\n').Skip(1)
                .TakeWhile(line => line.StartsWith("    ", StringComparison.Ordinal)).ToArray();
            Assert.Equal(values.Split(' '), lines.Select(line => line.Trim().Split(' ')[0]));
            Assert.All(lines, line => Assert.Matches(@"^    \S+ +\S.{15,}$", line));
        }
        Assert.Contains("  values:\n    bfd ", KeyReference.Explain("packing_strategy"));
    }

    [Fact]
    public void Number_28_no_key_is_parsed_and_ignored()
    {
        var code = new StringBuilder();
        foreach (var file in Directory.EnumerateFiles(Path.Combine(SharedFiles.Repository, "src"), "*.cs", SearchOption.AllDirectories))
            if (!file.Contains("/obj/") && !file.Contains("/Recipes/"))
                code.Append(File.ReadAllText(file));
        var text = code.ToString();
        Assert.SkipUnless(text.Contains("class TrainingRun"), "nothing trains yet, so nothing reads the keys");
        var records =
            new Regex(@"([tT]raining|[hH]ub|[dD]ata|[mM]odel|[sS]ft|[oO]ptions|[rR]ecipe|[pP]reference|[rR]eward|[sS]ampling|[gG]rpo|[sS]coring|[rR]ejection|[kK]eys|[aA]dapter|[qQ]uantisation)$");
        var read = Regex.Matches(text, @"(\w+)\.(?=(\w+))")
            .Select(match => (Record: match.Groups[1].Value, Property: match.Groups[2].Value)).Distinct()
            .Where(pair => records.IsMatch(pair.Record)).Select(pair => pair.Property).ToHashSet();
        // what a record makes of its own keys is read where this is asked for
        foreach (Match made in Regex.Matches(text, @"internal [\w?]+ (Config|Quantisation)\(.*?;\n", RegexOptions.Singleline))
            if (read.Contains(made.Groups[1].Value))
                read.UnionWith(Regex.Matches(made.Value, @"\w+").Select(word => word.Value));
        var unread = RecipeKeys.All
            .Where(key => key.Property is not null && key.Disposition == Disposition.Works)
            .Where(key => !s_readThrough.GetValueOrDefault(key.Name, key.Property!.Name).Split('|').Any(read.Contains))
            .Select(key => key.Name);
        Assert.Equal([], unread);
    }

    [Fact]
    public void Every_key_says_what_it_means()
    {
        foreach (var key in RecipeKeys.All)
        {
            Assert.True(KeyReference.Meaning(key).Length > 10, key.Name);
            Assert.EndsWith(".", KeyReference.Meaning(key));
        }
    }

    [Fact]
    public void Every_name_stands_once()
    {
        var names = RecipeKeys.All.SelectMany(key => key.Aliases.Prepend(key.Name)).ToArray();
        Assert.Equal(names.Order(), names.Distinct().Order());
    }

    [Fact]
    public void Every_default_has_its_key_s_type()
    {
        foreach (var key in RecipeKeys.All.Where(key => key.Default is not null))
            Assert.True((Nullable.GetUnderlyingType(key.Type) ?? key.Type).IsInstanceOfType(key.Default), key.Name);
    }

    [Fact]
    public void The_printed_reference_is_current() =>
        Assert.Equal(File.ReadAllText(Path.Combine(SharedFiles.Repository, "docs/recipe-keys.md")), KeyReference.Markdown());

    [Fact] // the keys of the Python handbook's recipes, of its classes and of the trainers it is built on
    public void Every_key_of_the_Python_handbook_has_an_answer()
    {
        string[] unknown = [.. PythonKeys.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)
            .Where(name => RecipeKeys.Find(name) is null)];
        Assert.Equal([], unknown);
    }

    [Theory]
    [InlineData("learning_rte", "learning_rate")]
    [InlineData("per_device_train_batchsize", "per_device_train_batch_size")]
    [InlineData("per_device_batch_size", "per_device_train_batch_size")]
    [InlineData("num_epochs", "num_train_epochs")]
    [InlineData("epochs", "num_train_epochs")]
    [InlineData("lr", "learning_rate")]
    [InlineData("batch-size", "per_device_train_batch_size")]
    [InlineData("model", "model_name_or_path")]
    [InlineData("dataset", "dataset_name")]
    [InlineData("warmup", "warmup_ratio")]
    [InlineData("scheduler", "lr_scheduler_type")]
    [InlineData("grad_accum", "gradient_accumulation_steps")]
    [InlineData("output", "output_dir")]
    [InlineData("seq_len", "max_length")]
    [InlineData("max_sequence_length", "max_seq_length")]
    [InlineData("xyz", null)]
    public void The_nearest_key_is_the_one_meant(string typed, string? meant) =>
        Assert.Equal(meant, RecipeKeys.Nearest(typed, TrainingMethod.Sft));

    [Fact]
    public void Every_synonym_means_a_key_and_is_none()
    {
        Assert.DoesNotContain(KeySynonyms.All, pair => RecipeKeys.Find(pair.Value) is not { Disposition: Disposition.Works });
        Assert.DoesNotContain(KeySynonyms.All, pair => RecipeKeys.Find(pair.Key) is not null);
    }

    [Fact]
    public void Every_key_that_may_change_on_resume_is_a_key() =>
        Assert.DoesNotContain(ResumeRules.Free, name => RecipeKeys.Find(name) is null);

    [Theory] // by hand: one swap; one replacement; two insertions; beyond the limit
    [InlineData("lerning", "lrening", 1)]
    [InlineData("beta", "bete", 1)]
    [InlineData("seed", "seeded", 2)]
    [InlineData("a", "abcdefgh", 4)]
    public void Distance_counts_typing_mistakes(string a, string b, int expected) => Assert.Equal(expected, Spelling.Distance(a, b, 3));

    private const string PythonKeys = """
        _n_gpu accelerator_config activation_offloading adafactor adam_beta1 adam_beta2 adam_epsilon assistant_only_loss attn_implementation
        auto_find_batch_size auto_insert_empty_system_msg average_tokens_across_devices base_model_attribute_name base_model_revision batch_eval_metrics beta
        bf16 bf16_full_eval bnb_4bit_quant_storage bnb_4bit_quant_type chat_template chat_template_path completion_only_loss data_seed dataloader_drop_last
        dataloader_num_workers dataloader_persistent_workers dataloader_pin_memory dataloader_prefetch_factor dataset_config dataset_configs dataset_kwargs
        dataset_mixer dataset_mixture dataset_name dataset_num_proc dataset_splits dataset_streaming dataset_test_split dataset_text_field dataset_train_split
        datasets_mixer ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb ddp_find_unused_parameters ddp_timeout debug deepspeed disable_dropout disable_tqdm
        discopop_tau dispatch_batches do_eval do_predict do_train env eos_token eval_accumulation_steps eval_delay eval_do_concat_batches eval_on_start
        eval_packing eval_steps eval_strategy eval_use_gather_object evaluation_strategy f_alpha_divergence_coef f_divergence_type force_use_ref_model fp16
        fp16_backend fp16_full_eval fp16_opt_level fsdp fsdp_config fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap full_determinism
        generate_during_eval gradient_accumulation_steps gradient_checkpointing gradient_checkpointing_kwargs gradient_checkpointing_use_reentrant
        greater_is_better group_by_length half_precision_backend hub_always_push hub_model_id hub_model_revision hub_private_repo hub_revision hub_strategy
        hub_token ignore_bias_buffers ignore_data_skip include_for_metrics include_inputs_for_metrics include_num_input_tokens_seen include_tokens_per_second
        is_encoder_decoder jit_mode_eval label_names label_pad_token_id label_smoothing label_smoothing_factor ld_alpha learning_rate length_column_name
        liger_kernel_config load_best_model_at_end load_in_4bit load_in_8bit local_rank log_level log_level_replica log_on_each_node logging_dir
        logging_first_step logging_nan_inf_filter logging_steps logging_strategy lora_alpha lora_dropout lora_modules_to_save lora_r lora_target_modules
        lora_task_type loss_type lr_scheduler_kwargs lr_scheduler_type max_completion_length max_grad_norm max_length max_prompt_length max_seq_length
        max_steps metric_for_best_model model_adapter_name model_code_revision model_init_kwargs model_name_or_path model_revision mp_parameters
        neftune_noise_alpha no_cuda num_train_epochs optim optim_args optim_target_modules output_dir overwrite_output_dir packing packing_strategy
        pad_to_multiple_of pad_token padding_free padding_value past_index per_device_eval_batch_size per_device_train_batch_size per_gpu_eval_batch_size
        per_gpu_train_batch_size precompute_ref_batch_size precompute_ref_log_probs prediction_loss_only preprocessing_num_workers push_to_hub
        push_to_hub_model_id push_to_hub_organization push_to_hub_token ray_scope ref_adapter_name ref_model_init_kwargs reference_free remove_unused_columns
        report_to restore_callback_states_from_checkpoint resume_from_checkpoint rpo_alpha run_name save_on_each_node save_only_model save_safetensors
        save_steps save_strategy save_total_limit seed skip_memory_metrics split_batches sync_ref_model text_column tf32 tokenizer_name_or_path tools
        torch_compile torch_compile_backend torch_compile_mode torch_dtype torch_empty_cache_steps torchdynamo tpu_metrics_debug tpu_num_cores truncation_mode
        truncation_side trust_remote_code use_bnb_nested_quant use_cpu use_dora use_flash_attention_2 use_ipex use_legacy_prediction_loop use_liger_kernel
        use_liger_loss use_logits_to_keep use_mps_device use_peft use_rslora use_vllm use_weighting vllm_server_host wandb_entity wandb_project
        wandb_run_group warmup_ratio warmup_steps weight_decay
        alpha cache_implementation cast_lm_head_to_fp32 center_rewards_coefficient chat_template_kwargs cpo_alpha delta desirable_weight
        ds3_gather_for_generation dtype entropy_coef entropy_coef_delta entropy_coef_max entropy_coef_min entropy_target epsilon epsilon_high
        generation_batch_size generation_kwargs importance_sampling_level log_completions log_completions_hub_repo log_multimodal log_unique_prompts
        lora_target_parameters loss_weights mask_truncated_completions max_density_ratio max_target_length max_tool_calling_iterations min_density_ratio
        min_p multi_objective_aggregation num_completions_to_print num_generations num_generations_eval num_iterations off_policy_mask_threshold
        prompt_sample_size ref_model_mixup_alpha ref_model_sync_steps repetition_penalty reward_weights router_aux_loss_coef sapo_temperature_neg
        sapo_temperature_pos scale_rewards shuffle_dataset simpo_gamma steps_per_generation temperature top_entropy_quantile top_k top_p
        train_sampling_strategy transformers_continuous_batching_config undesirable_weight use_adaptive_entropy use_bias_correction_kl
        use_transformers_continuous_batching use_transformers_paged vespo_k_neg vespo_k_pos vespo_lambda_neg vespo_lambda_pos
        vllm_enable_sleep_mode vllm_gpu_memory_utilization vllm_group_port vllm_guided_decoding_regex vllm_importance_sampling_cap vllm_importance_sampling_clip_max
        vllm_importance_sampling_clip_min vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_max_model_length vllm_mode
        vllm_model_impl vllm_server_base_url vllm_server_port vllm_server_timeout vllm_structured_outputs_regex vllm_tensor_parallel_size
        wandb_log_unique_prompts
        """;
}
