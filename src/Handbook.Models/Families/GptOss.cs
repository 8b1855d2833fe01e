using Handbook.Torch.Fused;

namespace Handbook.Models.Families;

/// <summary>gpt-oss: experts with biases and limited gates, sinks in the attention, a window in every other layer. OpenAI 2025,
/// arXiv:2508.10925.</summary>
internal sealed class GptOss : Llama
{
    public override string ModelType => "gpt_oss";

    public override string Architecture => "GptOssForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means gpt-oss-120b's own value.
        var described = Describe(config, new()
        {
            Sizes = new(2880, 2880, 36, 64, 201088),
            KeyValueHeads = 8,
            HeadSize = 64,
            MaxPositions = 131072,
            RopeTheta = 150000,
            NormEpsilon = 1e-5,
            BosId = null,
            EosIds = [],
        });
        if (config.Number(QuickGeluSlope, "swiglu_alpha") is var alpha && alpha != QuickGeluSlope)
            config.Problem($"swiglu_alpha is {alpha}; built is {QuickGeluSlope}");
        var bias = config.Flag(true, "attention_bias");
        return described with
        {
            QueryKeyValueBias = bias,
            AttentionOutputBias = bias,
            // the published code computes with no other, whatever hidden_act says
            Activation = Activation.QuickGelu,
            GateLimit = config.PositiveNumber(7, "swiglu_limit"),
            UpOffset = 1,
            RopeScaling = described.RopeScaling ?? (config.States("rope_scaling") || config.States("rope_parameters") ? null : new()
            {
                Kind = RopeScalingKind.Yarn,
                Factor = 32,
                OriginalMaxPositions = 4096,
                Truncate = false,
            }),
            SlidingWindows = Windows(config, described.Layers, config.SizeOr(config.States("sliding_window") ? 0 : 128, "sliding_window"),
                layer => layer % 2 == 0),
            Experts = ExpertKeys.Read(config, 128, 4, normalize: true, loss: 0.001, "num_local_experts", "num_experts"),
        };
    }

    private const double QuickGeluSlope = 1.702;

    private protected override void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        base.Attention(list, our, published, config, fused);
        list.Numbers(our + ".sinks", published + "sinks", config.Heads);
    }

    private protected override void Experts(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        var experts = published + "mlp.experts.";
        list.Linear(our + ".router", published + "mlp.router", config.Experts!.Count, config.HiddenSize, bias: true);
        list.StackedExperts(our, experts + "gate_up_proj", experts + "down_proj", config, fused, transposed: true, interleaved: true,
            biases: (experts + "gate_up_proj_bias", experts + "down_proj_bias"));
    }
}
