namespace Handbook.Models.Families;

/// <summary>Llama 1 to 3.x: pre-norm RMSNorm, rotary positions, grouped heads, SwiGLU. Touvron et al. 2023,
/// arXiv:2302.13971, 2307.09288.</summary>
internal class Llama : Family
{
    public override string ModelType => "llama";

    public override string Architecture => "LlamaForCausalLM";

    public override string BasePrefix => "model.";

    public override string EmbeddingName => "model.embed_tokens.weight";

    public override IReadOnlyList<string>? AdapterTargets => ["q_proj", "v_proj"];

    public override bool IsBuffer(string publishedName) => publishedName.EndsWith("rotary_emb.inv_freq");

    public override DecoderConfig Describe(ConfigReader config) => Describe(config, new()) with
    {
        QueryKeyValueBias = config.Flag(false, "attention_bias"),
        AttentionOutputBias = config.Flag(false, "attention_bias"),
        MlpBias = config.Flag(false, "mlp_bias"),
    };

    /// <summary>What a key that the file lacks means; a family that says nothing here means what Llama does.</summary>
    private protected sealed record Defaults
    {
        /// <summary>Null: one key-value head per query head, as a null in the file means for every family.</summary>
        public int? KeyValueHeads { get; init; }

        /// <summary>Null: the hidden size divided by the heads.</summary>
        public int? HeadSize { get; init; }

        public int MaxPositions { get; init; } = 2048;

        public double RopeTheta { get; init; } = 10000;

        public double NormEpsilon { get; init; } = 1e-6;

        public string Activation { get; init; } = "silu";

        public bool TiedHead { get; init; }

        public int? BosId { get; init; } = 1;

        public int EosId { get; init; } = 2;

        /// <summary>The padding token that the published library assumes; null for none.</summary>
        public int? PadId { get; init; }
    }

    /// <summary>The keys that Llama and its relatives share.</summary>
    private protected DecoderConfig Describe(ConfigReader config, Defaults defaults)
    {
        var heads = config.Size("num_attention_heads");
        var hidden = config.Size("hidden_size");
        var defaultHeadSize = config.States("head_dim") ? null : defaults.HeadSize;
        if (!config.Has("head_dim") && defaultHeadSize is null && hidden % heads != 0)
            config.Problem($"hidden_size {hidden} is not divisible by num_attention_heads {heads}, and head_dim is not given");
        var headSize = config.SizeOr(defaultHeadSize ?? Math.Max(1, hidden / heads), "head_dim");
        var vocabulary = config.Size("vocab_size");
        var positions = config.SizeOr(defaults.MaxPositions, "max_position_embeddings");
        var rope = RopeKeys.Read(config, positions, defaults.RopeTheta);
        return Check(config, new()
        {
            ModelType = ModelType,
            HiddenSize = hidden,
            IntermediateSize = config.Size("intermediate_size"),
            Layers = config.LayerCount("num_hidden_layers"),
            Heads = heads,
            KeyValueHeads = config.SizeOr(config.States("num_key_value_heads") ? heads
                : defaults.KeyValueHeads ?? heads, "num_key_value_heads"),
            HeadSize = headSize,
            VocabularySize = vocabulary,
            MaxPositions = positions,
            NormEpsilon = config.PositiveNumber(defaults.NormEpsilon, "rms_norm_eps"),
            Activation = config.Activation("hidden_act", defaults.Activation),
            TiedHead = config.Flag(defaults.TiedHead, "tie_word_embeddings"),
            RopeTheta = rope.Theta,
            RopeScaling = rope.Scaling,
            RotarySize = (int)(headSize * rope.PartialRotary),
            AttentionDropout = config.Dropout(0, "attention_dropout"),
            InitializerRange = config.PositiveNumber(0.02, "initializer_range"),
            BosId = defaults.BosId is { } bos ? config.TokenId("bos_token_id", bos, vocabulary) : config.TokenId("bos_token_id"),
            EosIds = config.TokenIds("eos_token_id", defaults.EosId, vocabulary),
            PadId = config.TokenId("pad_token_id"),
            PaddingRow = config.PaddingRow(defaults.PadId, vocabulary),
            DType = config.DType(),
        }, "num_attention_heads", "num_key_value_heads");
    }

