using Handbook.Data;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Dpo;

/// <summary>Direct preference optimisation and its family: one or several pair losses over log-ratios to a reference.</summary>
/// <remarks>
/// <code>
/// loss = Σₖ wₖ · 1/P Σ pairs  ω · lossₖ(pair)        lossₖ from <see cref="PairLosses"/>; sft: −Σ log π(chosen tokens) / their number
/// ω    = w(y_w) · w(y_l), w(y) = exp( 1/|y| Σₜ [ log π(yₜ) − log Σᵥ π(v)² ] )    with use_weighting (WPO, arXiv:2406.11827, eq. 2); else 1
/// L(y) = Σₜ≤k log π(yₜ) + α Σₜ>k log π(yₜ), k = min(|y_w|, |y_l|)          with ld_alpha (LD-DPO, arXiv:2409.06411); else the plain sum
/// </code>
/// What <c>trl_compat: "0.24"</c> changes: <c>ipo</c> sees log-probabilities per token, in the metrics too; WPO shifts the
/// log-probabilities by one place against Σ π² and stops at 1; LD-DPO counts places from the start of the row, drops those beyond the
/// answer's length and leaves the reference whole;
/// <c>bco_pair</c> has a running δ; α of the divergence is 1 − α; <c>nca_pair</c>, <c>bco_pair</c>, <c>sppo_hard</c> and <c>discopop</c>
/// ignore the divergence; logged rewards are multiplied by the sum of the loss weights. <c>"1.9"</c>: <c>sigmoid</c> ignores label
/// smoothing. Three departures from 0.24 remain: evaluation never moves δ; <c>exo_pair</c>'s smoothing of 0.001 does not spread to the
/// other losses of a mix; and the likelihood term counts tokens whose number is 0 like any other.
/// </remarks>
internal sealed class DpoObjective : IPreferenceObjective
{
    private readonly PreferenceOptions _options;
    private readonly (DpoLossType Type, double Weight)[] _losses;
    private readonly double _beta, _nllWeight, _rewardScale;
    private readonly bool _is024, _scoresPerToken;
    private double _runningMean, _runningCount;

    /// <param name="options">The recipe's keys, checked.</param>
    public DpoObjective(PreferenceOptions options)
    {
        _options = options;
        _beta = options.BetaOr();
        _is024 = options.TrlCompat == TrlRelease.V0_24;
        var all = options.LossesOr("sigmoid")
            .Select((name, i) => (Type: PreferenceObjective.LossType<DpoLossType>(name), Weight: options.WeightAt(i))).ToArray();
        _losses = [.. all.Where(loss => loss.Type != DpoLossType.Sft)];
        _nllWeight = all.Where(loss => loss.Type == DpoLossType.Sft).Sum(loss => loss.Weight) + (options.RpoAlpha ?? 0);
        MeasuresNll = options.TrlCompat != TrlRelease.V1_9 && (options.RpoAlpha is not null || all.Length > _losses.Length);
        _rewardScale = _is024 ? all.Sum(loss => loss.Weight) : 1;
        _scoresPerToken = _is024 && all.Any(loss => loss.Type == DpoLossType.Ipo);
    }

    // 0.24 reads the reference for its metrics and some losses even where the loss proper does without
    public bool NeedsReference => !_options.ReferenceFree || _is024;

    public bool NeedsSquares => _options.UseWeighting;

    public bool CouplesRows => _losses.Any(loss => loss.Type is DpoLossType.Aot or DpoLossType.AotUnpaired or DpoLossType.KtoPair)
        || HasRunningMean || (_is024 && _options.UseWeighting && _nllWeight != 0);

    public bool GroupsByMicroBatch => PreferenceObjective.GroupsByMicroBatch(_options);

    public string ReduceKey => _scoresPerToken ? "mean"
        : _options.LdAlpha is { } alpha && !_is024 ? $"sum, {alpha:R} beyond the shorter answer" : "sum";

    /// <summary>δ of <c>bco_pair</c> in 0.24 and the number of batches in it; otherwise empty.</summary>
    public double[] State
    {
        get => HasRunningMean ? [_runningMean, _runningCount] : [];
        set
        {
            if (HasRunningMean && value is [var mean, var count])
                (_runningMean, _runningCount) = (mean, count);
        }
    }

    private bool HasRunningMean => _is024 && _losses.Any(loss => loss.Type == DpoLossType.BcoPair);

    private bool MeasuresNll { get; }

    private double Smoothing => _options.LabelSmoothing;

    public double Reduce(SegmentRole role, ReadOnlySpan<double> logProbs, int promptLength, int otherLength, bool reference)
    {
        var sum = 0.0;
        for (var i = 0; i < logProbs.Length; i++)
            sum += TokenWeight(i, logProbs.Length, promptLength, otherLength, reference) * logProbs[i];
        return sum;
    }

