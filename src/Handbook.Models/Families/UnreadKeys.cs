using System.Text.Json.Nodes;

namespace Handbook.Models.Families;

/// <summary>What keys of a <c>config.json</c> mean that the family does not read: some would change what the model computes, some concern
/// nobody here, and the rest is not known.</summary>
internal static class UnreadKeys
{
    // Each is a part of some network. A family that does not read it has no such part, so it must be switched off: null, false, 0 or empty,
    // or the value behind it here.
    private static readonly Dictionary<string, double?> s_parts = new()
    {
        ["alibi"] = null,
        ["apply_residual_connection_post_layernorm"] = null,
        ["attention_chunk_size"] = null,
        ["attention_multiplier"] = null,
        ["attn_logit_softcapping"] = null,
        ["attn_temperature_tuning"] = null,
        ["clip_qkv"] = null,
        ["embedding_multiplier"] = 1,
        ["final_logit_softcapping"] = null,
        ["first_k_dense_replace"] = null,
        ["is_encoder_decoder"] = null,
        ["kv_lora_rank"] = null,
        ["logit_scale"] = 1,
        ["logits_scaling"] = 1,
        ["layer_types"] = null,
        ["lm_head_bias"] = null,
        ["lm_head_multiplier"] = 1,
        ["mamba_d_state"] = null,
        ["moe_intermediate_size"] = null,
        ["n_routed_experts"] = null,
        ["n_shared_experts"] = null,
        ["new_decoder_architecture"] = null,
        ["no_rope_layers"] = null,
        ["num_experts"] = null,
        ["num_local_experts"] = null,
        ["parallel_attn"] = null,
        ["q_lora_rank"] = null,
        ["qk_layernorm"] = null,
        ["qk_norm"] = null,
        ["query_pre_attn_scalar"] = null,
        ["residual_multiplier"] = 1,
        ["rope_local_base_freq"] = null,
        ["scale_attn_by_inverse_layer_idx"] = null,
        ["shared_expert_intermediate_size"] = null,
        ["use_bidirectional_attention"] = null,
        ["use_cla"] = null,
        ["use_mrope"] = null,
        ["use_parallel_residual"] = null,
        ["use_qk_norm"] = null,
        ["word_embed_proj_dim"] = null,
    };

