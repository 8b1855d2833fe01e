
namespace Handbook.Training.Methods.Grpo;

/// <summary>From rewards to advantages.</summary>
/// <remarks>
/// <code>
/// A = (r − mean of the group) / (std + 1e-4)      std of the group, of the batch, or no division
/// </code>
/// Shao et al. 2024, arXiv:2402.03300, §4.1.2; without the division: Liu et al. 2025, arXiv:2503.20783. std divides by n − 1, as the
/// reference trainer's does.
/// </remarks>
internal static class Advantages
{
    private const double Small = 1e-4;

    /// <param name="rewards">One per answer, group after group.</param>
    /// <param name="groupSize">Answers of a group.</param>
    /// <param name="metrics">Receives <c>reward</c>, <c>reward_std</c> and <c>frac_reward_zero_std</c>; null for none.</param>
    /// <returns>One per answer.</returns>
    public static double[] Of(ReadOnlySpan<double> rewards, int groupSize, RewardScaling scaling, MetricSums? metrics = null)
    {
        var advantages = new double[rewards.Length];
        var batch = Deviation(rewards);
        for (var start = 0; start < rewards.Length; start += groupSize)
        {
            var group = rewards.Slice(start, groupSize);
            var (mean, deviation) = (Mean(group), scaling == RewardScaling.Batch ? batch : Deviation(group));
            for (var i = 0; i < groupSize; i++)
                advantages[start + i] = (group[i] - mean) / (scaling == RewardScaling.None ? 1 : deviation + Small);
            metrics?.Add("reward", mean * groupSize, groupSize);
            metrics?.Add("reward_std", deviation, 1);
            metrics?.Add("frac_reward_zero_std", deviation < 1e-8 ? 1 : 0, 1);
        }
        return advantages;
    }

    internal static double Mean(ReadOnlySpan<double> values)
    {
        var sum = 0.0;
        foreach (var value in values)
            sum += value;
        return sum / values.Length;
    }

    /// <summary>The standard deviation of a sample; 0 for fewer than two values.</summary>
    internal static double Deviation(ReadOnlySpan<double> values)
    {
        if (values.Length < 2)
            return 0;
        var (mean, sum) = (Mean(values), 0.0);
        foreach (var value in values)
            sum += (value - mean) * (value - mean);
        return Math.Sqrt(sum / (values.Length - 1));
    }
}
