namespace Handbook.Models.Families;

/// <summary>OPT: learned positions from row 2 on, ReLU, biases everywhere, a tied head; the 350M one has norms of sums and tables of
/// another width. Zhang et al. 2022, arXiv:2205.01068.</summary>
internal sealed class Opt : Family
{
    public override string ModelType => "opt";

    public override string Architecture => "OPTForCausalLM";

    public override string BasePrefix => "model.";

    public override string EmbeddingName => "model.decoder.embed_tokens.weight";

    public override IReadOnlyList<string>? AdapterTargets => ["q_proj", "v_proj"];

    public override bool IsBuffer(string publishedName) => false;

    public override DecoderConfig Describe(ConfigReader config)
    {
        var hidden = config.Size(768, "hidden_size");
        var heads = config.Size(12, "num_attention_heads");
        if (hidden % heads != 0)
            config.Mismatch($"hidden_size {hidden} is not divisible by num_attention_heads {heads}");
        if (!config.Flag(true, "layer_norm_elementwise_affine"))
            config.Problem("layer_norm_elementwise_affine is false, but only norms with weights are supported");
        var (vocabulary, tables) = (config.Size(50272, "vocab_size"), config.SizeOr(hidden, "word_embed_proj_dim"));
        var (before, bias) = (config.Flag(true, "do_layer_norm_before"), config.Flag(true, "enable_bias"));
        return Check(config, new()
        {
            ModelType = ModelType,
            HiddenSize = hidden,
            IntermediateSize = config.SizeOr(3072, "ffn_dim"),
            Layers = config.LayerCount(12, "num_hidden_layers"),
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = Math.Max(1, hidden / heads),
            VocabularySize = vocabulary,
            EmbeddingSize = tables == hidden ? 0 : tables,
            MaxPositions = config.SizeOr(2048, "max_position_embeddings"),
            Norm = NormKind.LayerNorm,
            NormPlacement = before ? NormPlacement.Before : NormPlacement.OfSum,
            FinalNorm = before && !config.Flag(false, "_remove_final_layer_norm"),
            NormEpsilon = 1e-5,
            Activation = config.Activation("activation_function", "relu"),
            GatedMlp = false,
            QueryKeyValueBias = bias,
            AttentionOutputBias = bias,
            MlpBias = bias,
            TiedHead = config.Flag(true, "tie_word_embeddings"),
            Positions = PositionKind.Learned,
            FirstPosition = 2,          // the library kept two rows for padding
            RotarySize = 0,
            AttentionDropout = config.Dropout(0, "attention_dropout"),
            ResidualDropout = config.Dropout(0.1, "dropout"),
            InitializerRange = config.PositiveNumber(0.02, "init_std"),
            BosId = config.TokenId("bos_token_id", 2, vocabulary),
            EosIds = config.TokenIds("eos_token_id", [2], vocabulary),
            PadId = config.TokenId("pad_token_id"),
            PaddingRow = config.PaddingRow(1, vocabulary),
            DType = config.DType(),
        }, "num_attention_heads", "num_attention_heads");
    }

    public override IReadOnlyList<ParameterSpec> Parameters(DecoderConfig config, bool fused = false)
    {
        const string decoder = "model.decoder.";
        var list = new ParameterList(config.InitializerRange);
        var d = config.HiddenSize;
        list.Embedding("embed", EmbeddingName, config.VocabularySize, config.TableSize);
        list.Embedding("positions", decoder + "embed_positions.weight", config.MaxPositions + config.FirstPosition, d);
        if (config.EmbeddingSize != 0)
        {
            list.Linear("project_out", decoder + "project_out", config.EmbeddingSize, d, bias: false);
            list.Linear("project_in", decoder + "project_in", d, config.EmbeddingSize, bias: false);
        }
        var norm = config.NormPlacement == NormPlacement.Before ? "norm" : "output_norm";
        for (var i = 0; i < config.Layers; i++)
        {
            var (our, published) = ($"layers.{i}.", $"{decoder}layers.{i}.");
            list.QueryKeyValue(our + "attention", published + "self_attn.", config, fused);
            list.Linear(our + "attention.output", published + "self_attn.out_proj", d, d, config.AttentionOutputBias);
            list.Norm(our + "attention_" + norm, published + "self_attn_layer_norm", d, bias: true);
            list.PlainMlp(our + "mlp", published, ("fc1", "fc2"), config);
            list.Norm(our + "mlp_" + norm, published + "final_layer_norm", d, bias: true);
        }
        if (config.FinalNorm)
            list.Norm("final_norm", decoder + "final_layer_norm", d, bias: true);
        list.Head(config, HeadName);
        return list.Specs;
    }
}
