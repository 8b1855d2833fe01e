namespace Handbook.Models.Families;

/// <summary>Phi 1, 1.5 and 2: attention and feed-forward side by side behind one layer norm, a part of each head rotated, biases
/// everywhere, on the head too. Gunasekar et al. 2023, arXiv:2306.11644; Li et al. 2023, arXiv:2309.05463.</summary>
internal sealed class Phi : Llama
{
    public override string ModelType => "phi";

    public override string Architecture => "PhiForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => ["q_proj", "v_proj", "fc1", "fc2"];

    private protected override bool NormBias => true;

    private protected override string FinalNormName => "model.final_layernorm";

    private protected override string OutputName => "dense";

    public override DecoderConfig Describe(ConfigReader config) => Describe(config, new()
    {
        // A missing key means Phi-1's own value.
        Sizes = new(2048, 8192, 24, 32, 51200),
        NormEpsilon = 1e-5,
        NormEpsilonKey = "layer_norm_eps",
        PartialRotary = 0.5,
        Activation = "gelu_new",
    }) with
    {
        Norm = NormKind.LayerNorm,
        GatedMlp = false,
        ParallelResidual = true,
        SharedNorm = true,
        QueryKeyValueBias = true,
        AttentionOutputBias = true,
        MlpBias = true,
        HeadBias = true,
        QueryKeyNorm = config.Flag(false, "qk_layernorm") ? QueryKeyNorm.PerHead : QueryKeyNorm.None,
        ResidualDropout = config.Dropout(0, "resid_pdrop"),
        EmbeddingDropout = config.Dropout(0, "embd_pdrop"),
    };

    private protected override void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        base.Attention(list, our, published, config, fused);
        if (config.QueryKeyNorm == QueryKeyNorm.None)
            return;
        list.Norm(our + ".query_norm", published + "q_layernorm", config.HeadSize, bias: true);
        list.Norm(our + ".key_norm", published + "k_layernorm", config.HeadSize, bias: true);
    }

    private protected override void FeedForward(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        list.PlainMlp(our, published + "mlp.", ("fc1", "fc2"), config);
}