    // What a file says besides: who wrote it and with what, how the library is to run it, what other tasks and trainings would need, sizes
    // that follow from others, and keys of other families that the library's class passes by too. "*" stands for any end.
    private static readonly string[] s_ignored =
    [
        "_*", "activation_function", "architectures", "attention_bias", "attention_dropout", "attention_head_dim",
        "attention_softmax_in_fp32", "attn_implementation", "attn_pdrop", "auto_map", "bad_words_ids", "begin_new_sentence",
        "begin_suppress_tokens", "bias", "bias_dropout_fusion", "boi_*", "cache_implementation", "chunk_size_feed_forward",
        "classifier_*", "compression_config", "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty", "do_sample",
        "early_stopping", "embd_pdrop", "encoder_no_repeat_ngram_size", "eod_token_id", "eoi_*", "exponential_decay_length_penalty",
        "ff_factor", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "fused_*", "gradient_checkpointing", "head_dim",
        "hidden_act", "hidden_activation", "hidden_dropout", "hidden_dropout_prob", "id2label", "image_token_*", "inference_mode",
        "initializer_factor", "intermediate_size", "is_decoder", "keys_to_ignore_at_inference", "label2id", "layer_norm_eps",
        "layer_norm_epsilon", "layer_switch", "layerdrop", "length_penalty", "masked_softmax_fusion", "max_length",
        "max_position_embeddings", "max_window_layers", "min_length", "mlp_bias", "mlp_only_layers", "mlp_type", "model_max_length",
        "multi_query", "n_ctx", "n_inner", "n_positions", "name_or_path", "no_repeat_ngram_size", "norm_bias", "norm_eps", "norm_epsilon",
        "norm_type", "num_beam_groups", "num_beams", "num_key_value_heads", "num_labels", "num_return_sequences", "offset_alibi",
        "order_of_interleaved_layers", "org_vocab_size", "output_*", "pad_vocab*", "position_embedding_type", "prefix", "pretraining_tp",
        "problem_type", "pruned_heads", "qkv_bias", "quantization_config", "remove_invalid_values", "reorder_and_upcast_attn",
        "repetition_penalty", "rescale_prenorm_residual", "resid_pdrop", "return_dict*", "rms_norm_eps", "rope_interleaved",
        "rope_parameters", "rope_scaling", "rope_theta", "scale_attention_softmax_in_fp32", "scale_attn_weights", "sep_token_id",
        "seq_length", "skip_bias_add*", "sliding_window", "slow_but_exact", "summary_*", "suppress_tokens", "task_specific_params",
        "temperature", "tf_legacy_loss", "tie_encoder_decoder", "tokenizer_class", "top_k", "top_p", "torchscript", "trained_on",
        "transformers_*", "typical_p", "unk_token_id", "unsloth_*", "use_bfloat16", "use_bias", "use_cache", "use_embedding_sharing",
        "use_flash_attention*", "use_fused_*", "use_gated_activation", "use_logits_to_keep", "use_memory_efficient_attention",
        "use_parallel_block", "use_parallel_embedding", "use_qkv_bias", "use_sliding_window", "vocab_pad*",
        "aux_loss_alpha", "ep_size", "experts_per_token", "initial_context_length", "num_nextn_predict_layers", "qk_head_dim", "seq_aux",
    ];

    /// <summary>Refuses keys that ask for a part that the family does not have.</summary>
    /// <returns>Keys that are not known.</returns>
    public static IReadOnlyList<string> Judge(ConfigReader config, Family family)
    {
        var unknown = new List<string>();
        foreach (var (key, value) in config.Unread)
            if (s_parts.TryGetValue(key, out var neutral))
            {
                if (!IsOff(value, neutral))
                    config.Problem($"{key} is {ConfigReader.Show(value!)}, which {family.ModelType} does not have: it would change what "
                        + "the model computes");
            }
            else if (!s_ignored.Any(pattern => pattern.EndsWith('*') ? key.StartsWith(pattern[..^1], StringComparison.Ordinal)
                : key == pattern))
                unknown.Add(key);
        return unknown;
    }

    /// <summary>Says of sizes that are not there what was taken; null where all are there.</summary>
    public static string? Lacking(PublishedConfig config) => config.Assumed.Count == 0 ? null
        : $"config.json lacks {string.Join(", ", config.Assumed.Select(size => size.Key))}: taken as "
            + $"{string.Join(", ", config.Assumed.Select(size => size.Value))}, as the class of {config.Family.ModelType} has it";

    /// <summary>Says of keys that are not known that they change nothing, and of sizes that are not there what was taken.</summary>
    public static IEnumerable<string> Note(string path, PublishedConfig config)
    {
        if (Lacking(config) is { } lacking)
            yield return $"{path}: {lacking}";
        if (config.Unknown is [_, ..] unknown)
            yield return $"{path}: config.json has {string.Join(", ", unknown.Take(8))}{(unknown.Count > 8 ? ", …" : "")}, which is not "
                + "known here and changes nothing";
    }

    private static bool IsOff(JsonNode? value, double? neutral) => value switch
    {
        null or JsonArray { Count: 0 } or JsonObject { Count: 0 } => true,
        JsonArray types when types.All(type => type?.ToString() is "full_attention" or "sliding_attention") => true,
        JsonValue single when single.TryGetValue<bool>(out var flag) => !flag,
        JsonValue single when single.TryGetValue<double>(out var number) => number == 0 || number == neutral,
        _ => false,
    };
}
