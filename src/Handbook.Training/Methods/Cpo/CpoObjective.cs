using Handbook.Data;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Cpo;

/// <summary>Contrastive preference optimisation and its family (SimPO, AlphaPO): pair losses without a reference, and a likelihood
/// term.</summary>
/// <remarks>
/// <code>
/// loss = 1/P Σ lossₖ( β · ( r(y_w) − r(y_l) ) ) + cpo_alpha · NLL(chosen)
/// ℓ(y) = Σₜ log π(yₜ) for sigmoid and hinge, its mean over tokens for ipo and simpo;   r = ℓ, or (1 − e^(−αℓ)) / α with alpha
/// simpo: −log σ( β · (r(y_w) − r(y_l)) − γ )
/// </code>
/// Sources: Xu et al. 2024, arXiv:2401.08417; Meng et al. 2024, arXiv:2405.14734 (SimPO); arXiv:2501.03884 (AlphaPO). <c>alphapo</c> is
/// <c>simpo</c> without the likelihood term.
/// </remarks>
internal sealed class CpoObjective : IPreferenceObjective
{
    private readonly PreferenceOptions _options;
    private readonly CpoLossType _type;
    private readonly double _beta, _nllWeight;

    /// <param name="options">The recipe's keys, checked.</param>
    public CpoObjective(PreferenceOptions options)
    {
        _options = options;
        _type = PreferenceObjective.LossType<CpoLossType>(options.LossesOr("sigmoid")[0]);
        _beta = options.BetaOr();
        _nllWeight = _type == CpoLossType.AlphaPo ? 0 : options.CpoAlpha;
    }

    public bool NeedsReference => false;

    public bool NeedsSquares => false;

    public bool CouplesRows => false;

    public bool GroupsByMicroBatch => PreferenceObjective.GroupsByMicroBatch(_options);

    public string ReduceKey => PerToken ? "mean" : "sum";

    public double[] State { get => []; set { } }

    private bool PerToken => _type is CpoLossType.Ipo or CpoLossType.Simpo or CpoLossType.AlphaPo;

    public double Reduce(SegmentRole role, ReadOnlySpan<double> logProbs, int promptLength, int otherLength, bool reference) =>
        PreferenceObjective.Sum(logProbs) / Length(logProbs);

    public double Evaluate(IReadOnlyList<ScoredRow> rows, GroupTotals totals, bool training, MetricSums? metrics,
        List<RowGradient>? gradients)
    {
        var loss = 0.0;
        foreach (var row in rows)
        {
            ReadOnlySpan<double> chosenTokens = row.Chosen!.LogProbs.Span, rejectedTokens = row.Rejected!.LogProbs.Span;
            var chosen = Reduce(SegmentRole.Chosen, chosenTokens, row.PromptLength, rejectedTokens.Length, reference: false);
            var rejected = Reduce(SegmentRole.Rejected, rejectedTokens, row.PromptLength, chosenTokens.Length, reference: false);

            var chosenReward = PairLosses.AlphaReward(Dual.Variable1(chosen), _options.Alpha);
            var rejectedReward = PairLosses.AlphaReward(Dual.Variable2(rejected), _options.Alpha);
            var pair = PairLoss(chosenReward - rejectedReward) / totals.Rows;
            var nll = _nllWeight == 0 ? 0 : -PreferenceObjective.Sum(chosenTokens);
            var tokenWeight = _nllWeight / totals.ChosenTokens;
            loss += pair.Value + tokenWeight * nll;

            gradients?.Add(new()
            {
                Chosen = PreferenceObjective.Uniform(chosenTokens.Length, pair.First / Length(chosenTokens) - tokenWeight),
                Rejected = PreferenceObjective.Uniform(rejectedTokens.Length, pair.Second / Length(rejectedTokens)),
            });
            metrics?.AddPair(_beta * chosenReward.Value, _beta * rejectedReward.Value, chosen, rejected);
            metrics?.Add("nll_loss", nll, chosenTokens.Length);
        }
        return loss;
    }

    private Dual PairLoss(Dual delta) => _type switch
    {
        CpoLossType.Sigmoid => PairLosses.Sigmoid(_beta * delta, _options.LabelSmoothing),
        CpoLossType.Hinge => PairLosses.Hinge(_beta * delta),
        CpoLossType.Ipo => PairLosses.Ipo(delta, _beta),
        _ => PairLosses.Sigmoid(_beta * delta - _options.SimpoGamma, _options.LabelSmoothing),
    };

    private double Length(ReadOnlySpan<double> logProbs) => PerToken ? logProbs.Length : 1;
}
