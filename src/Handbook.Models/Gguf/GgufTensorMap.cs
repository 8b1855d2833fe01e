using Handbook.Models.Families;

namespace Handbook.Models.Gguf;

/// <summary>One of our parameters in a GGUF tensor.</summary>
/// <param name="Spec">The parameter.</param>
/// <param name="Start">Its first row there.</param>
/// <param name="Heads">Its rows belong to so many heads, in each of which the first half and the second take turns; 0: rows stand as
/// ours do.</param>
internal sealed record GgufPiece(ParameterSpec Spec, long Start, int Heads)
{
    /// <summary>Rows there: a vector of one of several experts is a row of theirs.</summary>
    public long Rows => IsRow ? 1 : Spec.Shape[0];

    /// <summary>Whether it is a vector among those of other experts.</summary>
    public bool IsRow { get; init; }

    /// <summary>The row of ours that stands at a row of the piece.</summary>
    public long Ours(long row)
    {
        if (Heads == 0)
            return row;
        var size = Rows / Heads;
        var (head, at) = Math.DivRem(row, size);
        return head * size + at % 2 * (size / 2) + at / 2;
    }
}

/// <summary>A GGUF tensor and the parameters it consists of.</summary>
/// <param name="Shape">Outermost dimension first.</param>
/// <param name="Offset">What is added to our values.</param>
internal sealed record MappedTensor(string Name, ValueList<long> Shape, IReadOnlyList<GgufPiece> Pieces, double Offset)
{
    public long Columns => Shape[^1];

    /// <summary>Rows of all pieces: over all outer dimensions.</summary>
    public long Rows => Shape.SkipLast(1).Aggregate(1L, (product, size) => product * size);

    /// <summary>A vector, or a matrix of few numbers that everything depends on: never rounded.</summary>
    public bool IsExact => Shape.Count == 1 || Name.Contains("_norm.", StringComparison.Ordinal)
        || Name.Contains("ffn_gate_inp", StringComparison.Ordinal) || Name.EndsWith(".bias", StringComparison.Ordinal)
        || Name.StartsWith("position_embd", StringComparison.Ordinal);
}

/// <summary>Which parameters stand in which tensor of a GGUF file, for both ways.</summary>
internal static class GgufTensorMap
{
    private static readonly Dictionary<string, string> _outside = new()
    {
        ["embed"] = "token_embd",
        ["positions"] = "position_embd",
        ["embed_norm"] = "token_embd_norm",
        ["final_norm"] = "output_norm",
        ["head"] = Head,
    };

    private static readonly Dictionary<string, string> _inside = new()
    {
        ["attention_norm"] = "attn_norm",
        ["attention_output_norm"] = "post_attention_norm",
        ["mlp_norm"] = "ffn_norm",
        ["mlp_output_norm"] = "post_ffw_norm",
        ["attention.query"] = "attn_q",
        ["attention.key"] = "attn_k",
        ["attention.value"] = "attn_v",
        ["attention.output"] = "attn_output",
        ["attention.query_down"] = "attn_q_a",
        ["attention.query_down_norm"] = "attn_q_a_norm",
        ["attention.key_value_down"] = "attn_kv_a_mqa",
        ["attention.key_value_norm"] = "attn_kv_a_norm",
        ["attention.key_value"] = "attn_kv_b",
        ["attention.query_norm"] = "attn_q_norm",
        ["attention.key_norm"] = "attn_k_norm",
        ["mlp.gate"] = "ffn_gate",
        ["mlp.up"] = "ffn_up",
        ["mlp.down"] = "ffn_down",
        ["mlp.router"] = "ffn_gate_inp",
        ["mlp.experts.gate"] = "ffn_gate_exps",
        ["mlp.experts.up"] = "ffn_up_exps",
        ["mlp.experts.down"] = "ffn_down_exps",
        ["mlp.shared.gate"] = "ffn_gate_shexp",
        ["mlp.shared.up"] = "ffn_up_shexp",
        ["mlp.shared.down"] = "ffn_down_shexp",
        ["mlp.shared_gate"] = "ffn_gate_inp_shexp",
    };

