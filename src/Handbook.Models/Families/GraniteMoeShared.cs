namespace Handbook.Models.Families;

/// <summary>Granite 3 with experts, and one more expert that all tokens visit. IBM Granite Team 2024.</summary>
internal sealed class GraniteMoeShared : GraniteMoe
{
    public override string ModelType => "granitemoeshared";

    public override string Architecture => "GraniteMoeSharedForCausalLM";

    public override DecoderConfig Describe(ConfigReader config)
    {
        var described = base.Describe(config);
        return described with
        {
            Experts = described.Experts! with
            {
                // 0 is a model without such an expert
                SharedInnerSize = config.Integer("shared_intermediate_size") is 0 ? 0 : config.SizeOr(0, "shared_intermediate_size"),
            },
        };
    }

    private protected override void Experts(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        base.Experts(list, our, published, config, fused);
        if (config.Experts!.SharedInnerSize > 0)
            list.GateAndUp(our + ".shared", published + "shared_mlp.", ("input_linear", "output_linear"), config, fused,
                config.Experts.SharedInnerSize);
    }
}
