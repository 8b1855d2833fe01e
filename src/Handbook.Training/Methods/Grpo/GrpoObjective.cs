using Handbook.Data;

namespace Handbook.Training.Methods.Grpo;

/// <summary>One sampled answer as the networks see it.</summary>
/// <param name="LogProbs">log π of each token, the end token included; [n], n ≥ 1.</param>
/// <param name="Score">What was known before.</param>
internal readonly record struct SampledAnswerLogProbs(ReadOnlyMemory<double> LogProbs, SampleScore Score);

/// <summary>Group-relative policy optimisation: tokens of answers that are better than their group's mean become likelier, the others less
/// likely.</summary>
/// <remarks>
/// <code>
/// r_t   = π(t) / π_old(t)                                       Shao et al. 2024, arXiv:2402.03300, eq. 3
/// r_t   = exp( mean over the answer of log π − log π_old )      per sequence: GSPO, Zheng et al. 2025, arXiv:2507.18071, eq. 7
/// l_t   = − min( min(r_t, δ) · A,  clip(r_t, 1 − ε_low, 1 + ε_high) · A ) + β · k_t
/// k_t   = π_ref(t)/π(t) − log( π_ref(t)/π(t) ) − 1              eq. 4
/// loss  = Σ_t w_t · l_t,   w_t = 1 / (answers · n)              grpo
///                                1 / tokens of the step         dapo, Yu et al. 2025, arXiv:2503.14476, eq. 8
///                                1 / (answers · max length)     dr_grpo, Liu et al. 2025, arXiv:2503.20783
///                                1 / tokens of the micro-batch  bnpo
/// </code>
/// Answers that do not count have l = 0; they stay in the numbers of answers, and in the tokens of <c>dapo</c>, as in the reference
/// trainer.
/// </remarks>
internal static class GrpoObjective
{
    /// <summary>Beyond this an exponential says nothing but its sign, and its square would leave float64.</summary>
    private const double Largest = 80;

    /// <summary>The loss of a group of answers, and its derivatives.</summary>
    /// <param name="answers">Answers, or some of a group's.</param>
    /// <param name="totals">Counts over the whole group.</param>
    /// <param name="metrics">Receives <c>kl</c> and <c>clip_ratio</c>; null for none.</param>
    /// <param name="gradients">Receives, per answer, the derivatives by its log-probabilities; null for none.</param>
    /// <param name="clipped">Receives, per answer that counts, the shares of its tokens that were cut below and above; null for
    /// none.</param>
    public static double Evaluate(GrpoLoss options, IReadOnlyList<SampledAnswerLogProbs> answers, GroupTotals totals, MetricSums? metrics,
        List<double[]>? gradients, List<(double Low, double High)>? clipped = null)
    {
        var loss = 0.0;
        foreach (var answer in answers)
        {
            var gradient = gradients is null ? null : new double[answer.LogProbs.Length];
            gradients?.Add(gradient!);
            if (!answer.Score.Counts)
                continue;
            var weight = Weight(options, answer.LogProbs.Length, totals);
            loss += weight * (options.Level == RatioLevel.Sequence ? BySequence(options, answer, weight, metrics, gradient, clipped)
                : ByToken(options, answer, weight, metrics, gradient, clipped));
            if (options.Beta != 0)
                loss += weight * options.Beta * Distance(options, answer, weight, metrics, gradient);
        }
        return loss;
    }

    private static double Weight(GrpoLoss options, int length, GroupTotals totals) => 1 / options.Aggregation switch
    {
        GrpoAggregation.Grpo => (double)totals.Samples * length,
        GrpoAggregation.DrGrpo => (double)totals.Samples * options.MaxLength,
        GrpoAggregation.Bnpo => Math.Max(1, totals.CountedTokens),
        _ => totals.SampleTokens,
    };

