using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Rewards;

/// <summary>The loss of reward modelling (Bradley–Terry), on one reward per answer.</summary>
/// <remarks>
/// <code>
/// loss = 1/P Σ [ −log σ( r_w − r_l − margin ) + c · (r_w + r_l)² ]
/// </code>
/// Sources: margin, Touvron et al. 2023, arXiv:2307.09288, eq. 2; centring, Eisenstein et al. 2023, arXiv:2312.09244, eq. 2.
/// </remarks>
internal static class RewardObjective
{
    /// <summary>Loss, derivatives and metrics of pairs. The parts of a group add up to it.</summary>
    /// <param name="chosen">r_w of each pair.</param>
    /// <param name="rejected">r_l of each pair.</param>
    /// <param name="margins">By how much each chosen answer is better; empty where the data does not say.</param>
    /// <param name="centring">c; null adds nothing.</param>
    /// <param name="groupPairs">Pairs of the whole group: what the mean divides by.</param>
    /// <param name="chosenGradient">Receives ∂loss/∂r_w; empty in evaluation.</param>
    /// <param name="rejectedGradient">Receives ∂loss/∂r_l; empty in evaluation.</param>
    /// <param name="metrics">Receives sums and counts; null measures nothing. The least and greatest reward count once for each
    /// call.</param>
    /// <returns>The part of the group's loss that these pairs contribute.</returns>
    public static double Evaluate(ReadOnlySpan<double> chosen, ReadOnlySpan<double> rejected, ReadOnlySpan<double> margins,
        double? centring, int groupPairs,
        Span<double> chosenGradient, Span<double> rejectedGradient, MetricSums? metrics)
    {
        double total = 0, least = double.PositiveInfinity, greatest = double.NegativeInfinity;
        for (var i = 0; i < chosen.Length; i++)
        {
            Dual good = Dual.Variable1(chosen[i]), bad = Dual.Variable2(rejected[i]);
            var loss = -Dual.LogSigmoid(good - bad - (margins.IsEmpty ? 0 : margins[i]));
            if (centring is { } c)
                loss += c * Dual.Square(good + bad);
            loss /= groupPairs;
            total += loss.Value;
            if (!chosenGradient.IsEmpty)
                (chosenGradient[i], rejectedGradient[i]) = (loss.First, loss.Second);

            least = Math.Min(least, Math.Min(chosen[i], rejected[i]));
            greatest = Math.Max(greatest, Math.Max(chosen[i], rejected[i]));
            metrics?.Add("accuracy", chosen[i] > rejected[i] ? 1 : 0, 1);
            metrics?.Add("margin", chosen[i] - rejected[i], 1);
            metrics?.Add("mean_reward", chosen[i] + rejected[i], 2);
        }
        if (chosen.Length > 0)
        {
            metrics?.Add("min_reward", least, 1);
            metrics?.Add("max_reward", greatest, 1);
        }
        return total;
    }
}
