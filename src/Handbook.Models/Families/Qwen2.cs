namespace Handbook.Models.Families;

/// <summary>Qwen 2 and 2.5: Llama with biases on query, key and value, and a window over the upper layers where it is switched on. Yang et
/// al. 2024, arXiv:2407.10671.</summary>
internal class Qwen2 : Llama
{
    public override string ModelType => "qwen2";

    public override string Architecture => "Qwen2ForCausalLM";

    public override DecoderConfig Describe(ConfigReader config) =>
        // A missing key means Qwen2-7B's own value.
        DescribeQwen(config, new() { Sizes = Sizes, KeyValueHeads = 32, MaxPositions = 32768 }) with { QueryKeyValueBias = true };

    private protected static ClassSizes Sizes { get; } = new(4096, 22016, 32, 32, 151936);

    /// <summary>Llama with the window of the Qwens.</summary>
    private protected DecoderConfig DescribeQwen(ConfigReader config, Defaults defaults)
    {
        var described = Describe(config, defaults);
        var window = config.Flag(false, "use_sliding_window")
            ? config.SizeOr(config.States("sliding_window") ? 0 : 4096, "sliding_window") : 0;
        return described with
        {
            SlidingWindows = window == 0 ? [] : Windows(config, described.Layers, window, config.Integer("max_window_layers") ?? 28),
        };
    }
}
