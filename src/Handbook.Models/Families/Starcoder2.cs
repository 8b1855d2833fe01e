namespace Handbook.Models.Families;

/// <summary>StarCoder 2: layer norms, biases everywhere, a plain feed-forward layer, a tied head, grouped heads with a window. Lozhkov et
/// al. 2024, arXiv:2402.19173.</summary>
internal sealed class Starcoder2 : Llama
{
    public override string ModelType => "starcoder2";

    public override string Architecture => "Starcoder2ForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    private protected override bool NormBias => true;

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means StarCoder 2 7B's own value.
        var described = Describe(config, new()
        {
            Sizes = new(3072, 12288, 30, 24, 49152),
            KeyValueHeads = 2,
            MaxPositions = 4096,
            NormEpsilon = 1e-5,
            NormEpsilonKey = "norm_epsilon",
            Activation = "gelu_pytorch_tanh",
            TiedHead = true,
            InitializerRange = 0.018042,
            BosId = 50256,
            EosIds = [50256],
        });
        var bias = config.Flag(true, "use_bias");
        return described with
        {
            Norm = NormKind.LayerNorm,
            GatedMlp = false,
            QueryKeyValueBias = bias,
            AttentionOutputBias = bias,
            MlpBias = bias,
            SlidingWindows = Windows(config, described.Layers, config.SizeOr(0, "sliding_window"), firstLayer: 0),
            ResidualDropout = config.Dropout(0, "residual_dropout"),
            EmbeddingDropout = config.Dropout(0, "embedding_dropout"),
        };
    }

    private protected override void FeedForward(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        list.PlainMlp(our, published + "mlp.", ("c_fc", "c_proj"), config);
}
