namespace Handbook.Models.Families;

/// <summary>ERNIE 4.5, the dense ones: Llama with neighbouring dimensions turned together. Baidu ERNIE Team 2025.</summary>
internal sealed class Ernie45 : Llama
{
    public override string ModelType => "ernie4_5";

    public override string Architecture => "Ernie4_5ForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config)
    {
        var bias = config.Flag(false, "use_bias");
        return Describe(config, new()
        {
            // A missing key means ERNIE 4.5 0.3B's own value.
            Sizes = new(1024, 3072, 18, 16, 103424),
            KeyValueHeads = 2,
            HeadSize = 128,
            MaxPositions = 131072,
            RopeTheta = 500000,
            NormEpsilon = 1e-5,
            TiedHead = true,
            PadId = 0,
        }) with
        {
            InterleavedRope = true,
            QueryKeyValueBias = bias,
            AttentionOutputBias = bias,
            MlpBias = bias,
        };
    }
}
