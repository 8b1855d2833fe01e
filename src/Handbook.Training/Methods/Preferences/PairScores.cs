namespace Handbook.Training.Methods.Preferences;

/// <summary>A pair as its loss sees it: functions of both answers' log-probabilities, which are the two variables of the <see cref="Dual"/>
/// numbers.</summary>
/// <param name="RatioChosen">ρ of the chosen answer.</param>
/// <param name="RatioRejected">ρ of the rejected answer.</param>
/// <param name="Chosen">s = g(ρ), where the divergence is not reverse KL.</param>
/// <param name="Rejected">The same of the rejected answer.</param>
/// <param name="ChosenLength">What a per-token score of the chosen answer is divided by.</param>
/// <param name="RejectedLength">What a per-token score of the rejected answer is divided by.</param>
internal readonly record struct PairScores(
    Dual RatioChosen, Dual RatioRejected, Dual Chosen, Dual Rejected, double ChosenLength, double RejectedLength)
{
    /// <summary>Δ = s_w − s_l.</summary>
    public Dual Delta => Chosen - Rejected;

    /// <summary>s_w/n_w − s_l/n_l.</summary>
    public Dual DeltaPerToken => Chosen / ChosenLength - Rejected / RejectedLength;
}
