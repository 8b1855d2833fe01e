namespace Handbook.Models.Families;

/// <summary>StableLM 2 and 3B: Llama with layer norms, a quarter of each head rotated, and, in some, norms of each head's queries and
/// keys or attention and feed-forward side by side. Bellagente et al. 2024, arXiv:2402.17834.</summary>
internal sealed class StableLm : Llama
{
    public override string ModelType => "stablelm";

    public override string Architecture => "StableLmForCausalLM";

    private protected override bool NormBias => true;

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means StableLM 3B's own value.
        var parallel = config.Flag(false, "use_parallel_residual");
        return Describe(config, new()
        {
            Sizes = new(2560, 6912, 32, 32, 50304),
            KeyValueHeads = 32,
            MaxPositions = 4096,
            NormEpsilon = 1e-5,
            NormEpsilonKey = "layer_norm_eps",
            PartialRotary = 0.25,
            BosId = 0,
            EosIds = [0],
        }) with
        {
            Norm = NormKind.LayerNorm,
            QueryKeyValueBias = config.Flag(false, "use_qkv_bias"),
            QueryKeyNorm = config.Flag(false, "qk_layernorm") ? QueryKeyNorm.EachHead : QueryKeyNorm.None,
            ParallelResidual = parallel,
            SharedNorm = parallel,
            ResidualDropout = config.Dropout(0, "hidden_dropout"),
        };
    }

    private protected override void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        base.Attention(list, our, published, config, fused);
        if (config.QueryKeyNorm == QueryKeyNorm.None)
            return;
        list.NormOfEachHead(our + ".query_norm", published + "q_layernorm.norms", config.Heads, config.HeadSize);
        list.NormOfEachHead(our + ".key_norm", published + "k_layernorm.norms", config.KeyValueHeads, config.HeadSize);
    }
}
