namespace Handbook.Models.Families;

/// <summary>GPT-2: pre-norm LayerNorm, learned positions, biases everywhere, tied head. Radford et al. 2019.</summary>
/// <remarks>Its linear weights are stored [in, out] (Conv1D), and query, key and value stand side by side in <c>c_attn</c>.</remarks>
internal class Gpt2 : Family
{
    public override string ModelType => "gpt2";

    public override string Architecture => "GPT2LMHeadModel";

    public override string ScoreArchitecture => "GPT2ForSequenceClassification";

    public override string BasePrefix => "transformer.";

    public override string EmbeddingName => "transformer.wte.weight";

    public override bool StoresTransposed => true;

    public override IReadOnlyList<string>? AdapterTargets => ["c_attn"];

    public override bool IsBuffer(string publishedName) => publishedName.EndsWith(".attn.bias")
        || publishedName.EndsWith(".attn.masked_bias");

    public override DecoderConfig Describe(ConfigReader config)
    {
        var hidden = config.Size(768, "n_embd", "hidden_size");
        var heads = config.Size(12, "n_head", "num_attention_heads");
        if (hidden % heads != 0)
            config.Mismatch($"n_embd {hidden} is not divisible by n_head {heads}");
        var headSize = Math.Max(1, hidden / heads);
        if (config.Flag(false, "add_cross_attention"))
            config.Problem("add_cross_attention is true, but only decoders without an encoder are supported");
        var vocabulary = config.Size(50257, "vocab_size");
        return Check(config, new()
        {
            ModelType = ModelType,
            HiddenSize = hidden,
            IntermediateSize = config.SizeOr(4 * hidden, "n_inner"),
            Layers = config.LayerCount(12, "n_layer", "num_hidden_layers"),
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = headSize,
            VocabularySize = vocabulary,
            MaxPositions = config.SizeOr(1024, "n_positions", "max_position_embeddings", "n_ctx"),
            Norm = NormKind.LayerNorm,
            NormEpsilon = config.PositiveNumber(1e-5, "layer_norm_epsilon"),
            Activation = config.Activation("activation_function", "gelu_new"),
            GatedMlp = false,
            QueryKeyValueBias = true,
            AttentionOutputBias = true,
            MlpBias = true,
            TiedHead = config.Flag(true, "tie_word_embeddings"),
            Positions = PositionKind.Learned,
            RotarySize = 0,
            AttentionMultiplier = config.Flag(true, "scale_attn_weights") ? null : 1,
            ScaleAttentionByInverseLayer = config.Flag(false, "scale_attn_by_inverse_layer_idx"),
            AttentionDropout = config.Dropout(0.1, "attn_pdrop"),
            ResidualDropout = config.Dropout(0.1, "resid_pdrop"),
            EmbeddingDropout = config.Dropout(0.1, "embd_pdrop"),
            InitializerRange = config.PositiveNumber(0.02, "initializer_range"),
            BosId = config.TokenId("bos_token_id", 50256, vocabulary),
            EosIds = config.TokenIds("eos_token_id", [50256], vocabulary),
            PadId = config.TokenId("pad_token_id"),
            DType = config.DType(),
        }, "n_head", "n_head");
    }

    public override IReadOnlyList<ParameterSpec> Parameters(DecoderConfig config, bool fused = false)
    {
        // The projections that write to the residual stream begin smaller, by the number of them (section 2.3 of the paper).
        var residual = config.InitializerRange / Math.Sqrt(2.0 * config.Layers);
        var list = new ParameterList(config.InitializerRange) { Transposed = StoresTransposed };
        var (d, f) = (config.HiddenSize, config.IntermediateSize);
        list.Embedding("embed", EmbeddingName, config.VocabularySize, d);
        list.Embedding("positions", "transformer.wpe.weight", config.MaxPositions, d);
        for (var i = 0; i < config.Layers; i++)
        {
            var (our, published) = ($"layers.{i}.", $"transformer.h.{i}.");
            list.Norm(our + "attention_norm", published + "ln_1", d, bias: true);
            QueryKeyValue(list, our + "attention", published + "attn.c_attn", config, fused);
            list.Linear(our + "attention.output", published + "attn.c_proj", d, d, bias: true, residual);
            list.Norm(our + "mlp_norm", published + "ln_2", d, bias: true);
            list.Linear(our + "mlp.up", published + "mlp.c_fc", f, d, bias: true);
            list.Linear(our + "mlp.down", published + "mlp.c_proj", d, f, bias: true, residual);
        }
        list.Norm("final_norm", "transformer.ln_f", d, bias: true);
        list.Head(config, HeadName);
        return list.Specs;
    }

    /// <summary>The queries of all heads, their keys and their values below one another.</summary>
    private protected virtual void QueryKeyValue(ParameterList list, string our, string published, DecoderConfig config, bool fused)
    {
        var (queries, keys) = (config.QuerySize, config.KeyValueSize);
        if (fused)
            list.Linear(our + ".query_key_value", published, queries + 2 * keys, config.HiddenSize, bias: true);
        else
            list.Split(published, [(our + ".query", queries), (our + ".key", keys), (our + ".value", keys)], config.HiddenSize, bias: true);
    }
}
