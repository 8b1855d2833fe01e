namespace Handbook.Models.Families;

/// <summary>SmolLM3: Llama with a tied head, in which every fourth layer rotates nothing (NoPE). Hugging Face 2025; NoPE: Yang et
/// al. 2025, arXiv:2501.18795.</summary>
internal sealed class SmolLM3 : Llama
{
    public override string ModelType => "smollm3";

    public override string Architecture => "SmolLM3ForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means SmolLM3-3B's own value.
        var described = Describe(config,
            new()
            {
                Sizes = new(2048, 11008, 36, 16, 128256),
                KeyValueHeads = 4,
                MaxPositions = 32768,
                RopeTheta = 2e6,
                TiedHead = true,
                BosId = 128000,
                EosIds = [128001],
                PadId = 128004
            });
        var without = WithoutRope(config, described.Layers);
        var window = config.Flag(false, "use_sliding_window") ? config.SizeOr(0, "sliding_window") : 0;
        return described with
        {
            QueryKeyValueBias = config.Flag(false, "attention_bias"),
            AttentionOutputBias = config.Flag(false, "attention_bias"),
            MlpBias = config.Flag(false, "mlp_bias"),
            LayersWithoutRope = without,
            // Without layer_types the window stands on the layers without rotation.
            SlidingWindows = window == 0 ? []
                : config.Has("layer_types") ? Windows(config, described.Layers, window, firstLayer: 0)
                : [.. Enumerable.Range(0, described.Layers).Select(layer => without.Contains(layer) ? window : 0)],
        };
    }
}
