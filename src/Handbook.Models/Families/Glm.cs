namespace Handbook.Models.Families;

/// <summary>GLM-4-9B as published for the library: Llama with neighbouring dimensions turned together in one half of each head, biases on
/// query, key and value, gate and up as one tensor. Team GLM 2024, arXiv:2406.12793.</summary>
internal class Glm : Llama
{
    public override string ModelType => "glm";

    public override string Architecture => "GlmForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config) => Describe(config, new()
    {
        // A missing key means GLM-4-9B's own value.
        Sizes = new(4096, 13696, 40, 32, 151552),
        KeyValueHeads = 2,
        HeadSize = 128,
        MaxPositions = 131072,
        NormEpsilon = 1.5625e-7,
        PartialRotary = 0.5,
        BosId = null,
        EosIds = [151329, 151336, 151338],
        PadId = 151329,
    }) with
    {
        InterleavedRope = true,
        QueryKeyValueBias = config.Flag(true, "attention_bias"),
    };

    private protected override void FeedForward(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        list.GateAndUp(our, published + "mlp.", ("gate_up_proj", "down_proj"), config, fused);
}
