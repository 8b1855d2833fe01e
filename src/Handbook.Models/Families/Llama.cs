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
        public ClassSizes Sizes { get; init; } = new(4096, 11008, 32, 32, 32000);

        /// <summary>Null: one key-value head per query head, as a null in the file means for every family.</summary>
        public int? KeyValueHeads { get; init; }

        /// <summary>Null: the hidden size divided by the heads.</summary>
        public int? HeadSize { get; init; }

        public int MaxPositions { get; init; } = 2048;

        public double RopeTheta { get; init; } = 10000;

        public double NormEpsilon { get; init; } = 1e-6;

        /// <summary>The key of ε.</summary>
        public string NormEpsilonKey { get; init; } = "rms_norm_eps";

        /// <summary>Share of a head's dimensions that turn.</summary>
        public double PartialRotary { get; init; } = 1;

        /// <summary>Whether <c>alpha</c> says how far a dynamic rotation is stretched.</summary>
        public bool RopeAlpha { get; init; }

        public string Activation { get; init; } = "silu";

        /// <summary>The key of the activation.</summary>
        public string ActivationKey { get; init; } = "hidden_act";

        public double AttentionDropout { get; init; }

        public double InitializerRange { get; init; } = 0.02;

        public bool TiedHead { get; init; }

        public int? BosId { get; init; } = 1;

        public ValueList<int> EosIds { get; init; } = [2];

        /// <summary>The padding token that the published library assumes; null for none.</summary>
        public int? PadId { get; init; }
    }

    /// <summary>The keys that Llama and its relatives share.</summary>
    private protected DecoderConfig Describe(ConfigReader config, Defaults defaults)
    {
        var heads = config.Size(defaults.Sizes.Heads, "num_attention_heads");
        var hidden = config.Size(defaults.Sizes.Hidden, "hidden_size");
        var defaultHeadSize = config.States("head_dim") ? null : defaults.HeadSize;
        if (!config.Has("head_dim") && defaultHeadSize is null && hidden % heads != 0)
            config.Mismatch($"hidden_size {hidden} is not divisible by num_attention_heads {heads}, and head_dim is not given");
        var headSize = config.SizeOr(defaultHeadSize ?? Math.Max(1, hidden / heads), "head_dim");
        var vocabulary = config.Size(defaults.Sizes.Vocabulary, "vocab_size");
        var positions = config.SizeOr(defaults.MaxPositions, "max_position_embeddings");
        var rope = RopeKeys.Read(config, positions, defaults.RopeTheta, defaults.PartialRotary, defaults.RopeAlpha);
        return Check(config, new()
        {
            ModelType = ModelType,
            HiddenSize = hidden,
            IntermediateSize = config.Size(defaults.Sizes.Inner, "intermediate_size"),
            Layers = config.LayerCount(defaults.Sizes.Layers, "num_hidden_layers"),
            Heads = heads,
            KeyValueHeads = config.SizeOr(config.States("num_key_value_heads") ? heads
                : defaults.KeyValueHeads ?? heads, "num_key_value_heads"),
            HeadSize = headSize,
            VocabularySize = vocabulary,
            MaxPositions = positions,
            NormEpsilon = config.PositiveNumber(defaults.NormEpsilon, defaults.NormEpsilonKey),
            Activation = config.Activation(defaults.ActivationKey, defaults.Activation),
            TiedHead = config.Flag(defaults.TiedHead, "tie_word_embeddings"),
            RopeTheta = rope.Theta,
            RopeScaling = rope.Scaling,
            RotarySize = (int)(headSize * rope.PartialRotary),
            AttentionDropout = config.Dropout(defaults.AttentionDropout, "attention_dropout"),
            InitializerRange = config.PositiveNumber(defaults.InitializerRange, "initializer_range"),
            BosId = defaults.BosId is { } bos ? config.TokenId("bos_token_id", bos, vocabulary) : config.TokenId("bos_token_id"),
            EosIds = config.TokenIds("eos_token_id", defaults.EosIds, vocabulary),
            PadId = config.TokenId("pad_token_id"),
            PaddingRow = config.PaddingRow(defaults.PadId, vocabulary),
            DType = config.DType(),
        }, "num_attention_heads", "num_key_value_heads");
    }

    /// <summary>The window of each layer; <c>layer_types</c>, where the file has it, says which layers have one.</summary>
    /// <param name="firstLayer">Without <c>layer_types</c>: the first layer that has one.</param>
    private protected static ValueList<int> Windows(ConfigReader config, int layers, int window, int firstLayer) =>
        Windows(config, layers, window, layer => layer >= firstLayer);

    /// <inheritdoc cref="Windows(ConfigReader, int, int, int)"/>
    /// <param name="isWindowed">Without <c>layer_types</c>: whether a layer has one.</param>
    private protected static ValueList<int> Windows(ConfigReader config, int layers, int window, Func<int, bool> isWindowed)
    {
        if (config.Texts("layer_types") is not { } types)
            return window == 0 || !Enumerable.Range(0, layers).Any(isWindowed) ? []
                : [.. Enumerable.Range(0, layers).Select(layer => isWindowed(layer) ? window : 0)];
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

    /// <summary>The layers whose flag in <c>no_rope_layers</c> is 0; without that list every layer at the end of an interval.</summary>
    /// <param name="emptyIsAbsent">Whether a list of nothing is no list.</param>
    private protected static ValueList<int> WithoutRope(ConfigReader config, int layers, bool emptyIsAbsent = false)
    {
        var interval = config.SizeOr(4, "no_rope_layer_interval");
        if (config.Numbers("no_rope_layers") is not { } flags || emptyIsAbsent && flags.Count == 0)
            return [.. Enumerable.Range(0, layers).Where(layer => (layer + 1) % interval == 0)];
        if (flags.Count < layers)
            config.Problem($"no_rope_layers has {flags.Count} entries, but num_hidden_layers is {layers}");
        return [.. Enumerable.Range(0, Math.Min(layers, flags.Count)).Where(layer => flags[layer] == 0)];
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
            if (config.IsRouted(i))
                Experts(list, our + "mlp", published, config, fused);
            else
                FeedForward(list, our + "mlp", published, config, fused);
            Norms(list, our, published, config);
        }
        list.Norm("final_norm", FinalNormName, d, NormBias);
        list.Head(config, HeadName);
        return list.Specs;
    }

    /// <summary>The last norm's published name.</summary>
    private protected virtual string FinalNormName => "model.norm";

    /// <summary>Whether norms of the stream have biases.</summary>
    private protected virtual bool NormBias => false;

    /// <summary>The attention's output projection, published.</summary>
    private protected virtual string OutputName => "o_proj";

    /// <summary>The parameters of a layer's attention.</summary>
    /// <param name="our">Our name of it, e.g. <c>layers.0.attention</c>.</param>
    /// <param name="published">Its published prefix, e.g. <c>model.layers.0.self_attn.</c>.</param>
    private protected virtual void Attention(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        list.QueryKeyValue(our, published, config, fused);
        list.Linear(our + ".output", published + OutputName, config.HiddenSize, config.QuerySize, config.AttentionOutputBias);
    }

    /// <summary>The parameters of a layer's feed-forward part.</summary>
    /// <param name="our">Our name of it, e.g. <c>layers.0.mlp</c>.</param>
    /// <param name="published">The layer's published prefix, e.g. <c>model.layers.0.</c>.</param>
    private protected virtual void FeedForward(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        list.GatedMlp(our, published + "mlp.", ("gate_proj", "up_proj", "down_proj"), config, fused);

    /// <summary>The same of a layer of experts.</summary>
    private protected virtual void Experts(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        throw new NotSupportedException($"{ModelType} has no experts");

    /// <summary>The norms of a layer.</summary>
    private protected virtual void Norms(ParameterList list, string our, string published, DecoderConfig config)
    {
        list.Norm(our + "attention_norm", published + "input_layernorm", config.HiddenSize, NormBias);
        if (!config.SharedNorm)
            list.Norm(our + "mlp_norm", published + "post_attention_layernorm", config.HiddenSize, NormBias);
    }
}
