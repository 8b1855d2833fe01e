namespace Handbook.Models.Families;

/// <summary>GPT-NeoX and Pythia: LayerNorm with biases, a part of each head rotated, attention and feed-forward side by side. Black et al.
/// 2022, arXiv:2204.06745.</summary>
internal sealed class GptNeoX : Family
{
    public override string ModelType => "gpt_neox";

    public override string Architecture => "GPTNeoXForCausalLM";

    public override string BasePrefix => "gpt_neox.";

    public override string EmbeddingName => "gpt_neox.embed_in.weight";

    public override string HeadName => "embed_out.weight";

    public override IReadOnlyList<string>? AdapterTargets => ["query_key_value"];

    public override bool IsBuffer(string publishedName) =>
        publishedName.EndsWith(".attention.bias") || publishedName.EndsWith(".attention.masked_bias")
            || publishedName.EndsWith("rotary_emb.inv_freq");

    public override DecoderConfig Describe(ConfigReader config)
    {
        var hidden = config.Size(6144, "hidden_size");
        var heads = config.Size(64, "num_attention_heads");
        if (hidden % heads != 0)
            config.Mismatch($"hidden_size {hidden} is not divisible by num_attention_heads {heads}");
        var headSize = Math.Max(1, hidden / heads);
        var vocabulary = config.Size(50432, "vocab_size");
        var positions = config.SizeOr(2048, "max_position_embeddings");
        var rope = RopeKeys.Read(config, positions, partialRotary: 0.25);
        var attentionBias = config.Flag(true, "attention_bias");
        return Check(config, new()
        {
            ModelType = ModelType,
            HiddenSize = hidden,
            IntermediateSize = config.Size(24576, "intermediate_size"),
            Layers = config.LayerCount(44, "num_hidden_layers"),
            Heads = heads,
            KeyValueHeads = heads,
            HeadSize = headSize,
            VocabularySize = vocabulary,
            MaxPositions = positions,
            Norm = NormKind.LayerNorm,
            NormEpsilon = config.PositiveNumber(1e-5, "layer_norm_eps"),
            Activation = config.Activation("hidden_act", "gelu"),
            GatedMlp = false,
            QueryKeyValueBias = attentionBias,
            AttentionOutputBias = attentionBias,
            MlpBias = true,
            TiedHead = config.Flag(false, "tie_word_embeddings"),
            RopeTheta = rope.Theta,
            RopeScaling = rope.Scaling,
            RotarySize = (int)(headSize * rope.PartialRotary),
            ParallelResidual = config.Flag(true, "use_parallel_residual"),
            AttentionDropout = config.Dropout(0, "attention_dropout"),
            ResidualDropout = config.Dropout(0, "hidden_dropout"),
            EmbeddingDropout = config.Dropout(0, "hidden_dropout"),
            InitializerRange = config.PositiveNumber(0.02, "initializer_range"),
            BosId = config.TokenId("bos_token_id", 0, vocabulary),
            EosIds = config.TokenIds("eos_token_id", [2], vocabulary),
            PadId = config.TokenId("pad_token_id"),
            DType = config.DType(),
        }, "num_attention_heads", "num_attention_heads");
    }

    public override IReadOnlyList<ParameterSpec> Parameters(DecoderConfig config, bool fused = false)
    {
        var list = new ParameterList(config.InitializerRange);
        var (d, f) = (config.HiddenSize, config.IntermediateSize);
        list.Embedding("embed", EmbeddingName, config.VocabularySize, d);
        for (var i = 0; i < config.Layers; i++)
        {
            var (our, published) = ($"layers.{i}.", $"gpt_neox.layers.{i}.");
            list.Norm(our + "attention_norm", published + "input_layernorm", d, bias: true);
            list.Norm(our + "mlp_norm", published + "post_attention_layernorm", d, bias: true);
            list.GroupByGroup(our + "attention", published + "attention.query_key_value", config, fused);
            list.Linear(our + "attention.output", published + "attention.dense", d, d, config.AttentionOutputBias);
            list.Linear(our + "mlp.up", published + "mlp.dense_h_to_4h", f, d, bias: true);
            list.Linear(our + "mlp.down", published + "mlp.dense_4h_to_h", d, f, bias: true);
        }
        list.Norm("final_norm", "gpt_neox.final_layer_norm", d, bias: true);
        list.Head(config, HeadName);
        return list.Specs;
    }
}
