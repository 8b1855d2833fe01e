using Handbook.Torch.Fused;

namespace Handbook.Models.Families;

/// <summary>Gemma: Llama with tanh-GELU, wide heads, scaled embeddings, a tied head, and norm weights stored minus one. Gemma Team
/// 2024, arXiv:2403.08295.</summary>
internal class Gemma : Llama
{
    public override string ModelType => "gemma";

    public override string Architecture => "GemmaForCausalLM";

    // A missing key means Gemma 7B's own value.
    private protected static Defaults Usual { get; } = new()
    {
        Sizes = new(3072, 24576, 28, 16, 256000),
        KeyValueHeads = 16,
        HeadSize = 256,
        MaxPositions = 8192,
        Activation = "gelu_pytorch_tanh",
        TiedHead = true,
        BosId = 2,
        EosIds = [1],
        PadId = 0,
    };

    public override DecoderConfig Describe(ConfigReader config)
    {
        var described = DescribeGemma(config, Usual);
        return described with { Activation = Trained(config, described.Activation) };
    }

    /// <summary>What all Gemmas have.</summary>
    private protected DecoderConfig DescribeGemma(ConfigReader config, Defaults defaults)
    {
        var described = Describe(config, defaults);
        if (config.Flag(false, "use_bidirectional_attention"))
            config.Problem("use_bidirectional_attention is true, but only models that read from left to right are supported");
        return described with
        {
            NormWeightOffset = 1,
            EmbeddingScale = Math.Sqrt(described.HiddenSize),
            QueryKeyValueBias = config.Flag(false, "attention_bias"),
            AttentionOutputBias = config.Flag(false, "attention_bias"),
        };
    }

    // The first files said "gelu" of models that were trained with the tanh form; hidden_activation was made to say it right.
    private static Activation Trained(ConfigReader config, Activation stated) =>
        config.Has("hidden_activation") ? config.Activation("hidden_activation", "gelu_pytorch_tanh")
        : stated == Activation.Gelu ? Activation.GeluTanh : stated;
}
