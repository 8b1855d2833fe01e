namespace Handbook.Models.Families;

/// <summary>Qwen 3: Qwen 2 with norms of queries and keys, head by head, in place of the biases. Yang et al. 2025,
/// arXiv:2505.09388.</summary>
internal class Qwen3 : Qwen2
{
    public override string ModelType => "qwen3";

    public override string Architecture => "Qwen3ForCausalLM";

    public override DecoderConfig Describe(ConfigReader config) =>
        // A missing key means Qwen3-8B's own value.
        DescribeQwen(config, new() { Sizes = Sizes, KeyValueHeads = 32, HeadSize = 128, MaxPositions = 32768, BosId = null, EosIds = [] })
            with
        {
            QueryKeyValueBias = config.Flag(false, "attention_bias"),
            AttentionOutputBias = config.Flag(false, "attention_bias"),
            QueryKeyNorm = QueryKeyNorm.PerHead,
        };

    private protected override void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        base.Attention(list, our, published, config, fused);
        list.Norm(our + ".query_norm", published + "q_norm", config.HeadSize);
        list.Norm(our + ".key_norm", published + "k_norm", config.HeadSize);
    }
}
