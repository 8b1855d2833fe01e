namespace Handbook.Models.Families;

/// <summary>Mistral 7B: Llama with a sliding window over every layer. Jiang et al. 2023, arXiv:2310.06825.</summary>
internal class Mistral : Llama
{
    public override string ModelType => "mistral";

    public override string Architecture => "MistralForCausalLM";

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means Mistral 7B's own value, a null means no window.
        var described = Describe(config, new() { Sizes = new(4096, 14336, 32, 32, 32000), KeyValueHeads = 8, MaxPositions = 4096 * 32 });
        var window = config.SizeOr(config.States("sliding_window") ? 0 : 4096, "sliding_window");
        return described with { SlidingWindows = Windows(config, described.Layers, window, firstLayer: 0) };
    }
}