    private static double ByToken(GrpoLoss options, in SampledAnswerLogProbs answer, double weight, MetricSums? metrics, double[]? gradient,
        List<(double Low, double High)>? clipped)
    {
        var logProbs = answer.LogProbs.Span;
        var (old, advantage) = (answer.Score.Old, answer.Score.Advantage);
        var (sum, low, high) = (0.0, 0, 0);
        for (var t = 0; t < logProbs.Length; t++)
        {
            var ratio = old.Length == 0 ? 1 : Exp(logProbs[t] - old[t]);
            var (value, slope) = Clipped(options, ratio, advantage);
            sum += value;
            if (gradient is not null)
                gradient[t] += weight * slope;
            low += IsLow(options, ratio, advantage) ? 1 : 0;
            high += IsHigh(options, ratio, advantage) ? 1 : 0;
        }
        Measure(metrics, clipped, low, high, logProbs.Length);
        return sum;
    }

    private static double BySequence(GrpoLoss options, in SampledAnswerLogProbs answer, double weight, MetricSums? metrics,
        double[]? gradient, List<(double Low, double High)>? clipped)
    {
        var logProbs = answer.LogProbs.Span;
        var (old, advantage) = (answer.Score.Old, answer.Score.Advantage);
        var mean = 0.0;
        for (var t = 0; t < old.Length; t++)
            mean += (logProbs[t] - old[t]) / old.Length;
        var ratio = Exp(mean);
        var (value, slope) = Clipped(options, ratio, advantage);
        // n tokens with the same loss, whose ratio depends on each log-probability by 1/n.
        for (var t = 0; t < gradient?.Length; t++)
            gradient[t] += weight * slope;
        Measure(metrics, clipped, IsLow(options, ratio, advantage) ? 1 : 0, IsHigh(options, ratio, advantage) ? 1 : 0, 1);
        return value * logProbs.Length;
    }

    /// <summary>l without its distance, and its derivative by log r.</summary>
    private static (double Value, double Slope) Clipped(GrpoLoss options, double ratio, double advantage)
    {
        var capped = Math.Min(ratio, options.Delta ?? double.PositiveInfinity);
        var clipped = Math.Clamp(ratio, 1 - options.Epsilon, 1 + options.EpsilonHigh);
        return capped * advantage <= clipped * advantage
            ? (-capped * advantage, capped == ratio ? -ratio * advantage : 0)
            : (-clipped * advantage, 0);         // the clipped one is the smaller only where it is cut
    }

    private static double Distance(GrpoLoss options, in SampledAnswerLogProbs answer, double weight, MetricSums? metrics,
        double[]? gradient)
    {
        var logProbs = answer.LogProbs.Span;
        var reference = answer.Score.Reference;
        var sum = 0.0;
        for (var t = 0; t < logProbs.Length; t++)
        {
            var difference = reference[t] - logProbs[t];
            var ratio = Exp(difference);
            sum += Math.Abs(difference) < 1e-3 ? Near(difference) : ratio - difference - 1;
            if (gradient is not null)
                gradient[t] += weight * options.Beta * (1 - ratio);
        }
        metrics?.Add("kl", sum, logProbs.Length);
        return sum;
    }

    /// <summary>e^x − x − 1 near 0, where the difference of large numbers would lose its digits.</summary>
    private static double Near(double x) => x * x * (0.5 + (x * ((1.0 / 6) + (x * ((1.0 / 24) + (x / 120))))));

    private static double Exp(double x) => Math.Exp(Math.Min(x, Largest));

    private static bool IsLow(GrpoLoss options, double ratio, double advantage) => ratio < 1 - options.Epsilon && advantage < 0;

    private static bool IsHigh(GrpoLoss options, double ratio, double advantage) => ratio > 1 + options.EpsilonHigh && advantage > 0;

    private static void Measure(MetricSums? metrics, List<(double Low, double High)>? clipped, int low, int high, int count)
    {
        clipped?.Add(((double)low / count, (double)high / count));
        metrics?.Add("clip_ratio/low_mean", low, count);
        metrics?.Add("clip_ratio/high_mean", high, count);
        metrics?.Add("clip_ratio/region_mean", low + high, count);
    }
}
