namespace Handbook.Models.Families;

/// <summary>Granite 3 with experts, which are published as one tensor. IBM Granite Team 2024.</summary>
internal class GraniteMoe : Granite
{
    public override string ModelType => "granitemoe";

    public override string Architecture => "GraniteMoeForCausalLM";

    public override DecoderConfig Describe(ConfigReader config) => base.Describe(config) with
    {
        MlpBias = false,
        Experts = ExpertKeys.Read(config, 8, 2, normalize: true, loss: 0.001, "num_local_experts", "num_experts"),
    };

    private protected override void Experts(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        var block = published + "block_sparse_moe.";
        list.Linear(our + ".router", block + "router.layer", config.Experts!.Count, config.HiddenSize, bias: false);
        list.StackedExperts(our, block + "input_linear.weight", block + "output_linear.weight", config, fused);
    }
}
