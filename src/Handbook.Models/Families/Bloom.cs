namespace Handbook.Models.Families;

/// <summary>BLOOM: layer norms, of the embeddings too, scores that fall with the distance (ALiBi), tanh-GELU, biases everywhere, a tied
/// head. BigScience Workshop 2022, arXiv:2211.05100.</summary>
internal sealed class Bloom : Family
{
    public override string ModelType => "bloom";

    public override string Architecture => "BloomForCausalLM";

    public override string BasePrefix => "transformer.";

    public override string EmbeddingName => "transformer.word_embeddings.weight";

    public override IReadOnlyList<string>? AdapterTargets => ["query_key_value"];

    public override bool IsBuffer(string publishedName) => false;

    public override DecoderConfig Describe(ConfigReader config)
    {
        var hidden = config.Size(64, "hidden_size", "n_embed", "n_embd");
        var heads = config.Size(8, "n_head", "num_attention_heads");
        if (hidden % heads != 0)
            config.Mismatch($"hidden_size {hidden} is not divisible by n_head {heads}");
        var vocabulary = config.Size(250880, "vocab_size");
        return Check(config, new()
        {
            ModelType = ModelType,
            HiddenSize = hidden,
            IntermediateSize = 4 * hidden,
            Layers = config.LayerCount(2, "n_layer", "num_hidden_layers"),
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = Math.Max(1, hidden / heads),
            VocabularySize = vocabulary,
            MaxPositions = config.SizeOr(2048, "seq_length"),
            Norm = NormKind.LayerNorm,
            NormEpsilon = config.PositiveNumber(1e-5, "layer_norm_epsilon"),
            EmbeddingNorm = true,
            ResidualFromNorm = config.Flag(false, "apply_residual_connection_post_layernorm"),
            Activation = Torch.Fused.Activation.GeluTanh,
            GatedMlp = false,
            QueryKeyValueBias = true,
            AttentionOutputBias = true,
            MlpBias = true,
            TiedHead = config.Flag(true, "tie_word_embeddings"),
            Positions = PositionKind.Alibi,
            AlibiSlopes = Alibi.Slopes(heads),
            RotarySize = 0,
            AttentionDropout = config.Dropout(0, "attention_dropout"),
            ResidualDropout = config.Dropout(0, "hidden_dropout"),
            InitializerRange = config.PositiveNumber(0.02, "initializer_range"),
            BosId = config.TokenId("bos_token_id", 1, vocabulary),
            EosIds = config.TokenIds("eos_token_id", [2], vocabulary),
            PadId = config.TokenId("pad_token_id"),
            DType = config.DType(),
        }, "n_head", "n_head");
    }

    public override IReadOnlyList<ParameterSpec> Parameters(DecoderConfig config, bool fused = false)
    {
        var list = new ParameterList(config.InitializerRange);
        var d = config.HiddenSize;
        list.Embedding("embed", EmbeddingName, config.VocabularySize, d);
        list.Norm("embed_norm", "transformer.word_embeddings_layernorm", d, bias: true);
        for (var i = 0; i < config.Layers; i++)
        {
            var (our, published) = ($"layers.{i}.", $"transformer.h.{i}.");
            list.Norm(our + "attention_norm", published + "input_layernorm", d, bias: true);
            list.GroupByGroup(our + "attention", published + "self_attention.query_key_value", config, fused);
            list.Linear(our + "attention.output", published + "self_attention.dense", d, d, bias: true);
            list.Norm(our + "mlp_norm", published + "post_attention_layernorm", d, bias: true);
            list.PlainMlp(our + "mlp", published + "mlp.", ("dense_h_to_4h", "dense_4h_to_h"), config);
        }
        list.Norm("final_norm", "transformer.ln_f", d, bias: true);
        list.Head(config, HeadName);
        return list.Specs;
    }
}
