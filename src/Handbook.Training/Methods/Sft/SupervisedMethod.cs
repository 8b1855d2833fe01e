using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Training.Methods.Sft;

/// <summary>Next-token prediction: supervised fine-tuning and continued pretraining.</summary>
/// <remarks>
/// <code>
/// nll: loss = − Σ log p(target) / M                over the targets of the whole step, M their number
/// dft: loss = − Σ sg(p(target)) · log p(target) / M        sg: a constant of the step. Wu et al. 2025, arXiv:2508.05629, eq. 9
/// </code>
/// M is the number of predicted tokens, however rows are packed and the step is accumulated. The reference trainer counted a row's first
/// token as well up to TRL 0.24 with transformers 4, though nothing predicts it: <c>trl_compat: "0.24"</c> does so again, but not in rows
/// packed best-fit, where it did not.
/// </remarks>
/// <param name="name">The command, <c>sft</c> or <c>cpt</c>.</param>
/// <param name="countFirstTokens">Whether a row's first token counts in M where it carries loss.</param>
/// <param name="labelSmoothing">ε of label smoothing; has no part in the loss <paramref name="dynamic"/>.</param>
/// <param name="dynamic">Whether each token's loss is weighed by its own probability (<c>dft</c>).</param>
internal sealed class SupervisedMethod(string name, bool countFirstTokens = false, double labelSmoothing = 0, bool dynamic = false)
    : ITrainingMethod
{
    public string Name => name;

    public GroupTotals Totals(IReadOnlyList<TokenRow> rows) => new() { Rows = rows.Count, Targets = rows.Sum(Targets) };

    public void Run(Decoder model, LossGroup group, LossPass pass)
    {
        foreach (var bin in pass.Bins(group))
        {
            using var scope = TensorScope.Enter();
            if (Loss(model, bin, pass.OptionsFor(bin.Batch), group.Totals.Targets / group.Share, pass.Metrics) is { } part)
                pass.Add(part);
        }
    }

    private double Targets(TokenRow row)
    {
        var count = 0;
        foreach (var segment in row.Segments)
        {
            var loss = segment.Loss.Span;
            for (var i = countFirstTokens || segment.Parent >= 0 ? 0 : 1; i < loss.Length; i++)
                count += loss[i] != 0 ? 1 : 0;
        }
        return count;
    }

    /// <summary>A bin's part of the loss; null where it has no target.</summary>
    /// <param name="normaliser">What the sum over all targets is divided by.</param>
    public Tensor? Loss(Decoder model, Bin bin, ForwardOptions options, double normaliser, MetricSums metrics)
    {
        var batch = bin.Batch;
        var places = new List<int>(batch.Count);
        for (var i = 0; i < batch.Count; i++)
            if (batch.Targets[i] >= 0)
                places.Add(i);
        if (places.Count == 0)
            return null;
        using var scope = TensorScope.Enter();
        int[] rows = [.. places];
        var targets = Array.ConvertAll(rows, i => batch.Targets[i]);
        var weights = Array.ConvertAll(rows, i => batch.Weights[i] / normaliser);
        var statistics = new HeadStatistics(rows.Length);
        var loss = dynamic
            ? Dynamic(TokenLogProbs.Of(model, bin, rows, targets, statistics, options), weights, statistics)
            : TokenLogProbs.WeightedLoss(model, bin, rows, targets, weights, statistics, options, labelSmoothing);
        Measure(statistics, targets, metrics);
        return scope.Keep(loss);
    }

    /// <summary>− Σ weight · sg(p) · log p.</summary>
    private static Tensor Dynamic(Tensor logProbs, double[] weights, HeadStatistics statistics)
    {
        var loss = 0.0;
        var gradient = new double[weights.Length];
        for (var i = 0; i < weights.Length; i++)
        {
            gradient[i] = -weights[i] * Math.Exp(statistics.LogProb[i]);
            loss += gradient[i] * statistics.LogProb[i];
        }
        return KnownGradient.Of(logProbs, loss, gradient);
    }

    private void Measure(HeadStatistics statistics, int[] targets, MetricSums metrics)
    {
        double nll = 0, weighed = 0, entropy = 0;
        var correct = 0;
        for (var i = 0; i < targets.Length; i++)
        {
            nll -= statistics.LogProb[i];
            weighed -= Math.Exp(statistics.LogProb[i]) * statistics.LogProb[i];
            entropy += statistics.Entropy[i];
            correct += statistics.ArgMax[i] == targets[i] ? 1 : 0;
        }
        metrics.Add(MetricSums.Nll, nll, targets.Length);
        if (dynamic)
            metrics.Add(MetricSums.TokenLoss, weighed, targets.Length);
        metrics.Add("entropy", entropy, targets.Length);
        metrics.Add("mean_token_accuracy", correct, targets.Length);
    }
}