    /// <summary>The window of each layer; <c>layer_types</c>, where the file has it, says which layers have one.</summary>
    /// <param name="firstLayer">Without <c>layer_types</c>: the first layer that has one.</param>
    private protected static ValueList<int> Windows(ConfigReader config, int layers, int window, int firstLayer)
    {
        if (config.Texts("layer_types") is not { } types)
            return window == 0 || firstLayer >= layers ? []
                : [.. Enumerable.Range(0, layers).Select(layer => layer < firstLayer ? 0 : window)];
        if (types.Count != layers)
        {
            config.Problem($"layer_types has {types.Count} entries, but num_hidden_layers is {layers}");
            return [];
        }
        foreach (var type in types.Distinct())
            if (type is not ("full_attention" or "sliding_attention"))
                config.Problem($"layer_types has \"{type}\"; known: full_attention, sliding_attention");
        if (types.Contains("sliding_attention") && window == 0)
            config.Problem("layer_types has sliding_attention, but sliding_window is null");
        return types.Contains("sliding_attention") ? [.. types.Select(type => type == "sliding_attention" ? window : 0)] : [];
    }

    public override IReadOnlyList<ParameterSpec> Parameters(DecoderConfig config, bool fused = false)
    {
        var list = new ParameterList(config.InitializerRange);
        var d = config.HiddenSize;
        list.Embedding("embed", EmbeddingName, config.VocabularySize, d);
        for (var i = 0; i < config.Layers; i++)
        {
            var (our, published) = ($"layers.{i}.", $"model.layers.{i}.");
            Attention(list, our + "attention", published + "self_attn.", config, fused);
            FeedForward(list, our + "mlp", published, config, fused);
            Norms(list, our, published, config);
        }
        list.Norm("final_norm", "model.norm", d);
        list.Head(config, HeadName);
        return list.Specs;
    }

    /// <summary>The parameters of a layer's attention.</summary>
    /// <param name="our">Our name of it, e.g. <c>layers.0.attention</c>.</param>
    /// <param name="published">Its published prefix, e.g. <c>model.layers.0.self_attn.</c>.</param>
    private protected virtual void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        var (d, bias) = (config.HiddenSize, config.QueryKeyValueBias);
        (string Our, string Published, int Rows)[] queryKeyValue =
            [("query", published + "q_proj", config.QuerySize), ("key", published + "k_proj", config.KeyValueSize),
                ("value", published + "v_proj", config.KeyValueSize)];
        if (fused)
            list.Fused(our + ".query_key_value", queryKeyValue, d, bias);
        else
            foreach (var (name, source, rows) in queryKeyValue)
                list.Linear(our + "." + name, source, rows, d, bias);
        list.Linear(our + ".output", published + "o_proj", d, config.QuerySize, config.AttentionOutputBias);
    }

    /// <summary>The parameters of a layer's feed-forward part.</summary>
    /// <param name="our">Our name of it, e.g. <c>layers.0.mlp</c>.</param>
    /// <param name="published">The layer's published prefix, e.g. <c>model.layers.0.</c>.</param>
    private protected virtual void FeedForward(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        list.GatedMlp(our, published + "mlp.", ("gate_proj", "up_proj", "down_proj"), config, fused);

    /// <summary>The norms of a layer.</summary>
    private protected virtual void Norms(ParameterList list, string our, string published, DecoderConfig config)
    {
        list.Norm(our + "attention_norm", published + "input_layernorm", config.HiddenSize);
        list.Norm(our + "mlp_norm", published + "post_attention_layernorm", config.HiddenSize);
    }
}
