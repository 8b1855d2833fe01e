namespace Handbook.Models.Gguf;

/// <summary>How llama.cpp knows a family: the name of its architecture, and where its tensors differ from what most families
/// have.</summary>
/// <param name="Architecture">Its <c>general.architecture</c>, and the prefix of its keys.</param>
internal sealed record GgufLayout(string Architecture)
{
    /// <summary>Rows of each query and key head take turns: the two dimensions that turn together stand below one another.</summary>
    public bool TurnsPairs { get; init; }

    /// <summary>Queries, keys and values are one tensor, in that order.</summary>
    public bool FusesQueryKeyValue { get; init; }

    /// <summary>Gate and up are one tensor, in that order.</summary>
    public bool FusesGateUp { get; init; }

    /// <summary>The head is a tensor of its own although it is the embedding.</summary>
    public bool NeedsHead { get; init; }

    /// <summary>The head is always the embedding.</summary>
    public bool HasNoHead { get; init; }

    /// <summary>Names of a layer's tensors that are not the usual ones: ours, and theirs.</summary>
    public IReadOnlyDictionary<string, string> Names { get; init; } = new Dictionary<string, string>();

    /// <summary>Layers of which one sees everything, the others a window: the last of each so many. 0: windows are not computed; any
    /// other number is what the architecture has unless its key says another.</summary>
    public int WindowPeriod { get; init; }

    /// <summary>Whether <see cref="WindowPeriod"/> is written, and may be another.</summary>
    public bool StatesWindowPeriod { get; init; }

    /// <summary>Layers of which the last of each so many is not rotated; 0: all are.</summary>
    public int RopePeriod { get; init; }

    /// <summary>The first layers may be without experts, as a key says.</summary>
    public bool StatesDenseLayers { get; init; }

    /// <summary>Whether the borders of yarn are rounded whatever the model says, so that logits differ a little.</summary>
    public bool RoundsYarn { get; init; }

    /// <summary>Factor on the scores that the architecture has by itself; null for 1/√E.</summary>
    public Func<DecoderConfig, double>? AttentionScale { get; init; }

    /// <summary>Whether <c>attention.scale</c> is read.</summary>
    public bool StatesAttentionScale { get; init; }

    /// <summary>What the architecture does not compute though the family may ask for it; null for nothing.</summary>
    public Func<DecoderConfig, string?>? Lacks { get; init; }

    /// <summary>How config.json calls what the keys say, for the way back; null where there is none.</summary>
    public GgufConfigKeys? Keys { get; init; } = new();
}

/// <summary>The names in config.json of what a GGUF file states; null where the family has no such key.</summary>
internal sealed record GgufConfigKeys
{
    public string Positions { get; init; } = "max_position_embeddings";

    public string Hidden { get; init; } = "hidden_size";

    public string Layers { get; init; } = "num_hidden_layers";

    public string Heads { get; init; } = "num_attention_heads";

    public string? KeyValueHeads { get; init; } = "num_key_value_heads";

    public string? Inner { get; init; } = "intermediate_size";

    public string? HeadSize { get; init; } = "head_dim";

    /// <summary>Share of a head's dimensions that turn.</summary>
    public string? PartialRotary { get; init; }

    public string Epsilon { get; init; } = "rms_norm_eps";

    /// <summary>Biases of queries, keys and values.</summary>
    public string? Bias { get; init; } = "attention_bias";

    public string? MlpBias { get; init; }

    /// <summary>Number of experts; a family that has this key is one of experts.</summary>
    public string? Experts { get; init; }

    /// <summary>Width inside an expert; null where it is the dense layers'.</summary>
    public string? ExpertInner { get; init; }

    /// <summary>Width inside the expert that all tokens visit; a family that has this key is one with such an expert.</summary>
    public string? SharedInner { get; init; }

    /// <summary>The window of layers.</summary>
    public string? Window { get; init; }

    /// <summary>Keys that only this family has.</summary>
    public Action<GgufReading, System.Text.Json.Nodes.JsonObject>? More { get; init; }
}
