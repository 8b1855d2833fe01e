namespace Handbook.Models.Families;

/// <summary>GLM-4-0414: GLM with norms before and behind each block. Team GLM 2025.</summary>
internal sealed class Glm4 : Glm
{
    public override string ModelType => "glm4";

    public override string Architecture => "Glm4ForCausalLM";

    public override DecoderConfig Describe(ConfigReader config) =>
        base.Describe(config) with { NormPlacement = NormPlacement.BeforeAndAfter };

    private protected override void Norms(ParameterList list, string our, string published, DecoderConfig config)
    {
        list.Norm(our + "attention_norm", published + "input_layernorm", config.HiddenSize);
        list.Norm(our + "mlp_norm", published + "post_attention_layernorm", config.HiddenSize);
        list.Norm(our + "attention_output_norm", published + "post_self_attn_layernorm", config.HiddenSize);
        list.Norm(our + "mlp_output_norm", published + "post_mlp_layernorm", config.HiddenSize);
    }
}
