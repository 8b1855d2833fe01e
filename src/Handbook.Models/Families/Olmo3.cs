namespace Handbook.Models.Families;

/// <summary>OLMo 3: OLMo 2 with a window in three of four layers. Only the fourth has its rotation stretched. OLMo Team
/// 2025, arXiv:2512.13961.</summary>
internal sealed class Olmo3 : Olmo2
{
    public override string ModelType => "olmo3";

    public override string Architecture => "Olmo3ForCausalLM";

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means the class's own value.
        var described = base.Describe(config);
        var window = config.SizeOr(config.States("sliding_window") ? 0 : 4096, "sliding_window");
        return described with
        {
            SlidingWindows = Windows(config, described.Layers, window, layer => (layer + 1) % 4 != 0),
            WindowRope = new(described.RopeTheta, null),
        };
    }
}
