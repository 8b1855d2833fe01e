namespace Handbook.Models.Families;

/// <summary>Mixtral: Mistral whose feed-forward layers are experts, two of them for each token. Jiang et
/// al. 2024, arXiv:2401.04088.</summary>
internal sealed class Mixtral : Llama
{
    private const int MostExperts = 4096;        // lists are made from it

    public override string ModelType => "mixtral";

    public override string Architecture => "MixtralForCausalLM";

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means Mixtral 8x7B's own value.
        var described = Describe(config, new() { KeyValueHeads = 8, MaxPositions = 4096 * 32, RopeTheta = 1e6, NormEpsilon = 1e-5 });
        var experts = new ExpertOptions(
            config.SizeOr(8, "num_local_experts", "num_experts"),
            config.SizeOr(2, "num_experts_per_tok"),
            NormalizeTopK: true,
            config.Number(0.001, "router_aux_loss_coef"),
            config.Flag(false, "output_router_logits"),
            config.Number(0, "router_jitter_noise"));
        if (experts.Count > MostExperts)
        {
            config.Problem($"num_local_experts is {experts.Count}, more than {MostExperts}");
            experts = experts with { Count = 1, PerToken = 1 };
        }
        if (experts.PerToken > experts.Count)
            config.Problem($"num_experts_per_tok is {experts.PerToken}, more than the {experts.Count} of num_local_experts");
        if (experts.AuxiliaryLossCoefficient < 0)
            config.Problem($"router_aux_loss_coef is {experts.AuxiliaryLossCoefficient}, but must be 0 or greater");
        return described with
        {
            Experts = experts,
            SlidingWindows = Windows(config, described.Layers, config.SizeOr(0, "sliding_window"), firstLayer: 0)
        };
    }

    private protected override void FeedForward(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        list.Linear(our + ".router", published + "block_sparse_moe.gate", config.Experts!.Count, config.HiddenSize, bias: false);
        for (var e = 0; e < config.Experts.Count; e++)
            list.GatedMlp($"{our}.experts.{e}", $"{published}block_sparse_moe.experts.{e}.", ("w1", "w3", "w2"), config, fused);
    }
}
