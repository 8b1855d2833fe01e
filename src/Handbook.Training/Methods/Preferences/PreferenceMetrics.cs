namespace Handbook.Training.Methods.Preferences;

/// <summary>The metrics that preference methods share, under the reference trainer's names.</summary>
internal static class PreferenceMetrics
{
    /// <summary>Rewards and log-probabilities of a pair.</summary>
    public static void AddPair(this MetricSums metrics, double chosenReward, double rejectedReward, double chosenLogProb,
        double rejectedLogProb)
    {
        metrics.Add("rewards/chosen", chosenReward, 1);
        metrics.Add("rewards/rejected", rejectedReward, 1);
        metrics.Add("rewards/accuracies", chosenReward > rejectedReward ? 1 : 0, 1);
        metrics.Add("rewards/margins", chosenReward - rejectedReward, 1);
        metrics.Add("logps/chosen", chosenLogProb, 1);
        metrics.Add("logps/rejected", rejectedLogProb, 1);
    }

    /// <summary>Reward and log-probability of a single answer. A class that is missing adds nothing.</summary>
    /// <remarks>The margin is the difference of both classes' means over the group: each answer adds its share, so parts of a group add up
    /// to it.</remarks>
    public static void AddAnswer(this MetricSums metrics, bool desirable, double reward, double logProb, GroupTotals totals)
    {
        var name = desirable ? "chosen" : "rejected";
        metrics.Add($"rewards/{name}", reward, 1);
        metrics.Add($"logps/{name}", logProb, 1);
        if (totals is { ChosenRows: > 0, RejectedRows: > 0 })
            metrics.Add("rewards/margins", desirable ? reward / totals.ChosenRows : -reward / totals.RejectedRows, 1.0 / totals.Rows);
    }
}
