namespace Handbook.Models.Families;

/// <summary>Seed-OSS: Llama with wide heads, and biases on query, key and value. ByteDance Seed Team 2025.</summary>
internal sealed class SeedOss : Llama
{
    public override string ModelType => "seed_oss";

    public override string Architecture => "SeedOssForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config) => Describe(config, new()
    {
        // A missing key means Seed-OSS 36B's own value.
        Sizes = new(4096, 27648, 64, 80, 155136),
        KeyValueHeads = 8,
        HeadSize = 128,
        MaxPositions = 524288,
        AttentionDropout = 0.1,
        BosId = 0,
        PadId = 1,
    }) with
    {
        QueryKeyValueBias = config.Flag(true, "attention_bias"),
        AttentionOutputBias = config.Flag(false, "attention_out_bias"),
        MlpBias = config.Flag(false, "mlp_bias"),
        ResidualDropout = config.Dropout(0.1, "residual_dropout"),
    };
}
