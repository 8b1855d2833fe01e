namespace Handbook.Models.Families;

/// <summary>Falcon: layer norms, a plain feed-forward layer, and query, key and value as one tensor, group of heads by group. The 7B has
/// one head of keys for all queries and one norm, the 40B groups of them and a norm for each part, RW 1B scores that fall with the
/// distance. Almazrouei et al. 2023, arXiv:2311.16867.</summary>
internal sealed class Falcon : Family
{
    public override string ModelType => "falcon";

    public override string Architecture => "FalconForCausalLM";

    public override string BasePrefix => "transformer.";

    public override string EmbeddingName => "transformer.word_embeddings.weight";

    public override IReadOnlyList<string>? AdapterTargets => ["query_key_value"];

    public override bool IsBuffer(string publishedName) => publishedName.EndsWith("rotary_emb.inv_freq");

    public override DecoderConfig Describe(ConfigReader config)
    {
        var hidden = config.Size(4544, "hidden_size", "n_embed");
        var heads = config.Size(71, "num_attention_heads", "n_head");
        if (hidden % heads != 0)
            config.Mismatch($"hidden_size {hidden} is not divisible by num_attention_heads {heads}");
        var headSize = Math.Max(1, hidden / heads);
        var vocabulary = config.Size(65024, "vocab_size");
        // A missing key means Falcon 7B's own value.
        var grouped = config.Flag(false, "new_decoder_architecture");
        var (groups, single) = (config.SizeOr(heads, "num_kv_heads", "n_head_kv"), config.Flag(true, "multi_query"));
        var parallel = config.Flag(true, "parallel_attn");
        var norms = parallel ? config.SizeOr(grouped ? 2 : 1, "num_ln_in_parallel_attn") : 2;
        if (grouped && !parallel)
            config.Problem("new_decoder_architecture is true and parallel_attn is false, which no layer can be");
        if (norms > 2 || !grouped && parallel && norms == 2)
            config.Problem($"num_ln_in_parallel_attn is {norms}, but must be 1, or 2 with new_decoder_architecture");
        var (positions, bias) = (config.SizeOr(2048, "max_position_embeddings"), config.Flag(false, "bias"));
        var rope = RopeKeys.Read(config, positions);
        var alibi = config.Flag(false, "alibi");
        return Check(config, new()
        {
            ModelType = ModelType,
            HiddenSize = hidden,
            IntermediateSize = config.SizeOr(4 * hidden, "ffn_hidden_size"),
            Layers = config.LayerCount(32, "num_hidden_layers", "n_layer"),
            Heads = heads,
            KeyValueHeads = grouped ? groups : single ? 1 : heads,
            HeadSize = headSize,
            VocabularySize = vocabulary,
            MaxPositions = positions,
            Norm = NormKind.LayerNorm,
            NormEpsilon = config.PositiveNumber(1e-5, "layer_norm_epsilon"),
            Activation = config.Activation("activation", "gelu"),
            GatedMlp = false,
            QueryKeyValueBias = bias,
            AttentionOutputBias = bias,
            MlpBias = bias,
            TiedHead = config.Flag(true, "tie_word_embeddings"),
            Positions = alibi ? PositionKind.Alibi : PositionKind.Rope,
            // What falls with the distance is added before scores are divided by √E.
            AlibiSlopes = alibi ? [.. Alibi.Slopes(heads).Select(slope => slope / Math.Sqrt(headSize))] : [],
            RopeTheta = rope.Theta,
            RopeScaling = rope.Scaling,
            RotarySize = alibi ? 0 : headSize,
            ParallelResidual = parallel,
            SharedNorm = norms == 1,
            AttentionDropout = config.Dropout(0, "attention_dropout"),
            ResidualDropout = config.Dropout(0, "hidden_dropout"),
            InitializerRange = config.PositiveNumber(0.02, "initializer_range"),
            BosId = config.TokenId("bos_token_id", 11, vocabulary),
            EosIds = config.TokenIds("eos_token_id", [11], vocabulary),
            PadId = config.TokenId("pad_token_id"),
            DType = config.DType(),
        }, "num_attention_heads", "num_kv_heads");
    }

    public override IReadOnlyList<ParameterSpec> Parameters(DecoderConfig config, bool fused = false)
    {
        var list = new ParameterList(config.InitializerRange);
        var d = config.HiddenSize;
        var (first, second) = config.ParallelResidual && !config.SharedNorm ? ("ln_attn", "ln_mlp")
            : ("input_layernorm", "post_attention_layernorm");
        list.Embedding("embed", EmbeddingName, config.VocabularySize, d);
        for (var i = 0; i < config.Layers; i++)
        {
            var (our, published) = ($"layers.{i}.", $"transformer.h.{i}.");
            list.GroupByGroup(our + "attention", published + "self_attention.query_key_value", config, fused);
            list.Linear(our + "attention.output", published + "self_attention.dense", d, config.QuerySize, config.AttentionOutputBias);
            list.PlainMlp(our + "mlp", published + "mlp.", ("dense_h_to_4h", "dense_4h_to_h"), config);
            list.Norm(our + "attention_norm", published + first, d, bias: true);
            if (!config.SharedNorm)
                list.Norm(our + "mlp_norm", published + second, d, bias: true);
        }
        list.Norm("final_norm", "transformer.ln_f", d, bias: true);
        list.Head(config, HeadName);
        return list.Specs;
    }
}
