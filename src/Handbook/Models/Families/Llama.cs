namespace Handbook.Models.Families;

/// <summary>Llama 1 to 3.x: pre-norm RMSNorm, rotary positions, grouped heads, SwiGLU. Touvron et al. 2023, arXiv:2302.13971, 2307.09288.</summary>
public class Llama : Family
{
    public override string ModelType => "llama";

    public override string Architecture => "LlamaForCausalLM";

    public override string BasePrefix => "model.";

    public override string EmbeddingName => "model.embed_tokens.weight";

    public override bool IsBuffer(string publishedName) => publishedName.EndsWith("rotary_emb.inv_freq");

    public override DecoderConfig Describe(ConfigReader config)
    {
        var heads = config.Size("num_attention_heads");
        return Describe(config, keyValueHeads: config.SizeOr(heads, "num_key_value_heads"), maxPositions: 2048) with
        {
            QueryKeyValueBias = config.Flag(false, "attention_bias"),
            AttentionOutputBias = config.Flag(false, "attention_bias"),
            MlpBias = config.Flag(false, "mlp_bias"),
        };
    }

    /// <summary>The keys that Llama and its relatives share.</summary>
    /// <param name="theta">Base of the rotary frequencies where the file names none.</param>
    /// <param name="epsilon">ε of the norms where the file names none.</param>
    private protected DecoderConfig Describe(ConfigReader config, int keyValueHeads, int maxPositions, double theta = 10000, double epsilon = 1e-6)
    {
        var heads = config.Size("num_attention_heads");
        var hidden = config.Size("hidden_size");
        if (!config.Has("head_dim") && hidden % heads != 0)
            config.Problem($"hidden_size {hidden} is not divisible by num_attention_heads {heads}, and head_dim is not given");
        var headSize = config.SizeOr(Math.Max(1, hidden / heads), "head_dim");
        var vocabulary = config.Size("vocab_size");
        var positions = config.SizeOr(maxPositions, "max_position_embeddings");
        var rope = RopeKeys.Read(config, positions, theta);
        return Check(config, new()
        {
            ModelType = ModelType,
            HiddenSize = hidden,
            IntermediateSize = config.Size("intermediate_size"),
            Layers = config.LayerCount("num_hidden_layers"),
            Heads = heads,
            KeyValueHeads = keyValueHeads,
            HeadSize = headSize,
            VocabularySize = vocabulary,
            MaxPositions = positions,
            NormEpsilon = config.PositiveNumber(epsilon, "rms_norm_eps"),
            Activation = config.Activation("hidden_act", "silu"),
            TiedHead = config.Flag(false, "tie_word_embeddings"),
            RopeTheta = rope.Theta,
            RopeScaling = rope.Scaling,
            RotarySize = (int)(headSize * rope.PartialRotary),
            AttentionDropout = config.Dropout(0, "attention_dropout"),
            InitializerRange = config.PositiveNumber(0.02, "initializer_range"),
            BosId = config.TokenId("bos_token_id", 1, vocabulary),
            EosIds = config.TokenIds("eos_token_id", 2, vocabulary),
            PadId = config.TokenId("pad_token_id"),
            DType = config.DType(),
        }, "num_attention_heads", "num_key_value_heads");
    }

    /// <summary>The window of each layer; <c>layer_types</c>, where the file has it, says which layers have one.</summary>
    /// <param name="firstLayer">Without <c>layer_types</c>: the first layer that has one.</param>
    private protected static ValueList<int> Windows(ConfigReader config, int layers, int window, int firstLayer)
    {
        if (config.Texts("layer_types") is not { } types)
            return window == 0 || firstLayer >= layers ? [] : [.. Enumerable.Range(0, layers).Select(layer => layer < firstLayer ? 0 : window)];
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
            (string Our, string Published, int Rows)[] queryKeyValue =
            [
                ("query", published + "self_attn.q_proj", config.QuerySize),
                ("key", published + "self_attn.k_proj", config.KeyValueSize),
                ("value", published + "self_attn.v_proj", config.KeyValueSize),
            ];
            if (fused)
                list.Fused(our + "attention.query_key_value", queryKeyValue, d, config.QueryKeyValueBias);
            else
                foreach (var (name, source, rows) in queryKeyValue)
                    list.Linear(our + "attention." + name, source, rows, d, config.QueryKeyValueBias);
            list.Linear(our + "attention.output", published + "self_attn.o_proj", d, config.QuerySize, config.AttentionOutputBias);
            FeedForward(list, our + "mlp", published, config, fused);
            list.Norm(our + "attention_norm", published + "input_layernorm", d);
            list.Norm(our + "mlp_norm", published + "post_attention_layernorm", d);
        }
        list.Norm("final_norm", "model.norm", d);
        list.Head(config, HeadName);
        return list.Specs;
    }

    /// <summary>The parameters of a layer's feed-forward part.</summary>
    /// <param name="our">Our name of it, e.g. <c>layers.0.mlp</c>.</param>
    /// <param name="published">The layer's published prefix, e.g. <c>model.layers.0.</c>.</param>
    private protected virtual void FeedForward(ParameterList list, string our, string published, DecoderConfig config, bool fused) =>
        list.GatedMlp(our, published + "mlp.", ("gate_proj", "up_proj", "down_proj"), config, fused);
}