    public double Evaluate(IReadOnlyList<ScoredRow> rows, GroupTotals totals, bool training, MetricSums? metrics,
        List<RowGradient>? gradients)
    {
        var group = new DpoGroup([.. rows.Select(Pair)], totals.Rows);
        if (_options.UseWeighting)
            for (var i = 0; i < rows.Count; i++)
                group.Weights[i] = PolicyWeight(rows[i]);
        if (HasRunningMean && training)
            UpdateRunningMean(group);
        foreach (var (type, weight) in _losses)
            AddLoss(type, weight, group);
        if (_nllWeight != 0)
            AddNll(rows, totals, group);
        if (metrics is not null)
            Measure(rows, group, metrics);
        if (gradients is not null)
            for (var i = 0; i < rows.Count; i++)
                gradients.Add(TokenGradients(rows[i], group, i));
        return group.Loss;
    }

    private DpoPair Pair(ScoredRow row)
    {
        var (chosen, rejected) = (row.Chosen!, row.Rejected!);
        int chosenLength = chosen.LogProbs.Length, rejectedLength = rejected.LogProbs.Length;
        return new(Reduce(SegmentRole.Chosen, chosen.LogProbs.Span, row.PromptLength, rejectedLength, reference: false),
            Reduce(SegmentRole.Rejected, rejected.LogProbs.Span, row.PromptLength, chosenLength, reference: false),
            NeedsReference ? chosen.Reference : 0, NeedsReference ? rejected.Reference : 0, chosenLength, rejectedLength);
    }

    /// <summary>What a token's log-probability counts in its answer's score.</summary>
    private double TokenWeight(int token, int length, int promptLength, int otherLength, bool reference)
    {
        if (_options.LdAlpha is { } alpha && !(_is024 && reference))
        {
            var place = _is024 ? promptLength + token : token;
            return place < Math.Min(length, otherLength) ? 1 : place < length ? alpha : 0;
        }
        return _scoresPerToken ? 1.0 / length : 1;
    }

    private void AddLoss(DpoLossType type, double weight, DpoGroup group)
    {
        if (type == DpoLossType.Aot)
            group.AddPairedTransport(weight, delta => PairLosses.Sigmoid(_beta * delta, Smoothing));
        else if (type == DpoLossType.AotUnpaired)
            group.AddUnpairedTransport(weight, delta => PairLosses.Sigmoid(_beta * delta, Smoothing));
        else if (type == DpoLossType.KtoPair)
            group.AddKtoPair(weight, _beta);
        else
            for (var i = 0; i < group.Pairs.Length; i++)
                group.Add(i, weight, PairLoss(type, Scores(group.Pairs[i], IsPlain(type))), i, i);
    }

    // 0.24 computes these from the log-ratios to the reference, whatever the divergence and reference_free say
    private bool IsPlain(DpoLossType type) =>
        _is024 && type is (DpoLossType.NcaPair or DpoLossType.BcoPair or DpoLossType.SppoHard or DpoLossType.Discopop);