    // Vectors that are neither a weight nor a bias here.
    private static readonly Dictionary<string, string> _vectors = new()
    {
        ["attention.sinks"] = "attn_sinks.weight",
        ["mlp.router.correction"] = "exp_probs_b.bias",
    };

    /// <summary>The name of the head.</summary>
    public const string Head = "output";

    /// <summary>The tensors of a model, in the order of its parameters.</summary>
    /// <param name="hasHead">Whether the head is a tensor of its own; where it is tied, a copy of the embedding.</param>
    public static IReadOnlyList<MappedTensor> Of(Family family, GgufLayout layout, DecoderConfig config, bool hasHead)
    {
        var tensors = new List<(string Name, List<ParameterSpec> Specs, bool Stacked)>();
        var byName = new Dictionary<string, List<ParameterSpec>>();
        foreach (var spec in family.Parameters(config))
        {
            var (name, stacked) = NameOf(spec.Name, layout, config);
            if (!byName.TryGetValue(name, out var specs))
                tensors.Add((name, byName[name] = specs = [], stacked));
            specs.Add(spec);
        }
        if (config.TiedHead && hasHead)
            tensors.Add((Head + ".weight", byName["token_embd.weight"], false));
        return [.. tensors.Select(tensor => Mapped(tensor.Name, tensor.Specs, tensor.Stacked, layout, config))];
    }

    private static MappedTensor Mapped(string name, List<ParameterSpec> specs, bool stacked, GgufLayout layout, DecoderConfig config)
    {
        var (pieces, start) = (new List<GgufPiece>(), 0L);
        foreach (var spec in specs)
        {
            var piece = new GgufPiece(spec, start, Heads(spec.Name, layout, config)) { IsRow = stacked && spec.Shape.Count == 1 };
            pieces.Add(piece);
            start += piece.Rows;
        }
        var first = specs[0].Shape;
        ValueList<long> shape = stacked ? [specs.Count, .. first] : [start, .. first.Skip(1)];
        // a gate of one row is a vector there
        if (name.Contains("ffn_gate_inp_shexp", StringComparison.Ordinal))
            shape = [first[1]];
        return new(name, shape, pieces, specs[0].Kind == ParameterKind.NormWeight ? config.NormWeightOffset : 0);
    }

    private static int Heads(string our, GgufLayout layout, DecoderConfig config) => !layout.TurnsPairs ? 0
        : our.Contains(".attention.query.", StringComparison.Ordinal) ? config.Heads
        : our.Contains(".attention.key.", StringComparison.Ordinal) ? config.KeyValueHeads : 0;

    /// <summary>The name of the tensor that a parameter stands in, and whether those of several experts lie there behind one
    /// another.</summary>
    public static (string Name, bool IsStacked) NameOf(string our, GgufLayout layout, DecoderConfig config)
    {
        var words = our.Split('.');
        var kind = words[^1];                   // weight or bias
        if (words[0] != "layers")
            return ($"{_outside[string.Join('.', words[..^1])]}.{kind}", false);
        if (_vectors.TryGetValue(string.Join('.', words[2..]), out var vector))
            return ($"blk.{words[1]}.{vector}", false);
        var path = words[2..^1];
        var stacked = path is [_, "experts", ..];
        var part = string.Join('.', stacked ? [path[0], path[1], .. path[3..]] : path);
        var theirs = layout.Names.GetValueOrDefault(part) ?? part switch
        {
            "attention.query" or "attention.key" or "attention.value" when layout.FusesQueryKeyValue => "attn_qkv",
            "mlp.gate" or "mlp.up" when layout.FusesGateUp => "ffn_up",
            "attention.query" when config.Latent is { QueryRank: > 0 } => "attn_q_b",
            // Falcon 40B: what attention reads has a number there, and what the feed-forward layer reads has the plain name
            "attention_norm" when layout.Architecture == "falcon" && !config.SharedNorm => "attn_norm_2",
            "mlp_norm" when layout.Architecture == "falcon" => "attn_norm",
            _ => _inside.GetValueOrDefault(part) ?? throw new NotSupportedException($"no GGUF tensor is known for {our}"),
        };
        return ($"blk.{words[1]}.{theirs}.{kind}", stacked);
    }
}
