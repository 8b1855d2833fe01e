using Handbook.Models.Gguf;

namespace Handbook.Models.Families;

/// <summary>The families as llama.cpp knows them, by their <c>model_type</c>: names, what lies in one tensor, which rows take
/// turns.</summary>
/// <remarks>What stands here is what llama.cpp's own conversion writes and its networks compute. A family that is missing is not computed
/// by llama.cpp, or was not compared with it.</remarks>
internal static class GgufLayouts
{
    private static readonly GgufConfigKeys _layerNorm = new() { Epsilon = "layer_norm_eps" };

    private static readonly GgufConfigKeys _gpt2 = new()
    {
        Positions = "n_positions",
        Hidden = "n_embd",
        Layers = "n_layer",
        Heads = "n_head",
        KeyValueHeads = null,
        Inner = "n_inner",
        HeadSize = null,
        Epsilon = "layer_norm_epsilon",
        Bias = null,
    };

    private static readonly GgufConfigKeys _granite = new()
    {
        MlpBias = "mlp_bias",
        More = (file, json) =>
        {
            json["embedding_multiplier"] = GgufConfig.Tidy(file.Number("embedding_scale") ?? 1);
            json["residual_multiplier"] = GgufConfig.Tidy(file.Number("residual_scale") ?? 1);
            json["attention_multiplier"] = GgufConfig.Tidy(file.Number("attention.scale") ?? 1);
            json["logits_scaling"] = GgufConfig.Tidy(file.Number("logit_scale") ?? 1);
        },
    };

