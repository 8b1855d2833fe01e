namespace Handbook.Training.Methods.Rewards;

/// <summary>The keys of reward modelling; each property is one key, in snake_case.</summary>
public sealed record RewardOptions
{
    /// <summary>Weight of the squared sum of both rewards, which keeps rewards around 0; 0.01 is usual, null adds nothing.</summary>
    [Key(IsUsual = true)]
    public double? CenterRewardsCoefficient { get; init; }
}
