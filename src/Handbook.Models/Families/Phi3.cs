namespace Handbook.Models.Families;

/// <summary>Phi 3: Llama whose query, key and value are published as one tensor, and gate and up as one. Abdin et
/// al. 2024, arXiv:2404.14219.</summary>
internal sealed class Phi3 : Llama
{
    public override string ModelType => "phi3";

    public override string Architecture => "Phi3ForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means Phi-3-mini's own value.
        var described = Describe(config, new()
        {
            Sizes = new(3072, 8192, 32, 32, 32064),
            MaxPositions = 4096,
            NormEpsilon = 1e-5,
            EosIds = [32000],
            PadId = 32000,
        });
        return described with
        {
            SlidingWindows = Windows(config, described.Layers, config.SizeOr(0, "sliding_window"), firstLayer: 0),
            ResidualDropout = config.Dropout(0, "resid_pdrop"),
            EmbeddingDropout = config.Dropout(0, "embd_pdrop"),
        };
    }

    private protected override void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        (string Our, int Rows)[] queryKeyValue = [(our + ".query", config.QuerySize), (our + ".key", config.KeyValueSize),
            (our + ".value", config.KeyValueSize)];
        if (fused)
            list.Linear(our + ".query_key_value", published + "qkv_proj", config.QuerySize + 2 * config.KeyValueSize,
                config.HiddenSize, bias: false);
        else
            list.Split(published + "qkv_proj", queryKeyValue, config.HiddenSize, bias: false);
        list.Linear(our + ".output", published + "o_proj", config.HiddenSize, config.QuerySize, bias: false);
    }

    private protected override void FeedForward(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        list.GateAndUp(our, published + "mlp.", ("gate_up_proj", "down_proj"), config, fused);
}