    private static readonly Dictionary<string, GgufLayout> _table = new()
    {
        ["llama"] = new("llama") { TurnsPairs = true, Keys = new() { MlpBias = "mlp_bias" }, Lacks = config => PartOfHeads(config) },
        ["mistral"] = new("llama") { TurnsPairs = true, Lacks = config => PartOfHeads(config) },
        ["ministral"] = new("llama") { TurnsPairs = true, Lacks = config => PartOfHeads(config) },
        ["mixtral"] = new("llama")
        {
            TurnsPairs = true,
            Keys = new() { Experts = "num_local_experts", Bias = null },
            Lacks = config => PartOfHeads(config) ?? Weights(config, normalized: true),
        },
        ["qwen2"] = new("qwen2") { Keys = new() { Bias = null } },
        ["qwen3"] = new("qwen3") { Lacks = config => Biases(config) },
        ["gemma"] = new("gemma")
        {
            HasNoHead = true,
            Keys = new() { More = (_, json) => json["hidden_activation"] = "gelu_pytorch_tanh" },
            Lacks = config => Biases(config) ?? Tanh(config),
        },
        ["gemma2"] = new("gemma2")
        {
            HasNoHead = true,
            WindowPeriod = 2,
            AttentionScale = config => 1 / Math.Sqrt(config.Layers == 46 ? (double)config.HiddenSize / config.Heads : config.HeadSize),
            Keys = new() { Window = "sliding_window", More = (file, json) => Capped(file, json, largest: 46) },
            Lacks = config => Biases(config) ?? Tanh(config)
                ?? (config.AttentionSoftCap is null || config.LogitSoftCap is null ? "scores or logits without a cap" : null),
        },
        ["gemma3_text"] = new("gemma3")
        {
            WindowPeriod = 6,
            StatesWindowPeriod = true,
            AttentionScale = config => 1 / Math.Sqrt(config.Layers == 62 ? (double)config.HiddenSize / config.Heads : config.HeadSize),
            Keys = new()
            {
                Window = "sliding_window",
                More = (file, json) =>
                {
                    Capped(file, json, largest: 62);
                    json["rope_local_base_freq"] = GgufConfig.Tidy(file.Number("rope.freq_base_swa") ?? 10000);
                    json["sliding_window_pattern"] = file.Whole("attention.sliding_window_pattern") ?? 6;
                },
            },
            Lacks = config => Biases(config) ?? Tanh(config) ?? (config.AttentionSoftCap is not null ? "a cap on the scores" : null),
        },
        ["phi3"] = new("phi3")
        {
            FusesQueryKeyValue = true,
            FusesGateUp = true,
            Keys = new() { HeadSize = null, Bias = null, PartialRotary = "partial_rotary_factor", Window = "sliding_window" },
        },
        ["gpt2"] = new("gpt2")
        {
            FusesQueryKeyValue = true,
            Keys = _gpt2,
            Lacks = config => config.ScaleAttentionByInverseLayer ? "scores divided by the number of their layer" : Tanh(config),
        },
        ["starcoder2"] = new("starcoder2")
        {
            Keys = new() { Epsilon = "norm_epsilon", HeadSize = null, Bias = "use_bias" },
            Lacks = config => config.QueryKeyValueBias ? Tanh(config) : "layers without biases",
        },
        ["stablelm"] = new("stablelm")
        {
            NeedsHead = true,
            Keys = _layerNorm with
            {
                HeadSize = null,
                PartialRotary = "partial_rotary_factor",
                Bias = "use_qkv_bias",
                More = (file, json) =>
                {
                    json["use_parallel_residual"] = file.Flag("use_parallel_residual") ?? false;
                    json["qk_layernorm"] = file.HasTensor("attn_q_norm.weight");
                },
            },
        },
        ["olmo2"] = new("olmo2") { NeedsHead = true, Lacks = config => Biases(config) },
        ["granite"] = new("granite")
        {
            TurnsPairs = true,
            StatesAttentionScale = true,
            Keys = _granite,
            Lacks = config => PartOfHeads(config),
        },
        ["cohere"] = new("command-r")
        {
            HasNoHead = true,
            Keys = _layerNorm with
            {
                HeadSize = null,
                More = (file, json) =>
                {
                    json["logit_scale"] = GgufConfig.Tidy(file.Number("logit_scale"));
                    json["use_qk_norm"] = file.HasTensor("attn_q_norm.weight");
                },
            },
            Lacks = config => Biases(config),
        },
        ["falcon"] = new("falcon")
        {
            FusesQueryKeyValue = true,
            Keys = new()
            {
                KeyValueHeads = "num_kv_heads",
                HeadSize = null,
                Inner = "ffn_hidden_size",
                Epsilon = "layer_norm_epsilon",
                Bias = "bias",
                More = (file, json) =>
                {
                    var groups = file.Whole("attention.head_count_kv");
                    json["multi_query"] = groups == 1;
                    json["new_decoder_architecture"] = file.HasTensor("attn_norm_2.weight");
                    json["parallel_attn"] = true;
                },
            },
            Lacks = config => config.Positions == PositionKind.Alibi ? "scores that fall with the distance"
                : config.ParallelResidual ? null : "attention and feed-forward behind one another",
        },
        ["phi"] = new("phi2")
        {
            NeedsHead = true,
            Keys = _layerNorm with { HeadSize = null, PartialRotary = "partial_rotary_factor", Bias = null },
            Lacks = config => config.QueryKeyNorm == QueryKeyNorm.None ? null : "norms of queries and keys",
        },
        ["gpt_neox"] = new("gptneox")
        {
            FusesQueryKeyValue = true,
            NeedsHead = true,
            Keys = _layerNorm with
            {
                HeadSize = null,
                KeyValueHeads = null,
                PartialRotary = "rotary_pct",
                More = (file, json) => json["use_parallel_residual"] = file.Flag("use_parallel_residual") ?? true,
            },
        },
        ["bloom"] = new("bloom") { FusesQueryKeyValue = true, Keys = null },
        ["gpt_bigcode"] = new("starcoder")
        {
            FusesQueryKeyValue = true,
            NeedsHead = true,
            Keys = _gpt2 with { More = (file, json) => json["multi_query"] = file.Whole("attention.head_count_kv") == 1 },
        },
        ["qwen2_moe"] = new("qwen2moe")
        {
            NeedsHead = true,
            Keys = new()
            {
                Experts = "num_experts",
                ExpertInner = "moe_intermediate_size",
                SharedInner = "shared_expert_intermediate_size",
                Bias = "qkv_bias",
            },
            Lacks = config => Weights(config, normalized: false),
        },
        ["qwen3_moe"] = new("qwen3moe")
        {
            NeedsHead = true,
            Keys = new()
            {
                Experts = "num_experts",
                ExpertInner = "moe_intermediate_size",
                More = (_, json) => json["norm_topk_prob"] = true,
            },
            Lacks = config => Weights(config, normalized: true),
        },
        ["olmoe"] = new("olmoe")
        {
            NeedsHead = true,
            Keys = new() { Experts = "num_experts" },
            Lacks = config => Weights(config, normalized: false)
                ?? (config.KeyValueHeads == config.Heads ? null : "fewer heads of keys than of queries")
                ?? (config.QueryKeyValueLimit is null ? null : "limits of queries, keys and values"),
        },
        ["olmo3"] = new("olmo2") { NeedsHead = true, WindowPeriod = 4, Keys = new() { Window = "sliding_window" } },
        ["smollm3"] = new("smollm3") { TurnsPairs = true, RopePeriod = 4, Keys = new() { MlpBias = "mlp_bias" } },
        ["cohere2"] = new("cohere2")
        {
            HasNoHead = true,
            WindowPeriod = 4,
            RopePeriod = 4,
            Keys = _layerNorm with
            {
                Window = "sliding_window",
                More = (file, json) => json["logit_scale"] = GgufConfig.Tidy(file.Number("logit_scale")),
            },
        },
        ["glm4"] = new("glm4") { FusesGateUp = true, NeedsHead = true, Keys = new() { PartialRotary = "partial_rotary_factor" } },
        ["exaone4"] = new("exaone4")
        {
            NeedsHead = true,
            Keys = new() { More = (_, json) => json["sliding_window"] = null },
            Lacks = config => config.SlidingWindows.Count == 0 ? null : "windows",
        },
        ["ernie4_5"] = new("ernie4_5") { Keys = new() { Bias = "use_bias" } },
        ["hunyuan_v1_dense"] = new("hunyuan-dense"),
        ["seed_oss"] = new("seed_oss") { Names = new Dictionary<string, string> { ["mlp_norm"] = "post_attention_norm" } },
        ["nemotron"] = new("nemotron")
        {
            NeedsHead = true,
            Keys = new() { Epsilon = "norm_eps", PartialRotary = "partial_rotary_factor", MlpBias = "mlp_bias" },
        },
        ["granitemoe"] = new("granitemoe")
        {
            TurnsPairs = true,
            StatesAttentionScale = true,
            Keys = _granite with { MlpBias = null, Experts = "num_local_experts" },
        },
        ["glm"] = new("chatglm")
        {
            FusesGateUp = true,
            Keys = new() { PartialRotary = "partial_rotary_factor" },
            Lacks = config => config.QuerySize == config.HiddenSize ? null : "heads that are not as wide together as the stream",
        },
        ["deepseek_v3"] = new("deepseek2")
        {
            StatesDenseLayers = true,
            AttentionScale = config => Math.Pow(config.RopeScaling is { MScaleAllDimensions: { } all } yarn
                ? 0.1 * all * Math.Log(yarn.Factor) + 1 : 1, 2) / Math.Sqrt(config.HeadSize),
            Keys = new()
            {
                HeadSize = null,
                Bias = null,
                Experts = "n_routed_experts",
                ExpertInner = "moe_intermediate_size",
                More = Latent,
            },
            Lacks = config => config.Latent!.Bias || config.AttentionOutputBias ? "biases"
                : !config.InterleavedRope ? "halves of heads that turn together (rope_interleave: false)"
                // it knows the smaller models of that kind by their number of layers
                : config.Latent.QueryRank == 0 && config.Layers is not (26 or 27) ? "queries that come from the stream (q_lora_rank: null)"
                : null,
        },
        ["gpt_oss"] = new("gpt-oss")
        {
            NeedsHead = true,
            WindowPeriod = 2,
            RoundsYarn = true,
            Names = new Dictionary<string, string> { ["mlp_norm"] = "post_attention_norm" },
            Keys = new()
            {
                Experts = "num_local_experts",
                Window = "sliding_window",
                More = (_, json) =>
                {
                    if (json["rope_scaling"] is System.Text.Json.Nodes.JsonObject yarn)
                        yarn["truncate"] = false;       // as every published one has it; the file does not say
                    else
                        json["rope_scaling"] = null;
                },
            },
            Lacks = config => config.GateLimit != 7 ? "limits of gates other than 7" : null,
        },
        ["granitemoeshared"] = new("granitemoe")
        {
            TurnsPairs = true,
            StatesAttentionScale = true,
            Keys = _granite with { MlpBias = null, Experts = "num_local_experts", SharedInner = "shared_intermediate_size" },
        },
    };

