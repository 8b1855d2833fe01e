namespace Handbook.Models.Families;

/// <summary>GPT-J: attention and feed-forward side by side behind one layer norm, neighbouring dimensions of a part of each head turned
/// together, a bias on the head. Wang and Komatsuzaki 2021.</summary>
internal sealed class GptJ : Family
{
    public override string ModelType => "gptj";

    public override string Architecture => "GPTJForCausalLM";

    public override string BasePrefix => "transformer.";

    public override string EmbeddingName => "transformer.wte.weight";

    public override IReadOnlyList<string>? AdapterTargets => ["q_proj", "v_proj"];

    public override bool IsBuffer(string publishedName) => publishedName.EndsWith(".attn.bias")
        || publishedName.EndsWith(".attn.masked_bias") || publishedName.EndsWith(".attn.embed_positions");

    public override DecoderConfig Describe(ConfigReader config)
    {
        var hidden = config.Size(4096, "n_embd", "hidden_size");
        var heads = config.Size(16, "n_head", "num_attention_heads");
        if (hidden % heads != 0)
            config.Mismatch($"n_embd {hidden} is not divisible by n_head {heads}");
        var vocabulary = config.Size(50400, "vocab_size");
        if (config.States("rotary_dim") && !config.Has("rotary_dim"))
            config.Problem("rotary_dim is null, but must say how many dimensions of a head turn");
        return Check(config, new()
        {
            ModelType = ModelType,
            HiddenSize = hidden,
            IntermediateSize = config.SizeOr(4 * hidden, "n_inner"),
            Layers = config.LayerCount(28, "n_layer", "num_hidden_layers"),
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = Math.Max(1, hidden / heads),
            VocabularySize = vocabulary,
            MaxPositions = config.SizeOr(2048, "n_positions", "max_position_embeddings"),
            Norm = NormKind.LayerNorm,
            NormEpsilon = config.PositiveNumber(1e-5, "layer_norm_epsilon"),
            Activation = config.Activation("activation_function", "gelu_new"),
            GatedMlp = false,
            MlpBias = true,
            HeadBias = true,
            TiedHead = config.Flag(false, "tie_word_embeddings"),
            RotarySize = config.SizeOr(64, "rotary_dim"),
            InterleavedRope = true,
            ParallelResidual = true,
            SharedNorm = true,
            AttentionDropout = config.Dropout(0, "attn_pdrop"),
            ResidualDropout = config.Dropout(0, "resid_pdrop"),
            EmbeddingDropout = config.Dropout(0, "embd_pdrop"),
            InitializerRange = config.PositiveNumber(0.02, "initializer_range"),
            BosId = config.TokenId("bos_token_id", 50256, vocabulary),
            EosIds = config.TokenIds("eos_token_id", [50256], vocabulary),
            PadId = config.TokenId("pad_token_id"),
            DType = config.DType(),
        }, "n_head", "n_head");
    }

    public override IReadOnlyList<ParameterSpec> Parameters(DecoderConfig config, bool fused = false)
    {
        var list = new ParameterList(config.InitializerRange);
        var d = config.HiddenSize;
        list.Embedding("embed", EmbeddingName, config.VocabularySize, d);
        for (var i = 0; i < config.Layers; i++)
        {
            var (our, published) = ($"layers.{i}.", $"transformer.h.{i}.");
            list.Norm(our + "attention_norm", published + "ln_1", d, bias: true);
            list.QueryKeyValue(our + "attention", published + "attn.", config, fused);
            list.Linear(our + "attention.output", published + "attn.out_proj", d, d, bias: false);
            list.PlainMlp(our + "mlp", published + "mlp.", ("fc_in", "fc_out"), config);
        }
        list.Norm("final_norm", "transformer.ln_f", d, bias: true);
        list.Head(config, HeadName);
        return list.Specs;
    }
}
