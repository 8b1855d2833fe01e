namespace Handbook.Models.Families;

/// <summary>Command R: attention and feed-forward side by side behind one layer norm without a bias, neighbouring dimensions turned
/// together, a tied head with a factor. Cohere 2024.</summary>
internal class Cohere : Llama
{
    public override string ModelType => "cohere";

    public override string Architecture => "CohereForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config) => Describe(config, new()
    {
        // A missing key means Command R's own value.
        Sizes = new(8192, 22528, 40, 64, 256000),
        MaxPositions = 8192,
        NormEpsilon = 1e-5,
        NormEpsilonKey = "layer_norm_eps",
        TiedHead = true,
        BosId = 5,
        EosIds = [255001],
        PadId = 0,
    }) with
    {
        Norm = NormKind.LayerNorm,
        ParallelResidual = true,
        SharedNorm = true,
        InterleavedRope = true,
        QueryKeyValueBias = config.Flag(false, "attention_bias"),
        AttentionOutputBias = config.Flag(false, "attention_bias"),
        QueryKeyNorm = config.Flag(false, "use_qk_norm") ? QueryKeyNorm.EachHead : QueryKeyNorm.None,
        LogitScale = config.Number(0.0625, "logit_scale"),
    };

    private protected override void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        base.Attention(list, our, published, config, fused);
        if (config.QueryKeyNorm == QueryKeyNorm.None)
            return;
        list.NormOfHeads(our + ".query_norm", published + "q_norm", config.Heads, config.HeadSize);
        list.NormOfHeads(our + ".key_norm", published + "k_norm", config.KeyValueHeads, config.HeadSize);
    }
}