    private Dual PairLoss(DpoLossType type, in PairScores pair) => type switch
    {
        DpoLossType.Sigmoid => PairLosses.Sigmoid(_beta * pair.Delta, _options.TrlCompat == TrlRelease.V1_9 ? 0 : Smoothing),
        DpoLossType.SigmoidNorm => PairLosses.Sigmoid(_beta * pair.DeltaPerToken, _options.TrlCompat == TrlRelease.V1_9 ? 0 : Smoothing),
        DpoLossType.Hinge => PairLosses.Hinge(_beta * pair.Delta),
        DpoLossType.Ipo => PairLosses.Ipo(pair.DeltaPerToken, _beta),
        DpoLossType.ExoPair => PairLosses.Exo(_beta * pair.Delta, Smoothing == 0 ? 1e-3 : Smoothing),
        DpoLossType.Robust => PairLosses.Robust(_beta * pair.Delta, Smoothing),
        DpoLossType.NcaPair => PairLosses.Nca(_beta * pair.Chosen, _beta * pair.Rejected),
        DpoLossType.BcoPair => PairLosses.Bco(_beta * pair.Chosen, _beta * pair.Rejected, _runningMean),
        DpoLossType.SppoHard => PairLosses.SppoHard(pair.Chosen, pair.Rejected, _beta),
        DpoLossType.ApoZero => PairLosses.ApoZero(_beta * pair.RatioChosen, _beta * pair.RatioRejected),
        DpoLossType.ApoDown =>
            PairLosses.ApoDown(_beta * pair.RatioChosen, _beta * (_is024 ? pair.RatioChosen - pair.RatioRejected : pair.Delta)),
        DpoLossType.Discopop => PairLosses.Discopop(_beta * pair.Delta, _options.DiscopopTau),
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "is not a loss of single pairs"),
    };

    private PairScores Scores(in DpoPair pair, bool plain)
    {
        var free = _options.ReferenceFree && !plain;
        var chosen = Dual.Variable1(pair.Chosen) - (free ? 0 : pair.ChosenReference);
        var rejected = Dual.Variable2(pair.Rejected) - (free ? 0 : pair.RejectedReference);
        var (chosenLength, rejectedLength) = _scoresPerToken ? (1, 1) : (pair.ChosenLength, pair.RejectedLength);
        return new(chosen, rejected, plain ? chosen : Divergence(chosen), plain ? rejected : Divergence(rejected), chosenLength,
            rejectedLength);
    }

    /// <summary>s = g(ρ): f′ of the divergence at π/π_ref, constants dropped. arXiv:2309.16240.</summary>
    private Dual Divergence(Dual ratio)
    {
        switch (_options.FDivergenceType)
        {
            case Preferences.Divergence.ForwardKl:
                return -Dual.Exp(-ratio, PairLosses.ExponentCap);
            case Preferences.Divergence.JensenShannon:
                return Dual.LogSigmoid(ratio);
            case Preferences.Divergence.Alpha:
                var alpha = _is024 ? 1 - _options.AlphaDivergence() : _options.AlphaDivergence();
                return Math.Abs(alpha - 1) < 1e-6 ? ratio
                    : Dual.Exp((alpha - 1) * ratio, _is024 ? PairLosses.ExponentCap : 80) / (alpha - 1);
            default:
                return ratio;
        }
    }

    /// <summary>ω, a constant of the step.</summary>
    private double PolicyWeight(ScoredRow row)
    {
        var exponent = Mean(row.Chosen!) + Mean(row.Rejected!);
        return Math.Exp(Math.Min(exponent, _is024 ? 0 : PairLosses.ExponentCap));

        double Mean(AnswerScore answer)
        {
            ReadOnlySpan<double> logProbs = answer.LogProbs.Span, squares = answer.LogSquares.Span;
            var sum = 0.0;
            for (var i = 0; i < logProbs.Length; i++)
                sum += (_is024 ? i == 0 ? 0 : logProbs[i - 1] : logProbs[i]) - squares[i];
            return sum / logProbs.Length;
        }
    }

    /// <summary>δ: the mean of the batches' mean rewards, this one included.</summary>
    private void UpdateRunningMean(DpoGroup group)
    {
        var mean = group.Pairs.Average(pair => _beta * (pair.ChosenRatio + pair.RejectedRatio) / 2);
        _runningCount++;
        _runningMean += (mean - _runningMean) / _runningCount;
    }

    /// <summary>The chosen answers' negative log-likelihood per token; ω weighs each pair's tokens, and in 0.24 the mean ω the
    /// whole.</summary>
    private void AddNll(IReadOnlyList<ScoredRow> rows, GroupTotals totals, DpoGroup group)
    {
        var mean = _is024 ? group.Weights.Average() : 0;
        for (var i = 0; i < rows.Count; i++)
        {
            var weight = _nllWeight * (_is024 ? mean : group.Weights[i]) / totals.ChosenTokens;
            group.Loss -= weight * PreferenceObjective.Sum(rows[i].Chosen!.LogProbs.Span);
            group.ChosenTokenDerivative[i] = -weight;
        }
    }

    private RowGradient TokenGradients(ScoredRow row, DpoGroup group, int i)
    {
        int chosen = row.Chosen!.LogProbs.Length, rejected = row.Rejected!.LogProbs.Length;
        return new()
        {
            Chosen = Spread(group.ChosenDerivative[i], group.ChosenTokenDerivative[i], chosen, rejected),
            Rejected = Spread(group.RejectedDerivative[i], 0, rejected, chosen),
        };

        double[] Spread(double derivative, double each, int length, int otherLength)
        {
            if (derivative == 0 && each == 0)
                return [];
            var all = new double[length];
            for (var t = 0; t < length; t++)
                all[t] = PreferenceObjective.Bounded(derivative * TokenWeight(t, length, row.PromptLength, otherLength, reference: false)
                    + each);
            return all;
        }
    }

    private void Measure(IReadOnlyList<ScoredRow> rows, DpoGroup group, MetricSums metrics)
    {
        foreach (var pair in group.Pairs)
            metrics.AddPair(_rewardScale * _beta * pair.ChosenRatio, _rewardScale * _beta * pair.RejectedRatio, pair.Chosen, pair.Rejected);
        if (MeasuresNll)
            foreach (var row in rows)
                metrics.Add("nll_loss", -PreferenceObjective.Sum(row.Chosen!.LogProbs.Span), row.Chosen.LogProbs.Length);
    }
}
