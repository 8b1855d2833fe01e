namespace Handbook.Models.Families;

/// <summary>OLMo 2: Llama with norms behind attention and feed-forward, and over all queries and all keys of a token. OLMo Team
/// 2024, arXiv:2501.00656.</summary>
internal class Olmo2 : Llama
{
    public override string ModelType => "olmo2";

    public override string Architecture => "Olmo2ForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    // A missing key means OLMo 2 7B's own value.
    public override DecoderConfig Describe(ConfigReader config) =>
        Describe(config, new()
        {
            Sizes = new(4096, 11008, 32, 32, 50304),
            NormEpsilon = 1e-5,
            BosId = null,
            EosIds = [50279],
            PadId = 1,
        }) with
        {
            NormPlacement = NormPlacement.After,
            QueryKeyNorm = QueryKeyNorm.WholeProjection,
            QueryKeyValueBias = config.Flag(false, "attention_bias"),
            AttentionOutputBias = config.Flag(false, "attention_bias"),
        };

    private protected override void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        base.Attention(list, our, published, config, fused);
        list.Norm(our + ".query_norm", published + "q_norm", config.QuerySize);
        list.Norm(our + ".key_norm", published + "k_norm", config.KeyValueSize);
    }

    private protected override void Norms(ParameterList list, string our, string published, DecoderConfig config)
    {
        list.Norm(our + "attention_output_norm", published + "post_attention_layernorm", config.HiddenSize);
        list.Norm(our + "mlp_output_norm", published + "post_feedforward_layernorm", config.HiddenSize);
    }
}
