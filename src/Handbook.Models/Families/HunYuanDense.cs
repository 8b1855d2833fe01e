namespace Handbook.Models.Families;

/// <summary>HunYuan's dense models: Llama with norms of queries and keys behind the rotation. Tencent 2025.</summary>
internal sealed class HunYuanDense : Llama
{
    public override string ModelType => "hunyuan_v1_dense";

    public override string Architecture => "HunYuanDenseV1ForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config)
    {
        if (!config.Flag(true, "use_qk_norm"))
            config.Problem("use_qk_norm is false, but this family always has norms of queries and keys");
        return Describe(config, new() { Sizes = new(4096, 11008, 32, 32, 290943), NormEpsilon = 1e-5, PadId = 0, RopeAlpha = true }) with
        {
            QueryKeyValueBias = config.Flag(false, "attention_bias"),
            AttentionOutputBias = config.Flag(false, "attention_bias"),
            QueryKeyNorm = QueryKeyNorm.PerHead,
            QueryKeyNormAfterRope = true,
        };
    }

    private protected override void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        base.Attention(list, our, published, config, fused);
        list.Norm(our + ".query_norm", published + "query_layernorm", config.HeadSize);
        list.Norm(our + ".key_norm", published + "key_layernorm", config.HeadSize);
    }
}
