namespace Handbook.Models.Families;

/// <summary>Mixtral: Mistral whose feed-forward layers are experts, two of them for each token. Jiang et
/// al. 2024, arXiv:2401.04088.</summary>
internal sealed class Mixtral : Llama
{
    public override string ModelType => "mixtral";

    public override string Architecture => "MixtralForCausalLM";

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means Mixtral 8x7B's own value.
        var described = Describe(config, new()
        {
            Sizes = new(4096, 14336, 32, 32, 32000),
            KeyValueHeads = 8,
            MaxPositions = 4096 * 32,
            RopeTheta = 1e6,
            NormEpsilon = 1e-5,
        });
        return described with
        {
            Experts = ExpertKeys.Read(config, 8, 2, normalize: true, loss: 0.001, "num_local_experts", "num_experts"),
            SlidingWindows = Windows(config, described.Layers, config.SizeOr(0, "sliding_window"), firstLayer: 0)
        };
    }

    private protected override void Experts(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        list.Experts(our, published + "block_sparse_moe.", "gate", ("w1", "w3", "w2"), config, fused);
}
