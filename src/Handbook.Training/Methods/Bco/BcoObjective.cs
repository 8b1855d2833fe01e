using Handbook.Data;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Bco;

/// <summary>Binary classifier optimisation: good answers' rewards above a running mean, bad ones' below it.</summary>
/// <remarks>
/// <code>
/// loss = 1/N Σ  −log σ(r − δ)  for good answers,  −w · log σ(−(r − δ))  for bad ones;   r = β·ρ
/// δ    = mean of all rewards seen in training, this group's included, a constant of the step
/// </code>
/// Source: Jung et al. 2024, arXiv:2404.04656. w is 1, or the density ratio p(prompt | good) / p(prompt | bad).
/// </remarks>
/// <param name="options">The recipe's keys, checked.</param>
/// <param name="densityRatio">w by the number of a training row; null weighs each with 1.</param>
/// <param name="heldOutRatio">w by the number of a held-out row; null takes <paramref name="densityRatio"/>.</param>
internal sealed class BcoObjective(PreferenceOptions options, Func<int, double>? densityRatio = null,
    Func<int, double>? heldOutRatio = null) : IPreferenceObjective
{
    private readonly double _beta = options.BetaOr();
    private double _mean, _count;

    public bool NeedsReference => true;

    public bool NeedsSquares => false;

    public bool CouplesRows => true;

    public bool GroupsByMicroBatch => PreferenceObjective.GroupsByMicroBatch(options);

    public string ReduceKey => "sum";

    /// <summary>δ and the number of rewards in it.</summary>
    public double[] State
    {
        get => [_mean, _count];
        set
        {
            if (value is [var mean, var count])
                (_mean, _count) = (mean, count);
        }
    }

    public double Reduce(SegmentRole role, ReadOnlySpan<double> logProbs, int promptLength, int otherLength, bool reference) =>
        PreferenceObjective.Sum(logProbs);

    public double Evaluate(IReadOnlyList<ScoredRow> rows, GroupTotals totals, bool training, MetricSums? metrics,
        List<RowGradient>? gradients)
    {
        if (training && rows.Count > 0)
        {
            _count += rows.Count;
            _mean += rows.Sum(row => Reward((row.Chosen ?? row.Rejected)!).Value - _mean) / _count;
        }
        metrics?.Add("delta", _mean, 1);
        var weight = training ? densityRatio : heldOutRatio ?? densityRatio;
        var loss = 0.0;
        foreach (var row in rows)
        {
            var desirable = row.Chosen is not null;
            var answer = (row.Chosen ?? row.Rejected)!;
            var reward = Reward(answer);
            var share = desirable
                ? PairLosses.BcoDesirable(reward, _mean) / totals.Rows
                : (weight?.Invoke(row.Row) ?? 1) * PairLosses.BcoUndesirable(reward, _mean) / totals.Rows;
            loss += share.Value;
            metrics?.AddAnswer(desirable, reward.Value, PreferenceObjective.Sum(answer.LogProbs.Span), totals);
            var tokens = PreferenceObjective.Uniform(answer.LogProbs.Length, share.First);
            gradients?.Add(desirable ? new() { Chosen = tokens } : new() { Rejected = tokens });
        }
        return loss;
    }

    private Dual Reward(AnswerScore answer) => _beta * (Dual.Variable1(PreferenceObjective.Sum(answer.LogProbs.Span)) - answer.Reference);
}
