using Handbook.Training.Methods;

namespace Handbook.Recipes;

/// <summary>The keys of the Python trainer for group-relative policy optimisation that no record holds.</summary>
internal static class OtherGrpoKeys
{
    private const string NoServer = "answers are sampled in this process, with the weights that are trained";
    private const string NotThatLoss = "the losses of this version are dapo, grpo, dr_grpo and bnpo";
    private const string NoBonus = "this version adds no entropy bonus";

    public static IEnumerable<RecipeKey> All() =>
    [
        .. NoEffect(NoServer, ("vllm_mode", typeof(string), "colocate"), ("vllm_model_impl", typeof(string), "vllm"),
            ("vllm_enable_sleep_mode", typeof(bool), false),
            ("vllm_server_base_url", typeof(string), null), ("vllm_server_port", typeof(int), 8000),
            ("vllm_server_timeout", typeof(double), 240.0), ("vllm_group_port", typeof(int), 51216),
            ("vllm_gpu_memory_utilization", typeof(double), 0.3), ("vllm_max_model_length", typeof(int?), null),
            ("vllm_tensor_parallel_size", typeof(int), 1),
            ("vllm_importance_sampling_correction", typeof(bool), true), ("vllm_importance_sampling_mode", typeof(string), "sequence_mask"),
            ("vllm_importance_sampling_cap", typeof(double?), null), ("vllm_importance_sampling_clip_max", typeof(double?), 3.0),
            ("vllm_importance_sampling_clip_min", typeof(double?), null),
            ("use_transformers_paged", typeof(bool), false),
            ("use_transformers_continuous_batching", typeof(bool), false),
            ("transformers_continuous_batching_config", typeof(object), null), ("cache_implementation", typeof(string), null)),
        .. NoEffect("log-probabilities are always summed in float32", ("cast_lm_head_to_fp32", typeof(bool), false)),
        .. NoEffect("log_completions writes every answer to a file", ("num_completions_to_print", typeof(int?), null),
        ("log_unique_prompts", typeof(bool), false),
            ("wandb_log_unique_prompts", typeof(bool), false), ("log_multimodal", typeof(bool), true),
            ("log_completions_hub_repo", typeof(string), null)),
        .. NoEffect(NotThatLoss, ("sapo_temperature_neg", typeof(double), 1.05), ("sapo_temperature_pos", typeof(double), 1.0),
        ("vespo_k_pos", typeof(double), 2.0),
            ("vespo_lambda_pos", typeof(double), 3.0), ("vespo_k_neg", typeof(double), 3.0), ("vespo_lambda_neg", typeof(double), 2.0)),
        .. NoEffect(NoBonus, ("entropy_coef_min", typeof(double), 0.0), ("entropy_coef_max", typeof(double), 1.0),
        ("entropy_coef_delta", typeof(double), 0.005), ("entropy_target", typeof(double), 0.2)),
        .. NotBuilt(NoBonus, ("entropy_coef", typeof(double), 0.0), ("use_adaptive_entropy", typeof(bool), false)),
        .. NotBuilt("every token of an answer counts", ("top_entropy_quantile", typeof(double), 1.0)),
        .. NotBuilt("answers are sampled with the weights that are trained, so none is off-policy beyond the clip range",
        ("off_policy_mask_threshold", typeof(double?), null), ("use_bias_correction_kl", typeof(bool), false)),
        .. NotBuilt("rewards are added up with reward_weights first",
        ("multi_objective_aggregation", typeof(string), "sum_then_normalize")),
        .. NotBuilt("evaluation samples as training does", ("num_generations_eval", typeof(int?), null)),
        .. NotBuilt("write temperature, top_p, top_k, min_p and repetition_penalty", ("generation_kwargs", typeof(object), null)),
        .. NotBuilt("the template gets what a row's own column chat_template_kwargs says", ("chat_template_kwargs", typeof(object), null)),
        .. NotBuilt("answers are sampled freely", ("vllm_guided_decoding_regex", typeof(string), null),
        ("vllm_structured_outputs_regex", typeof(string), null)),
        .. NotBuilt("answers have one turn", ("max_tool_calling_iterations", typeof(int?), null)),
    ];

    private static IEnumerable<RecipeKey> NoEffect(string reason, params (string Name, Type Type, object? Default)[] keys) =>
        keys.Select(key => new RecipeKey
        {
            Name = key.Name,
            Group = "Group-relative policy optimisation",
            Type = key.Type,
            Default = key.Default,
            Disposition = Disposition.NoEffect,
            Reason = reason,
            Methods = [TrainingMethod.Grpo],
        });

    private static IEnumerable<RecipeKey> NotBuilt(string reason, params (string Name, Type Type, object? Default)[] keys) =>
        NoEffect(reason, keys).Select(key => key with { Disposition = Disposition.NotBuilt });
}
