namespace Handbook.Models.Families;

/// <summary>Nemotron 4 and Minitron: layer norms whose weights are stored minus one, squared ReLU without a gate, a part of each head
/// rotated. Parmar et al. 2024, arXiv:2402.16819.</summary>
internal sealed class Nemotron : Llama
{
    public override string ModelType => "nemotron";

    public override string Architecture => "NemotronForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    private protected override bool NormBias => true;

    public override DecoderConfig Describe(ConfigReader config) => Describe(config, new()
    {
        // A missing key means the class's own value.
        Sizes = new(6144, 24576, 32, 48, 256000),
        MaxPositions = 4096,
        NormEpsilon = 1e-5,
        NormEpsilonKey = "norm_eps",
        PartialRotary = 0.5,
        Activation = "relu2",
        InitializerRange = 0.0134,
        BosId = 2,
        EosIds = [3],
    }) with
    {
        Norm = NormKind.LayerNorm,
        NormWeightOffset = 1,
        GatedMlp = false,
        QueryKeyValueBias = config.Flag(false, "attention_bias"),
        AttentionOutputBias = config.Flag(false, "attention_bias"),
        MlpBias = config.Flag(false, "mlp_bias"),
    };

    private protected override void FeedForward(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        list.PlainMlp(our, published + "mlp.", ("up_proj", "down_proj"), config);
}
