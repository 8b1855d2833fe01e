using Handbook.Data;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Orpo;

/// <summary>Odds-ratio preference optimisation: likelihood of the chosen answer, and its odds against the rejected one's; no
/// reference.</summary>
/// <remarks>
/// <code>
/// loss = NLL(chosen) − β · 1/P Σ log σ( log odds(y_w) − log odds(y_l) )
/// log odds(y) = log p̄ − log(1 − p̄),   log p̄ = 1/|y| Σₜ log π(yₜ)
/// </code>
/// Source: Hong et al. 2024, arXiv:2403.07691, eqs. 4 to 7. NLL is the mean over the tokens of prompt and chosen answer, as the reference
/// trainer has it; with <c>orpo_nll: completion</c> it is the mean over pairs of −log p̄(y_w).
/// </remarks>
/// <param name="options">The recipe's keys, checked.</param>
internal sealed class OrpoObjective(PreferenceOptions options) : IPreferenceObjective
{
    private readonly double _beta = options.BetaOr();

    public bool NeedsReference => false;

    public bool NeedsSquares => false;

    public bool CouplesRows => false;

    public bool GroupsByMicroBatch => PreferenceObjective.GroupsByMicroBatch(options);

    public string ReduceKey => "mean";

    public double[] State { get => []; set { } }

    public double Reduce(SegmentRole role, ReadOnlySpan<double> logProbs, int promptLength, int otherLength, bool reference) =>
        PreferenceObjective.Sum(logProbs) / logProbs.Length;

    public double Evaluate(IReadOnlyList<ScoredRow> rows, GroupTotals totals, bool training, MetricSums? metrics,
        List<RowGradient>? gradients)
    {
        var loss = 0.0;
        foreach (var row in rows)
        {
            ReadOnlySpan<double> chosenTokens = row.Chosen!.LogProbs.Span, rejectedTokens = row.Rejected!.LogProbs.Span,
                promptTokens = row.PromptLogProbs.Span;
            var chosen = PreferenceObjective.Sum(chosenTokens) / chosenTokens.Length;
            var rejected = PreferenceObjective.Sum(rejectedTokens) / rejectedTokens.Length;

            var logOdds = PairLosses.LogOdds(Dual.Variable1(chosen)) - PairLosses.LogOdds(Dual.Variable2(rejected));
            var logRatio = Dual.LogSigmoid(logOdds);
            var pair = -_beta * logRatio / totals.Rows;

            var wholeText = options.OrpoNll == OrpoNll.PromptAndCompletion;
            var tokenWeight = wholeText ? 1.0 / (totals.PromptTokens + totals.ChosenTokens) : 1.0 / totals.Rows / chosenTokens.Length;
            var prompt = wholeText ? PreferenceObjective.Sum(promptTokens) : 0;
            var nll = -(prompt + PreferenceObjective.Sum(chosenTokens));
            loss += pair.Value + tokenWeight * nll;

            gradients?.Add(new()
            {
                Chosen = PreferenceObjective.Uniform(chosenTokens.Length, pair.First / chosenTokens.Length - tokenWeight),
                Rejected = PreferenceObjective.Uniform(rejectedTokens.Length, pair.Second / rejectedTokens.Length),
                Prompt = wholeText ? PreferenceObjective.Uniform(promptTokens.Length, -tokenWeight) : [],
            });
            if (metrics is null)
                continue;
            metrics.AddPair(_beta * chosen, _beta * rejected, chosen, rejected);
            metrics.Add("log_odds_ratio", logRatio.Value, 1);
            metrics.Add("log_odds_chosen", logOdds.Value, 1);
            if (wholeText)
                metrics.Add("nll_loss", nll, promptTokens.Length + chosenTokens.Length);
            else
                metrics.Add("nll_loss", nll / chosenTokens.Length, 1);
        }
        return loss;
    }
}
