using Handbook.Data;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Kto;

/// <summary>Kahneman–Tversky optimisation: answers that are good or bad by themselves, against the policy's mean drift from its
/// reference.</summary>
/// <remarks>
/// <code>
/// loss = 1/N Σ  λ_D · ( 1 − σ(β(ρ − z)) )  for good answers,  λ_U · ( 1 − σ(β(z − ρ)) )  for bad ones
/// z    = max(0, mean over the group of ρ(x, another row's answer)), a constant of the step
/// </code>
/// Source: Ethayarajh et al. 2024, arXiv:2402.01306. <c>apo_zero_unpaired</c> has z = 0 (arXiv:2408.06266, eq. 7).
/// </remarks>
internal sealed class KtoObjective : IPreferenceObjective
{
    private readonly PreferenceOptions _options;
    private readonly double _beta;

    /// <param name="options">The recipe's keys, checked.</param>
    public KtoObjective(PreferenceOptions options)
    {
        _options = options;
        _beta = options.BetaOr();
        CouplesRows = PreferenceObjective.LossType<KtoLossType>(options.LossesOr("kto")[0]) == KtoLossType.Kto;
    }

    public bool NeedsReference => true;

    public bool NeedsSquares => false;

    /// <summary>Whether there is a z.</summary>
    public bool CouplesRows { get; }

    public bool NeedsMismatched => CouplesRows;

    public bool GroupsByMicroBatch => PreferenceObjective.GroupsByMicroBatch(_options);

    public string ReduceKey => "sum";

    public double[] State { get => []; set { } }

    public double Reduce(SegmentRole role, ReadOnlySpan<double> logProbs, int promptLength, int otherLength, bool reference) =>
        PreferenceObjective.Sum(logProbs);

    public double Evaluate(IReadOnlyList<ScoredRow> rows, GroupTotals totals, bool training, MetricSums? metrics,
        List<RowGradient>? gradients)
    {
        var z = CouplesRows ? ReferencePoint(rows) : 0;
        metrics?.Add("kl", z, 1);
        var loss = 0.0;
        foreach (var row in rows)
        {
            var desirable = row.Chosen is not null;
            var answer = (row.Chosen ?? row.Rejected)!;
            var score = PreferenceObjective.Sum(answer.LogProbs.Span);
            var ratio = Dual.Variable1(score) - answer.Reference;
            var share = desirable
                ? _options.DesirableWeight * PairLosses.KtoDesirable(ratio, z, _beta) / totals.Rows
                : _options.UndesirableWeight * PairLosses.KtoUndesirable(ratio, z, _beta) / totals.Rows;
            loss += share.Value;
            metrics?.AddAnswer(desirable, _beta * ratio.Value, score, totals);
            var tokens = PreferenceObjective.Uniform(answer.LogProbs.Length, share.First);
            gradients?.Add(desirable ? new() { Chosen = tokens } : new() { Rejected = tokens });
        }
        return loss;
    }

    /// <summary>z: how far the policy has drifted on answers that do not belong to their prompts.</summary>
    private static double ReferencePoint(IReadOnlyList<ScoredRow> rows)
    {
        double sum = 0;
        var count = 0;
        foreach (var row in rows)
        {
            if (row.Mismatched is not { } answer)
                continue;
            sum += PreferenceObjective.Sum(answer.LogProbs.Span) - answer.Reference;
            count++;
        }
        return count == 0 ? 0 : Math.Max(0, sum / count);
    }
}