    private static readonly Dictionary<string, string> _absent = new()
    {
        ["gptj"] = "llama.cpp knows the name of GPT-J, but has no network for it",
        ["opt"] = "llama.cpp has no network for OPT",
    };

    /// <summary>Why there is no layout of a family; null where no more is known than that.</summary>
    public static string? WhyNot(string modelType) => _absent.GetValueOrDefault(modelType);

    /// <summary>The layout of a family; null where llama.cpp has none.</summary>
    public static GgufLayout? Of(string modelType) => _table.GetValueOrDefault(modelType);

    /// <summary>Every family with a layout.</summary>
    public static IEnumerable<string> Known => _table.Keys;

    private static void Latent(GgufReading file, System.Text.Json.Nodes.JsonObject json)
    {
        var turns = file.Need("rope.dimension_count");
        json["q_lora_rank"] = file.Whole("attention.q_lora_rank");
        json["kv_lora_rank"] = file.Need("attention.kv_lora_rank");
        json["qk_rope_head_dim"] = turns;
        json["qk_nope_head_dim"] = file.Need("attention.key_length") - turns;
        json["v_head_dim"] = file.Need("attention.value_length");
        json["first_k_dense_replace"] = file.Need("leading_dense_block_count");
        json["n_shared_experts"] = file.Need("expert_shared_count");
        json["n_group"] = file.Whole("expert_group_count") ?? 1;
        json["topk_group"] = file.Whole("expert_group_used_count") ?? 1;
        json["routed_scaling_factor"] = GgufConfig.Tidy(file.Number("expert_weights_scale") ?? 1);
        json["norm_topk_prob"] = file.Flag("expert_weights_norm") ?? false;
        if (json["rope_scaling"] is System.Text.Json.Nodes.JsonObject yarn && file.Number("rope.scaling.yarn_log_multiplier") is { } all)
            (yarn["mscale"], yarn["mscale_all_dim"]) = (Math.Round(10 * all, 5), Math.Round(10 * all, 5));
    }

    private static string? PartOfHeads(DecoderConfig config) => config.RotarySize == config.HeadSize ? null
        : "heads of which only a part turns";

    private static string? Biases(DecoderConfig config) => config.QueryKeyValueBias || config.AttentionOutputBias || config.MlpBias
        ? "biases" : null;

    private static string? Tanh(DecoderConfig config) => config.Activation == Torch.Fused.Activation.GeluTanh ? null
        : $"the activation {config.Activation}";

    private static string? Weights(DecoderConfig config, bool normalized) => config.Experts!.NormalizeTopK == normalized ? null
        : normalized ? "weights of experts that do not sum to one" : "weights of experts that sum to one";

    private static void Capped(GgufReading file, System.Text.Json.Nodes.JsonObject json, int largest)
    {
        json["hidden_activation"] = "gelu_pytorch_tanh";
        json["attn_logit_softcapping"] = GgufConfig.Tidy(file.Number("attn_logit_softcapping"));
        json["final_logit_softcapping"] = GgufConfig.Tidy(file.Number("final_logit_softcapping"));
        json["query_pre_attn_scalar"] = file.Need("block_count") == largest
            ? file.Need("embedding_length") / file.Need("attention.head_count") : file.Need("attention.key_length");
    }
}
