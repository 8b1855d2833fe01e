namespace Handbook.Models.Families;

/// <summary>Gemma 2: Gemma with norms before and behind each block, a window in every second layer, and soft caps on scores and logits.
/// Gemma Team 2024, arXiv:2408.00118.</summary>
internal class Gemma2 : Gemma
{
    public override string ModelType => "gemma2";

    public override string Architecture => "Gemma2ForCausalLM";

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means Gemma 2 2B's own value; a null cap means none.
        var described = DescribeCapped(config, Usual with { Sizes = new(2304, 9216, 26, 8, 256000), KeyValueHeads = 4 },
            attentionCap: 50, logitCap: 30);
        return described with { SlidingWindows = Windows(config, described.Layers, Window(config), layer => layer % 2 == 0) };
    }

    /// <summary>What Gemma 2 and 3 share.</summary>
    private protected DecoderConfig DescribeCapped(ConfigReader config, Defaults defaults, double? attentionCap, double? logitCap) =>
        DescribeGemma(config, defaults with { ActivationKey = "hidden_activation" }) with
        {
            NormPlacement = NormPlacement.BeforeAndAfter,
            AttentionMultiplier = 1 / Math.Sqrt(config.PositiveNumber(256, "query_pre_attn_scalar")),
            AttentionSoftCap = Cap(config, "attn_logit_softcapping", attentionCap),
            LogitSoftCap = Cap(config, "final_logit_softcapping", logitCap),
        };

    private protected static int Window(ConfigReader config) => config.SizeOr(config.States("sliding_window") ? 0 : 4096, "sliding_window");

    private static double? Cap(ConfigReader config, string key, double? assumed) =>
        config.Has(key) ? config.PositiveNumber(1, key) : config.States(key) ? null : assumed;

    private protected override void Norms(ParameterList list, string our, string published, DecoderConfig config)
    {
        list.Norm(our + "attention_norm", published + "input_layernorm", config.HiddenSize);
        list.Norm(our + "attention_output_norm", published + "post_attention_layernorm", config.HiddenSize);
        list.Norm(our + "mlp_norm", published + "pre_feedforward_layernorm", config.HiddenSize);
        list.Norm(our + "mlp_output_norm", published + "post_feedforward_layernorm", config.HiddenSize);
    }
}
