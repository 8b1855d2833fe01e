using Handbook.Models.Gguf;

namespace Handbook.Models.Families;

/// <summary>The families as llama.cpp knows them, by their <c>model_type</c>: names, what lies in one tensor, which rows take
/// turns.</summary>
/// <remarks>What stands here is what llama.cpp's own conversion writes and its networks compute. A family that is missing is not computed
/// by llama.cpp, or was not compared with it.</remarks>
internal static class GgufLayouts
{
    private static readonly GgufConfigKeys _layerNorm = new() { Epsilon = "layer_norm_eps" };

    private static readonly Dictionary<string, GgufLayout> _table = new()
    {
        ["llama"] = new("llama") { TurnsPairs = true, Lacks = config => PartOfHeads(config) },
        ["mistral"] = new("llama") { TurnsPairs = true, Lacks = config => PartOfHeads(config) },
        ["mixtral"] = new("llama")
        {
            TurnsPairs = true,
            Keys = new() { Experts = "num_local_experts" },
            Lacks = config => PartOfHeads(config) ?? (config.Experts!.NormalizeTopK ? null : "weights of experts that do not sum to one"),
        },
        ["qwen2"] = new("qwen2") { Lacks = config => config.QueryKeyValueBias ? null : "queries and keys without biases" },
        ["qwen3"] = new("qwen3") { Lacks = config => Biases(config) },
        ["gemma"] = new("gemma") { HasNoHead = true, Lacks = config => Biases(config) ?? Tanh(config) },
        ["gemma2"] = new("gemma2")
        {
            HasNoHead = true,
            WindowPeriod = 2,
            AttentionScale = config => 1 / Math.Sqrt(config.Layers == 46 ? (double)config.HiddenSize / config.Heads : config.HeadSize),
            Lacks = config => Biases(config) ?? Tanh(config)
                ?? (config.AttentionSoftCap is null || config.LogitSoftCap is null ? "scores or logits without a cap" : null),
        },
        ["gemma3_text"] = new("gemma3")
        {
            WindowPeriod = 6,
            StatesWindowPeriod = true,
            AttentionScale = config => 1 / Math.Sqrt(config.Layers == 62 ? (double)config.HiddenSize / config.Heads : config.HeadSize),
            Lacks = config => Biases(config) ?? Tanh(config) ?? (config.AttentionSoftCap is not null ? "a cap on the scores" : null),
        },
        ["phi3"] = new("phi3") { FusesQueryKeyValue = true, FusesGateUp = true, Keys = new() { HeadSize = null } },
        ["gpt2"] = new("gpt2")
        {
            FusesQueryKeyValue = true,
            Lacks = config => config.ScaleAttentionByInverseLayer ? "scores divided by the number of their layer" : Tanh(config),
            Keys = new()
            {
                Positions = "n_positions",
                Hidden = "n_embd",
                Layers = "n_layer",
                Heads = "n_head",
                KeyValueHeads = null,
                Inner = "n_inner",
                HeadSize = null,
                RopeTheta = null,
                Epsilon = "layer_norm_epsilon",
            },
        },
        ["starcoder2"] = new("starcoder2")
        {
            Keys = new() { Epsilon = "norm_epsilon", HeadSize = null },
            Lacks = config => config.QueryKeyValueBias ? Tanh(config) : "layers without biases",
        },
        ["stablelm"] = new("stablelm") { NeedsHead = true, Keys = _layerNorm },
        ["olmo2"] = new("olmo2") { NeedsHead = true, Lacks = config => Biases(config) },
        ["granite"] = new("granite") { TurnsPairs = true, StatesAttentionScale = true, Lacks = config => PartOfHeads(config) },
        ["cohere"] = new("command-r") { HasNoHead = true, Keys = _layerNorm, Lacks = config => Biases(config) },
        ["falcon"] = new("falcon")
        {
            FusesQueryKeyValue = true,
            Lacks = config => config.Positions == PositionKind.Alibi ? "scores that fall with the distance"
                : config.ParallelResidual ? null : "attention and feed-forward behind one another",
        },
        ["phi"] = new("phi2") { NeedsHead = true, Keys = _layerNorm, Lacks = config => config.QueryKeyNorm == QueryKeyNorm.None ? null
            : "norms of queries and keys" },
        ["gpt_neox"] = new("gptneox") { FusesQueryKeyValue = true, NeedsHead = true, Keys = _layerNorm },
        ["bloom"] = new("bloom") { FusesQueryKeyValue = true },
        ["gpt_bigcode"] = new("starcoder") { FusesQueryKeyValue = true, NeedsHead = true },
        ["qwen2_moe"] = new("qwen2moe") { NeedsHead = true },
        ["qwen3_moe"] = new("qwen3moe") { NeedsHead = true },
        ["olmoe"] = new("olmoe") { NeedsHead = true, Lacks = config => config.KeyValueHeads == config.Heads ? null
            : "fewer heads of keys than of queries" },
        ["olmo3"] = new("olmo2") { NeedsHead = true, WindowPeriod = 4 },
        ["smollm3"] = new("smollm3") { TurnsPairs = true, RopePeriod = 4 },
        ["cohere2"] = new("cohere2") { HasNoHead = true, WindowPeriod = 4, RopePeriod = 4, Keys = _layerNorm },
        ["glm4"] = new("glm4") { FusesGateUp = true, NeedsHead = true },
        ["exaone4"] = new("exaone4") { NeedsHead = true, Lacks = config => config.SlidingWindows.Count == 0 ? null : "windows" },
        ["ernie4_5"] = new("ernie4_5"),
        ["hunyuan_v1_dense"] = new("hunyuan-dense"),
        ["seed_oss"] = new("seed_oss"),
        ["nemotron"] = new("nemotron") { NeedsHead = true, Keys = new() { Epsilon = "norm_eps" } },
        ["granitemoe"] = new("granitemoe") { TurnsPairs = true, StatesAttentionScale = true },
    };

    /// <summary>The layout of a family; null where llama.cpp has none.</summary>
    public static GgufLayout? Of(string modelType) => _table.GetValueOrDefault(modelType);

    /// <summary>Every family with a layout.</summary>
    public static IEnumerable<string> Known => _table.Keys;

    private static string? PartOfHeads(DecoderConfig config) => config.RotarySize == config.HeadSize ? null
        : "heads of which only a part turns";

    private static string? Biases(DecoderConfig config) => config.QueryKeyValueBias || config.AttentionOutputBias || config.MlpBias
        ? "biases" : null;

    private static string? Tanh(DecoderConfig config) => config.Activation == Torch.Fused.Activation.GeluTanh ? null
        : $"the activation {config.Activation}";
}
