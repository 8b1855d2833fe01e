using System.Text;
using System.Text.Json.Nodes;
using Handbook.Models;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Models;

/// <summary>Tiny networks of every family, in the forms that the keys of its config choose.</summary>
internal static class FamilyVariants
{
    private const string Sizes = """
        { "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64 }
        """;

    private const string OldSizes = """{ "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64 }""";

    private static readonly (string Name, string Keys)[] s_all =
    [
        ("llama biased", """ "attention_bias": true, "mlp_bias": true, "head_dim": 8 """),
        ("llama tied", """ "tie_word_embeddings": true, "rope_parameters": {"rope_theta": 500, "rope_type": "default"} """),
        ("mistral with a window", """ "sliding_window": 5 """),
        ("ministral", """ "sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"] """),
        ("mixtral of four", """ "num_local_experts": 4, "num_experts_per_tok": 2 """),
        ("qwen2", """ "use_sliding_window": true, "sliding_window": 4, "max_window_layers": 1 """),
        ("qwen3", """ "head_dim": 10, "tie_word_embeddings": true """),
        ("qwen3 biased", """ "attention_bias": true, "use_sliding_window": true, "sliding_window": 4, "head_dim": 6 """),
        ("gemma", """ "head_dim": 8 """),
        ("gemma2", """ "head_dim": 8, "query_pre_attn_scalar": 20, "sliding_window": 4 """),
        ("gemma2 uncapped", """ "head_dim": 8, "attn_logit_softcapping": null, "final_logit_softcapping": null, """
            + """ "attention_bias": true, "tie_word_embeddings": false """),
        ("gemma3_text", """ "head_dim": 8, "sliding_window": 4, "sliding_window_pattern": 2, """
            + """ "rope_local_base_freq": 100, "rope_theta": 5000, "final_logit_softcapping": 4 """),
        ("phi", """ "partial_rotary_factor": 0.34 """),
        ("phi with norms", """ "partial_rotary_factor": 0.67, "qk_layernorm": true, "tie_word_embeddings": true """),
        ("phi3", """ "sliding_window": 6 """),
        ("olmo2 biased", """ "attention_bias": true """),
        ("olmo3", """ "num_hidden_layers": 4, "sliding_window": 4 """),
        ("smollm3", """ "no_rope_layer_interval": 2, "attention_bias": true """),
        ("granite", """ "embedding_multiplier": 3, "residual_multiplier": 0.4, "attention_multiplier": 0.2, """
            + """ "logits_scaling": 2, "mlp_bias": true, "attention_bias": true """),
        ("stablelm", """ "partial_rotary_factor": 0.67, "use_qkv_bias": true """),
        ("stablelm parallel", """ "partial_rotary_factor": 0.67, "qk_layernorm": true, "use_parallel_residual": true, """
            + """ "tie_word_embeddings": true """),
        ("starcoder2", """ "sliding_window": 5 """),
        ("starcoder2 unbiased", """ "use_bias": false, "tie_word_embeddings": false """),
        ("cohere", """ "attention_bias": true """),
        ("cohere with norms", """ "use_qk_norm": true, "tie_word_embeddings": false, "logit_scale": 0.5 """),
        ("cohere2", """ "num_hidden_layers": 3, "sliding_window": 4, "sliding_window_pattern": 3 """),
        ("glm", """ "head_dim": 8 """),
        ("glm4", """ "head_dim": 12, "partial_rotary_factor": 0.34, "attention_bias": false, "tie_word_embeddings": true """),
        ("exaone4", """ "num_hidden_layers": 3, "sliding_window": 4, "sliding_window_pattern": "LLG" """),
        ("exaone4 whole", """ "sliding_window": null, "tie_word_embeddings": true """),
        ("ernie4_5", """ "head_dim": 8, "use_bias": true, "tie_word_embeddings": false """),
        ("hunyuan_v1_dense", """ "head_dim": 8, "attention_bias": true, "rope_theta": 100 """),
        ("seed_oss", """ "head_dim": 8, "attention_out_bias": true, "mlp_bias": true, "residual_dropout": 0, "attention_dropout": 0 """),
        ("nemotron", """ "partial_rotary_factor": 0.67 """),
        ("nemotron biased", """ "mlp_bias": true, "attention_bias": true, "head_dim": 8, "hidden_act": "gelu" """),
        ("gpt2 scaled by layer", """ "n_inner": 20, "scale_attn_by_inverse_layer_idx": true """),
        ("gpt_bigcode", ""),
        ("gpt_bigcode of many", """ "multi_query": false, "tie_word_embeddings": false, "scale_attn_weights": false """),
        ("gptj", """ "rotary_dim": 4 """),
        ("gptj tied", """ "rotary_dim": 6, "n_inner": 20, "tie_word_embeddings": true """),
        ("gpt_neox parallel", """ "rotary_pct": 0.67 """),
        ("gpt_neox serial", """ "rotary_pct": 0.34, "use_parallel_residual": false, "attention_bias": false """),
        ("falcon", """ "bias": true """),
        ("falcon of groups", """ "new_decoder_architecture": true, "num_kv_heads": 2, "ffn_hidden_size": 20 """),
        ("falcon of groups, one norm", """ "new_decoder_architecture": true, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1, """
            + """ "tie_word_embeddings": false """),
        ("falcon serial", """ "multi_query": false, "parallel_attn": false, "bias": true """),
        ("falcon by distance", """ "multi_query": false, "parallel_attn": false, "alibi": true, "bias": true """),
        ("bloom", ""),
        ("bloom of norms", """ "apply_residual_connection_post_layernorm": true, "num_attention_heads": 3 """),
        ("qwen2_moe", """ "num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 12, """
            + """ "shared_expert_intermediate_size": 10, "decoder_sparse_step": 2 """),
        ("qwen2_moe with a window", """ "num_experts": 4, "num_experts_per_tok": 3, "moe_intermediate_size": 8, """
            + """ "shared_expert_intermediate_size": 16, "mlp_only_layers": [1], "norm_topk_prob": true, """
            + """ "use_sliding_window": true, "sliding_window": 4, "qkv_bias": false, "tie_word_embeddings": true """),
        ("qwen3_moe", """ "head_dim": 10, "num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 12 """),
        ("qwen3_moe biased", """ "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, """
            + """ "norm_topk_prob": true, "attention_bias": true, "use_sliding_window": true, "sliding_window": 4, """
            + """ "mlp_only_layers": [0] """),
        ("olmoe", """ "num_experts": 4, "num_experts_per_tok": 2, "clip_qkv": 0.7 """),
        ("olmoe biased", """ "num_experts": 3, "num_experts_per_tok": 2, "norm_topk_prob": true, "attention_bias": true, """
            + """ "tie_word_embeddings": true """),
        ("granitemoe", """ "num_local_experts": 4, "num_experts_per_tok": 2, "embedding_multiplier": 3, """
            + """ "residual_multiplier": 0.4, "attention_multiplier": 0.2, "logits_scaling": 2, "attention_bias": true """),
        ("granitemoeshared", """ "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 10, """
            + """ "residual_multiplier": 0.4, "logits_scaling": 2 """),
        ("granitemoeshared of none", """ "num_local_experts": 3, "num_experts_per_tok": 2, "shared_intermediate_size": 0, """
            + """ "tie_word_embeddings": true """),
        ("gpt_oss", """ "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4, """
            + """ "rope_parameters": {"rope_theta": 100, "rope_type": "default"}, "swiglu_limit": 0.6 """),
        ("gpt_oss unbiased", """ "head_dim": 6, "num_local_experts": 3, "num_experts_per_tok": 2, "sliding_window": 3, """
            + """ "rope_scaling": null, "attention_bias": false, "tie_word_embeddings": true, """
            + """ "layer_types": ["full_attention", "sliding_attention"] """),
        ("deepseek_v3", """ "q_lora_rank": 10, "kv_lora_rank": 9, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, """
            + """ "v_head_dim": 5, "n_routed_experts": 6, "num_experts_per_tok": 2, "n_group": 3, "topk_group": 2, """
            + """ "moe_intermediate_size": 12, "n_shared_experts": 2, "first_k_dense_replace": 1, "rms_norm_eps": 0.01 """),
        ("deepseek_v3 of one group", """ "q_lora_rank": null, "kv_lora_rank": 7, "qk_nope_head_dim": 4, """
            + """ "qk_rope_head_dim": 6, "v_head_dim": 12, "n_routed_experts": 5, "num_experts_per_tok": 2, "n_group": 1, """
            + """ "topk_group": 1, "moe_intermediate_size": 8, "first_k_dense_replace": 0, "norm_topk_prob": false, """
            + """ "attention_bias": true, "rope_interleave": false, "routed_scaling_factor": 0.7 """),
        ("llama4_text", """ "head_dim": 8, "num_hidden_layers": 3, "no_rope_layers": [1, 0, 1], "attention_chunk_size": 5, """
            + """ "floor_scale": 3, "attn_scale": 0.4, "interleave_moe_layer_step": 2, "intermediate_size_mlp": 28, """
            + """ "num_local_experts": 4, "num_experts_per_tok": 2, "rope_theta": 100 """),
        ("llama4_text of experts", """ "head_dim": 6, "attention_chunk_size": 4, "attn_temperature_tuning": 0, "use_qk_norm": false, """
            + """ "no_rope_layer_interval": 2, "num_local_experts": 3, "attention_bias": true, "tie_word_embeddings": true """),
        ("opt", """ "ffn_dim": 20 """),
        ("opt with norms of sums", """ "ffn_dim": 20, "do_layer_norm_before": false, "word_embed_proj_dim": 10 """),
        ("opt without the last norm", """ "ffn_dim": 20, "_remove_final_layer_norm": true, "enable_bias": false, """
            + """ "activation_function": "gelu", "word_embed_proj_dim": 30, "tie_word_embeddings": false """),
    ];

    /// <summary>By name: a family, and what is special.</summary>
    public static IEnumerable<string> Names => s_all.Select(variant => variant.Name);

    public static PublishedConfig Config(string name)
    {
        var family = name.Split(' ')[0];
        var keys = JsonNode.Parse(family is "gpt2" or "gpt_bigcode" or "gptj" ? OldSizes : Sizes)!.AsObject();
        foreach (var (key, value) in JsonNode.Parse($"{{{s_all.Single(variant => variant.Name == name).Keys}}}")!.AsObject())
            keys[key] = value?.DeepClone();
        keys["model_type"] = family;
        keys["vocab_size"] = Tiny.Vocabulary;
        keys["pad_token_id"] = null;
        return PublishedConfig.Parse(Encoding.UTF8.GetBytes(keys.ToJsonString()), "config.json");
    }
}
