using Handbook.Base.Keys;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Grpo;

/// <summary>How the losses of all tokens become one number.</summary>
public enum GrpoAggregation
{
    /// <summary>The mean over all tokens of the step.</summary>
    [Spelled("dapo")] Dapo,
    /// <summary>The mean over answers of each answer's mean.</summary>
    [Spelled("grpo")] Grpo,
    /// <summary>The sum over all tokens, divided by the number of answers and by the greatest length of one.</summary>
    [Spelled("dr_grpo")] DrGrpo,
    /// <summary>The mean over all tokens of a micro-batch; the step's loss is the mean over its micro-batches.</summary>
    [Spelled("bnpo")] Bnpo,
}

/// <summary>What decides the loss of sampled answers.</summary>
internal sealed record GrpoLoss
{
    public GrpoAggregation Aggregation { get; init; }

    /// <summary>ε_low.</summary>
    public double Epsilon { get; init; } = 0.2;

    /// <summary>ε_high.</summary>
    public double EpsilonHigh { get; init; } = 0.2;

    /// <summary>The greatest ratio that counts where the advantage is negative; null for none.</summary>
    public double? Delta { get; init; }

    public RatioLevel Level { get; init; }

    /// <summary>β, the weight of the distance to the reference; 0 asks for none.</summary>
    public double Beta { get; init; }

    /// <summary>Most tokens of an answer.</summary>
    public int MaxLength { get; init; } = 256;

    /// <summary>The loss that checked options describe.</summary>
    public static GrpoLoss Of(MethodOptions options)
    {
        var grpo = options.Grpo;
        return new()
        {
            Aggregation = PreferenceObjective.LossType<GrpoAggregation>(options.Preference.LossesOr("dapo")[0]),
            Epsilon = grpo.Epsilon,
            EpsilonHigh = grpo.ClipHigh(),
            Delta = grpo.Delta,
            Level = grpo.ImportanceSamplingLevel,
            Beta = options.Preference.BetaOr(0),
            MaxLength = options.Preference.MaxCompletionLength ?? DefaultMaxLength,
        };
    }

    /// <summary>Most tokens of an answer where the recipe says null.</summary>
    internal const int DefaultMaxLength = 256;
}
