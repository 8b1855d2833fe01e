namespace Handbook.Models.Families;

/// <summary>OLMoE: experts, norms over all queries and all keys of a token, and a limit on both and on values where the config has one.
/// Muennighoff et al. 2024, arXiv:2409.02060.</summary>
internal sealed class Olmoe : Llama
{
    public override string ModelType => "olmoe";

    public override string Architecture => "OlmoeForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    // A missing key means OLMoE-1B-7B's own value.
    public override DecoderConfig Describe(ConfigReader config) =>
        Describe(config, new()
        {
            Sizes = new(2048, 2048, 16, 16, 50304),
            MaxPositions = 4096,
            NormEpsilon = 1e-5,
            BosId = null,
            EosIds = [50279],
            PadId = 1
        }) with
        {
            QueryKeyNorm = QueryKeyNorm.WholeProjection,
            QueryKeyValueBias = config.Flag(false, "attention_bias"),
            AttentionOutputBias = config.Flag(false, "attention_bias"),
            QueryKeyValueLimit = config.Has("clip_qkv") ? config.PositiveNumber(1, "clip_qkv") : null,
            Experts = ExpertKeys.Read(config, 64, 8, config.Flag(false, "norm_topk_prob"), 0.01, "num_experts", "num_local_experts"),
        };

    private protected override void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        base.Attention(list, our, published, config, fused);
        list.Norm(our + ".query_norm", published + "q_norm", config.QuerySize);
        list.Norm(our + ".key_norm", published + "k_norm", config.KeyValueSize);
    }

    private protected override void Experts(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        list.Experts(our, published + "mlp.", "gate", ("gate_proj", "up_proj", "down_proj"), config, fused);
}
