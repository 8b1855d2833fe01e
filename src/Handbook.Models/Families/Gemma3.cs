namespace Handbook.Models.Families;

/// <summary>The text model of Gemma 3: Gemma 2 with norms of queries and keys in place of the soft caps, and five layers with a window,
/// which have a rotation of their own, for each without. Gemma Team 2025, arXiv:2503.19786.</summary>
internal sealed class Gemma3 : Gemma2
{
    public override string ModelType => "gemma3_text";

    public override string Architecture => "Gemma3ForCausalLM";

    public override string ScoreArchitecture => "Gemma3TextForSequenceClassification";

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means the class's own value; files of models with pictures leave out all that are.
        var described = DescribeCapped(config, Usual with
        {
            Sizes = new(2304, 9216, 26, 8, 262208),
            KeyValueHeads = 4,
            MaxPositions = 131072,
            RopeTheta = 1e6,
        }, attentionCap: null, logitCap: null);
        var pattern = config.SizeOr(6, "sliding_window_pattern", "_sliding_window_pattern");
        var rope = RopeKeys.OfWindows(config, described.MaxPositions, theta: 10000);
        return described with
        {
            QueryKeyNorm = QueryKeyNorm.PerHead,
            WindowRope = new(rope.Theta, rope.Scaling),
            SlidingWindows = Windows(config, described.Layers, Window(config), layer => (layer + 1) % pattern != 0),
        };
    }

    private protected override void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        base.Attention(list, our, published, config, fused);
        list.Norm(our + ".query_norm", published + "q_norm", config.HeadSize);
        list.Norm(our + ".key_norm", published + "k_norm", config.HeadSize);
    }
}
