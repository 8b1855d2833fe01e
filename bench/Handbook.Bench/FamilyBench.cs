using System.Text;
using Handbook.Models;
using Handbook.Models.Families;
using Handbook.Torch;
using Handbook.Training.Optimizers;

namespace Handbook.Bench;

/// <summary>Whole training steps of each kind of attention and feed-forward layer, at a hidden size of 512 and in rows of 512 tokens: their
/// matrix products beside the machine's rate of such.</summary>
internal static class FamilyBench
{
    private const string Sizes = """
        "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "vocab_size": 4096, "max_position_embeddings": 512,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": null
        """;

    private const string Grouped = """ "intermediate_size": 1536, "num_key_value_heads": 4, "head_dim": 64 """;

    /// <summary>What a row is called, and the keys of its config besides the sizes.</summary>
    private static readonly (string Kind, string Keys)[] s_all =
    [
        ("llama", $$"""{ "model_type": "llama", {{Grouped}} }"""),
        ("norms-of-heads", $$"""{ "model_type": "qwen3", {{Grouped}} }"""),
        ("norms-of-projections", $$"""{ "model_type": "olmo2", {{Grouped}} }"""),
        ("norms-behind-rotation", $$"""{ "model_type": "hunyuan_v1_dense", {{Grouped}} }"""),
        ("caps-and-windows", $$"""{ "model_type": "gemma2", "sliding_window": 128, {{Grouped}} }"""),
        ("two-rotations", $$"""{ "model_type": "gemma3_text", "sliding_window": 128, {{Grouped}} }"""),
        ("parallel-neighbours", $$"""{ "model_type": "cohere", "use_qk_norm": true, {{Grouped}} }"""),
        ("scaled", $$"""{ "model_type": "granite", "residual_multiplier": 0.22, "embedding_multiplier": 12, {{Grouped}} }"""),
        ("plain-relu2", $$"""{ "model_type": "nemotron", {{Grouped}} }"""),
        ("one-key-head", """{ "model_type": "falcon", "ffn_hidden_size": 2048 }"""),
        ("by-distance", """{ "model_type": "bloom" }"""),
        ("learned-positions", """{ "model_type": "opt", "ffn_dim": 2048 }"""),
        ("norms-of-sums", """{ "model_type": "opt", "ffn_dim": 2048, "do_layer_norm_before": false }"""),
        ("biased-head", """{ "model_type": "phi", "intermediate_size": 2048 }"""),
        ("experts", $$"""{ "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, {{Grouped}} }"""),
        ("small-experts", $$"""{ "model_type": "qwen3_moe", "num_experts": 32, "num_experts_per_tok": 8, """
            + $$""" "moe_intermediate_size": 192, {{Grouped}} }"""),
        ("shared-expert", $$"""{ "model_type": "qwen2_moe", "num_experts": 16, "num_experts_per_tok": 4, """
            + $$""" "moe_intermediate_size": 192, "shared_expert_intermediate_size": 768, {{Grouped}} }"""),
        ("stacked-experts-and-sinks", $$"""{ "model_type": "gpt_oss", "num_local_experts": 8, "num_experts_per_tok": 2, """
            + $$""" "sliding_window": 128, {{Grouped}} }"""),
        ("latent", """{ "model_type": "deepseek_v3", "intermediate_size": 1536, "q_lora_rank": 256, "kv_lora_rank": 128, """
            + """ "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64, "n_routed_experts": 16, "num_experts_per_tok": 4, """
            + """ "n_group": 4, "topk_group": 2, "moe_intermediate_size": 256, "first_k_dense_replace": 1 }"""),
    ];

    public static IEnumerable<string> Kinds => s_all.Select(each => each.Kind);

    /// <summary>The share of the rate of products that a step's products alone make up; at least 0.55 is asked for.</summary>
    public static BenchRow Row(string name, string kind, bool bf16, bool quick)
    {
        var (speed, share, _) = Measure(kind, bf16, quick ? 3 : 8);
        return new(name, speed, null, share, "useful tokens/s", "its products beside the machine's rate of square ones; rows of 512 tokens");
    }

    /// <summary>Tokens in a second, the share of the machine's rate, and GFLOP of products in a second of one core, which tells more where
    /// others use the machine.</summary>
    public static (double Speed, double Share, double GflopsPerCpuSecond) Measure(string kind, bool bf16, int steps)
    {
        var published = Config(kind);
        var shape = new Shape(kind, 512, 4, 8, 4, 1536, published.Decoder.VocabularySize, Rows: 4, Length: 512, published.Decoder.TiedHead);
        var specs = published.Family.Parameters(published.Decoder, fused: true);
        using var model = StepBench.Model(published.Decoder,
            ParameterPlan.Trained(specs, DType.Float32, bf16 ? DType.BFloat16 : DType.Float32));
        using var optimizer = new AdamW(model.Parameters, 0.9, 0.999, 1e-8, 0.01);
        var result = StepBench.Measure(shape, model, optimizer, bf16, steps, lengths: null);
        var gflops = Flops(published.Decoder, specs) / 1e9;
        return (result.TokensPerSecond, result.TokensPerSecond * gflops / result.MatMulGflops, result.TokensPerCpuSecond * gflops);
    }

    /// <summary>The config of a kind of layer.</summary>
    internal static PublishedConfig Config(string kind, int layers = 4)
    {
        var keys = s_all.Single(each => each.Kind == kind).Keys;
        var sizes = Sizes.Replace("\"num_hidden_layers\": 4", $"\"num_hidden_layers\": {layers}", StringComparison.Ordinal);
        return PublishedConfig.Parse(Encoding.UTF8.GetBytes($"{{ {sizes}, {keys.Trim()[1..]}"), "bench");
    }

    /// <summary>Floating point operations of the matrix products of one token, forward and backward; attention itself is not counted.</summary>
    private static double Flops(DecoderConfig config, IReadOnlyList<ParameterSpec> specs)
    {
        var visited = config.Experts is { } experts ? (double)experts.PerToken / experts.Count : 1;
        return 6 * (specs.Where(spec => spec.Kind == ParameterKind.Weight)
            .Sum(spec => spec.Count * (spec.Name.Contains(".experts.", StringComparison.Ordinal) ? visited : 1))
            + (double)config.VocabularySize * config.TableSize);
    }
}
