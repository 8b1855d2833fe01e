namespace Handbook.Models.Families;

/// <summary>The text model of Llama 4: experts that read their input times its weight, one that all tokens visit, attention in chunks where
/// heads turn, and everywhere in every fourth layer, where they do not. Meta 2025.</summary>
/// <remarks>Queries and keys that turn are scaled to a common size behind that; queries that do not grow with their position.</remarks>
internal sealed class Llama4 : Llama
{
    public override string ModelType => "llama4_text";

    public override string Architecture => "Llama4ForCausalLM";

    public override IReadOnlyList<string>? AdapterTargets => null;

    public override DecoderConfig Describe(ConfigReader config)
    {
        // A missing key means the class's own value.
        var described = Describe(config, new()
        {
            Sizes = new(5120, 8192, 48, 40, 202048),
            KeyValueHeads = 8,
            HeadSize = 128,
            MaxPositions = 131072,
            RopeTheta = 500000,
            NormEpsilon = 1e-5,
        });
        var (layers, bias) = (described.Layers, config.Flag(false, "attention_bias"));
        var without = WithoutRope(config, layers, emptyIsAbsent: true);
        return described with
        {
            // the width of an expert; that of a dense layer has a key of its own
            IntermediateSize = config.SizeOr(16384, "intermediate_size_mlp"),
            InterleavedRope = true,
            QueryKeyValueBias = bias,
            AttentionOutputBias = bias,
            LayersWithoutRope = without,
            ChunkSizes = Chunks(config, layers, without),
            QueryKeyNorm = config.Flag(true, "use_qk_norm") ? QueryKeyNorm.Unweighted : QueryKeyNorm.None,
            QueryKeyNormAfterRope = config.Flag(true, "use_qk_norm"),
            QueryTemperature = IsTuned(config)
                ? new(config.PositiveNumber(8192, "floor_scale"), config.Number(0.1, "attn_scale")) : null,
            Experts = ExpertKeys.Read(config, 16, 1, normalize: false, loss: 0, "num_local_experts", "num_experts") with
            {
                InnerSize = described.IntermediateSize,
                SharedInnerSize = described.IntermediateSize,
                DenseLayers = [.. Enumerable.Range(0, layers).Except(Routed(config, layers))],
                Sigmoid = true,
                WeighsInput = true,
                WantsAuxiliaryLoss = false,     // the published class has no such loss
            },
        };
    }

    // Some files have a number here.
    private static bool IsTuned(ConfigReader config) => config.IsNumber("attn_temperature_tuning")
        ? config.Number(1, "attn_temperature_tuning") != 0 : config.Flag(true, "attn_temperature_tuning");

    private static IEnumerable<int> Routed(ConfigReader config, int layers)
    {
        var step = config.SizeOr(1, "interleave_moe_layer_step");
        return config.Numbers("moe_layers") is { } listed ? listed.Select(layer => (int)layer)
            : Enumerable.Range(0, layers).Where(layer => (layer + 1) % step == 0);
    }

    private static ValueList<int> Chunks(ConfigReader config, int layers, ValueList<int> without)
    {
        var size = config.SizeOr(config.States("attention_chunk_size") ? 0 : 8192, "attention_chunk_size");
        if (config.Texts("layer_types") is not { } types)
            return size == 0 ? [] : [.. Enumerable.Range(0, layers).Select(layer => without.Contains(layer) ? 0 : size)];
        if (types.Count != layers)
            config.Problem($"layer_types has {types.Count} entries, but num_hidden_layers is {layers}");
        foreach (var type in types.Distinct())
            if (type is not ("full_attention" or "chunked_attention"))
                config.Problem($"layer_types has \"{type}\"; known: full_attention, chunked_attention");
        if (types.Contains("chunked_attention") && size == 0)
            config.Problem("layer_types has chunked_attention, but attention_chunk_size is null");
        return [.. types.Select(type => type == "chunked_attention" ? size : 0)];
    }

    private protected override void FeedForward(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        list.GatedMlp(our, published + "feed_forward.", ("gate_proj", "up_proj", "down_proj"), config, fused);

    private protected override void Experts(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        var layer = published + "feed_forward.";
        list.Linear(our + ".router", layer + "router", config.Experts!.Count, config.HiddenSize, bias: false);
        list.StackedExperts(our, layer + "experts.gate_up_proj", layer + "experts.down_proj", config, fused, transposed: true);
        list.SharedExpert(our, layer + "shared_expert.", config, fused);
    }
}
