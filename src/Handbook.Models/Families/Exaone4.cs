namespace Handbook.Models.Families;

/// <summary>EXAONE 4: Llama with norms behind each block and of queries and keys; where it has windows, three of four layers have one and
/// the fourth rotates nothing. LG AI Research 2025, arXiv:2507.11407.</summary>
internal sealed class Exaone4 : Llama
{
    public override string ModelType => "exaone4";

    public override string Architecture => "Exaone4ForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means EXAONE 4's own value.
        var described = Describe(config, new()
        {
            Sizes = new(4096, 16384, 32, 32, 102400),
            KeyValueHeads = 32,
            NormEpsilon = 1e-5,
            BosId = 0,
        }) with
        {
            NormPlacement = NormPlacement.After,
            QueryKeyNorm = QueryKeyNorm.PerHead,
        };
        var window = config.SizeOr(config.States("sliding_window") ? 0 : 4096, "sliding_window");
        if (window == 0)
            return described;
        var isLocal = Pattern(config, described.Layers);
        described = described with { SlidingWindows = Windows(config, described.Layers, window, layer => isLocal[layer]) };
        return described with
        {
            LayersWithoutRope = [.. Enumerable.Range(0, described.Layers).Where(layer => described.SlidingWindow(layer) == 0)],
        };
    }

    /// <summary>The layers with a window: all but every n-th, or the L in a text of L and G, whose last layer has none.</summary>
    private static bool[] Pattern(ConfigReader config, int layers)
    {
        const string key = "sliding_window_pattern";
        if (!config.IsText(key))
        {
            var period = config.SizeOr(4, key);
            return [.. Enumerable.Range(1, layers).Select(layer => layer % period != 0)];
        }
        var text = config.Text(key)!;
        if (text.Length == 0 || text.Trim('L', 'G').Length > 0)
        {
            config.Problem($"{key} is \"{text}\", but must be a number, or a text of L (with a window) and G (without)");
            return new bool[layers];
        }
        return [.. Enumerable.Range(0, layers).Select(layer => text[layer % text.Length] == 'L' && layer < layers - 1)];
    }

    private protected override void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        base.Attention(list, our, published, config, fused);
        list.Norm(our + ".query_norm", published + "q_norm", config.HeadSize);
        list.Norm(our + ".key_norm", published + "k_norm", config.HeadSize);
    }

    private protected override void Norms(ParameterList list, string our, string published, DecoderConfig config)
    {
        list.Norm(our + "attention_output_norm", published + "post_attention_layernorm", config.HiddenSize);
        list.Norm(our + "mlp_output_norm", published + "post_feedforward_layernorm", config.HiddenSize);
    }
}
