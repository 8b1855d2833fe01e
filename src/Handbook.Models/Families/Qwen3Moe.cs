namespace Handbook.Models.Families;

/// <summary>Qwen 3 with experts. Yang et al. 2025, arXiv:2505.09388, §2.</summary>
internal sealed class Qwen3Moe : Qwen3
{
    public override string ModelType => "qwen3_moe";

    public override string Architecture => "Qwen3MoeForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means Qwen3-MoE-15B-A2B's own value.
        var described = Describe(config, new()
        {
            Sizes = new(2048, 6144, 24, 32, 151936),
            KeyValueHeads = 4,
            MaxPositions = 32768,
            BosId = null,
            EosIds = []
        });
        // where it has a window, all layers have it
        var window = config.Flag(false, "use_sliding_window")
            ? config.SizeOr(config.States("sliding_window") ? 0 : 4096, "sliding_window") : 0;
        return described with
        {
            QueryKeyValueBias = config.Flag(false, "attention_bias"),
            AttentionOutputBias = config.Flag(false, "attention_bias"),
            QueryKeyNorm = QueryKeyNorm.PerHead,
            SlidingWindows = window == 0 ? [] : [.. Enumerable.Repeat(window, described.Layers)],
            Experts = ExpertKeys.Read(config, 128, 8, config.Flag(false, "norm_topk_prob"), 0.001, "num_experts", "num_local_experts") with
            {
                InnerSize = config.SizeOr(768, "moe_intermediate_size"),
                DenseLayers = ExpertKeys.DenseLayers(config, described.Layers),
            },
        };
    }

    private protected override void Experts(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        list.Experts(our, published + "mlp.", "gate", ("gate_proj", "up_proj", "down_proj"), config, fused);
}
