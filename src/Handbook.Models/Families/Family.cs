using Handbook.Base;

namespace Handbook.Models.Families;

/// <summary>What one <c>model_type</c> means: its keys as a <see cref="DecoderConfig"/>, its published
/// weight names as our parameters.</summary>
internal abstract class Family
{
    /// <summary>The published <c>model_type</c>.</summary>
    public abstract string ModelType { get; }

    /// <summary>The class the Python library loads it with, for <c>architectures</c>.</summary>
    public abstract string Architecture { get; }

    /// <summary>The class the Python library loads it with where its head is a score.</summary>
    public virtual string ScoreArchitecture => Architecture.Replace("ForCausalLM", "ForSequenceClassification");

    /// <summary>Prefix of the network's tensors that a file saved from the bare network leaves out, e.g. <c>model.</c>.</summary>
    public abstract string BasePrefix { get; }

    /// <summary>The published names of the embedding and the head; tied files hold either.</summary>
    public abstract string EmbeddingName { get; }

    /// <inheritdoc cref="EmbeddingName"/>
    public virtual string HeadName => "lm_head.weight";

    /// <summary>The layers that get an adapter where nobody names any, as in PEFT; null where it knows none for the family.</summary>
    public virtual IReadOnlyList<string>? AdapterTargets => null;

    /// <summary>Whether its linear weights are published [in, out], which PEFT calls <c>fan_in_fan_out</c>.</summary>
    public virtual bool StoresTransposed => false;

    /// <summary>The published name of a reward model's head, which every family shares.</summary>
    public const string ScoreName = "score.weight";

    /// <summary>Reads the keys; problems go to the reader, which the caller asks to throw.</summary>
    public abstract DecoderConfig Describe(ConfigReader config);

    /// <summary>Every parameter of the decoder, in the order the published library creates them.</summary>
    /// <param name="fused">One parameter for query, key and value together, and one for gate and up.</param>
    public abstract IReadOnlyList<ParameterSpec> Parameters(DecoderConfig config, bool fused = false);

    /// <summary>Number of weights that work on one token: all but those of the experts that it does not visit.</summary>
    public long ActiveCount(DecoderConfig config)
    {
        var (inExperts, others) = (0L, 0L);
        foreach (var parameter in Parameters(config))
            _ = parameter.Name.Contains(".experts.") ? inExperts += parameter.Count : others += parameter.Count;
        return config.Experts is { } experts ? others + inExperts / experts.Count * experts.PerToken : others;
    }

    /// <summary>Tensors that older releases stored though they can be computed: masks and rotary tables.</summary>
    public abstract bool IsBuffer(string publishedName);

    /// <summary>The family of a <c>model_type</c>.</summary>
    /// <param name="file">Where it was read, for the message.</param>
    /// <exception cref="InputException">The model type is not built.</exception>
    public static Family For(string modelType, string file) => All.FirstOrDefault(f => f.ModelType == modelType)
        ?? throw new UnsupportedFamilyException(modelType, file);

    /// <summary>Every family that is built.</summary>
    public static IReadOnlyList<Family> All { get; } =
    [
        new Llama(), new Mistral(), new Ministral(), new Mixtral(), new Qwen2(), new Qwen3(), new Gemma(), new Gemma2(), new Gemma3(),
        new Phi(), new Phi3(), new Olmo2(), new Olmo3(), new SmolLM3(), new Granite(), new StableLm(), new Starcoder2(), new Cohere(),
        new Cohere2(), new Glm(), new Glm4(), new Exaone4(), new Ernie45(), new HunYuanDense(), new SeedOss(), new Nemotron(), new Gpt2(),
        new GptBigCode(), new GptJ(), new GptNeoX(), new Falcon(), new Opt(), new Bloom(), new Qwen2Moe(), new Qwen3Moe(), new Olmoe(),
        new GraniteMoe(), new GraniteMoeShared(), new GptOss(), new DeepseekV3(), new Llama4(),
    ];

    /// <summary>Checks that hold for every family once the keys are read.</summary>
    internal static DecoderConfig Check(ConfigReader reader, DecoderConfig config, string headsKey, string keyValueHeadsKey)
    {
        if (config.Heads % config.KeyValueHeads != 0)
            reader.Mismatch($"{headsKey} {config.Heads} is not divisible by {keyValueHeadsKey} {config.KeyValueHeads}");
        if ((long)config.Heads * config.HeadSize > int.MaxValue)
            reader.Mismatch($"{headsKey} {config.Heads} times head size {config.HeadSize} is more than any model has");
        if (config.RotarySize > config.HeadSize)
            reader.Mismatch($"the rotated part of a head has {config.RotarySize} dimensions, more than the {config.HeadSize} of a head; is "
                + "partial_rotary_factor above 1?");
        if (config.Positions == PositionKind.Rope && config.RotarySize % 2 != 0 && config.RotarySize >= config.HeadSize)
            reader.Mismatch($"the rotated part of a head has {config.RotarySize} dimensions, but rotary positions need an even number; it comes "
                + $"of hidden_size, {headsKey}, head_dim and partial_rotary_factor");
        if (config.RopeScaling is { Kind: RopeScalingKind.LongRope } rope
            && (rope.ShortFactors.Count != (config.RotarySize + 1) / 2 || rope.LongFactors.Count != (config.RotarySize + 1) / 2))
            reader.Mismatch($"short_factor and long_factor have {rope.ShortFactors.Count} and {rope.LongFactors.Count} numbers, but the "
                + $"head needs {(config.RotarySize + 1) / 2}");
        if (config.RopeScaling is { Kind: RopeScalingKind.Dynamic or RopeScalingKind.NtkAware } && config.RotarySize <= 2)
            reader.Mismatch($"rope_type dynamic needs more than 2 rotated dimensions, and the head has {config.RotarySize}");
        return config;
    }
}

/// <summary>A model type that is not built (yet); carries its name, so that tests can name what they skip.</summary>
public sealed class UnsupportedFamilyException(string modelType, string file) : InputException(
    $"{file}: model_type \"{modelType}\" is not supported",
    why: $"supported are {string.Join(", ", Family.All.Select(f => f.ModelType))}",
    fix: "choose a model of one of these families")
{
    /// <summary>What <c>model_type</c> says.</summary>
    public string ModelType => modelType;
}
