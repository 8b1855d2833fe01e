namespace Handbook.Models;

/// <summary>How the rotary frequencies are stretched beyond the length the model was pretrained with.</summary>
/// <remarks>Parameters that a kind does not use keep their defaults, so that two descriptions of the same model are equal.</remarks>
public sealed record RopeScaling
{
    /// <summary>How the frequencies change.</summary>
    public required RopeScalingKind Kind { get; init; }

    /// <summary>How many times longer the sequences become.</summary>
    public double Factor { get; init; } = 1;

    /// <summary>NTK-aware: how many times longer the slowest wave becomes.</summary>
    public double Alpha { get; init; } = 1;

    /// <summary>Length of pretraining; null: the model's <c>MaxPositions</c>.</summary>
    public int? OriginalMaxPositions { get; init; }

    /// <summary>Llama 3: wavelengths longer than original / this are stretched fully.</summary>
    public double LowFrequencyFactor { get; init; } = 1;

    /// <summary>Llama 3: wavelengths shorter than original / this stay as they are.</summary>
    public double HighFrequencyFactor { get; init; } = 4;

    /// <summary>YaRN, LongRoPE: factor on cos and sin; null: computed from <see cref="Factor"/> (and the two scales below).</summary>
    public double? AttentionFactor { get; init; }

    /// <summary>YaRN: dimensions that turn more often than this within the original length stay as they are.</summary>
    public double BetaFast { get; init; } = 32;

    /// <summary>YaRN: dimensions that turn less often than this are stretched fully.</summary>
    public double BetaSlow { get; init; } = 1;

    /// <summary>YaRN as DeepSeek uses it; null or 0: not given.</summary>
    public double? MScale { get; init; }

    /// <inheritdoc cref="MScale"/>
    public double? MScaleAllDimensions { get; init; }

    /// <summary>YaRN: round the range of mixed dimensions to whole ones.</summary>
    public bool Truncate { get; init; } = true;

    /// <summary>LongRoPE: divisors per frequency up to the original length.</summary>
    public ValueList<double> ShortFactors { get; init; } = [];

    /// <summary>LongRoPE: divisors per frequency beyond it.</summary>
    public ValueList<double> LongFactors { get; init; } = [];
}

/// <summary>The ways to stretch rotary positions to longer texts, by their published <c>rope_type</c>.</summary>
public enum RopeScalingKind
{
    /// <summary>Positions divided by the factor. Chen et al. 2023, arXiv:2306.15595.</summary>
    Linear,

    /// <summary>The base grows by a fixed factor, whatever the sequence (NTK-aware; HunYuan's <c>alpha</c>).</summary>
    NtkAware,

    /// <summary>The base grows with the sequence once it is longer than <c>MaxPositions</c> (NTK-aware, dynamic).</summary>
    Dynamic,

    /// <summary>Slow frequencies divided, fast ones kept, those between mixed (Llama 3.1).</summary>
    Llama3,

    /// <summary>Peng et al. 2023, arXiv:2309.00071.</summary>
    Yarn,

    /// <summary>Ding et al. 2024, arXiv:2402.13753.</summary>
    LongRope,
}
