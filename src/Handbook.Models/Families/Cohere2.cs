namespace Handbook.Models.Families;

/// <summary>Command R7B and A: Command R with a window in three of four layers, and no rotation in the fourth. Cohere 2025,
/// arXiv:2504.00698.</summary>
internal sealed class Cohere2 : Cohere
{
    public override string ModelType => "cohere2";

    public override string Architecture => "Cohere2ForCausalLM";

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means the class's own value.
        var described = base.Describe(config);
        var pattern = config.SizeOr(4, "sliding_window_pattern", "_sliding_window_pattern");
        var window = config.SizeOr(config.States("sliding_window") ? 0 : 4096, "sliding_window");
        described = described with
        {
            QueryKeyNorm = QueryKeyNorm.None,
            SlidingWindows = Windows(config, described.Layers, window, layer => (layer + 1) % pattern != 0),
        };
        return described with
        {
            LayersWithoutRope = [.. Enumerable.Range(0, described.Layers).Where(layer => described.SlidingWindow(layer) == 0)],
        };
    }
}
