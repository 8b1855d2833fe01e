namespace Handbook.Models.Families;

/// <summary>Qwen 1.5 and 2 with experts, and one more expert that all tokens visit, behind a gate. Qwen Team 2024; Yang et al. 2024,
/// arXiv:2407.10671, §2.2.2.</summary>
internal sealed class Qwen2Moe : Qwen2
{
    public override string ModelType => "qwen2_moe";

    public override string Architecture => "Qwen2MoeForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means Qwen1.5-MoE-A2.7B's own value.
        var described = Describe(config, new()
        {
            Sizes = new(2048, 5632, 24, 16, 151936),
            KeyValueHeads = 16,
            MaxPositions = 32768,
            BosId = null,
            EosIds = []
        });
        var window = config.Flag(false, "use_sliding_window")
            ? config.SizeOr(config.States("sliding_window") ? 0 : 4096, "sliding_window") : 0;
        var windowed = config.Integer("max_window_layers") ?? 28;
        return described with
        {
            QueryKeyValueBias = config.Flag(true, "qkv_bias"),
            SlidingWindows = window == 0 ? []
                : Windows(config, described.Layers, window, layer => layer % 2 == 0 && layer < windowed),
            Experts = ExpertKeys.Read(config, 60, 4, config.Flag(false, "norm_topk_prob"), 0.001, "num_experts", "num_local_experts") with
            {
                InnerSize = config.SizeOr(1408, "moe_intermediate_size"),
                SharedInnerSize = config.SizeOr(5632, "shared_expert_intermediate_size"),
                DenseLayers = ExpertKeys.DenseLayers(config, described.Layers),
            },
        };
    }

    private protected override void Experts(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        list.Experts(our, published + "mlp.", "gate", ("gate_proj", "up_proj", "down_proj"), config, fused);
        list.SharedExpert(our, published + "mlp.shared_expert.", config, fused);
        list.Linear(our + ".shared_gate", published + "mlp.shared_expert_gate", 1, config.HiddenSize, bias: false);
    }
}
