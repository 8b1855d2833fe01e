using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Training.Methods;

/// <summary>Next-token prediction: supervised fine-tuning and continued pretraining.</summary>
/// <remarks>
/// <code>
/// loss = − Σ log p(target) / M        over the targets of the whole step, M the tokens that carry loss in it
/// </code>
/// M counts as the reference trainer does (<c>num_items_in_batch</c>): every token that carries loss, also a row's first one, which nothing
/// predicts. In rows packed best-fit the reference takes the first tokens out, and so does this.
/// </remarks>
/// <param name="name">The command, <c>sft</c> or <c>cpt</c>.</param>
/// <param name="countFirstTokens">Whether a row's first token counts in M where it carries loss.</param>
/// <param name="labelSmoothing">ε of label smoothing.</param>
public sealed class SupervisedMethod(string name, bool countFirstTokens = true, double labelSmoothing = 0) : ITrainingMethod
{
    public string Name => name;

    public GroupTotals Totals(IReadOnlyList<TokenRow> rows) => new() { Rows = rows.Count, Targets = rows.Sum(Targets) };

    public void Run(Decoder model, LossGroup group, LossPass pass)
    {
        foreach (var bin in group.Bins)
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
        var hidden = model.Hidden(bin.Stream, options);
        var chosen = rows.Length == batch.Count ? hidden : RowSelect.Forward(hidden, rows);
        var loss = LinearLogProb.WeightedLoss(chosen, model.Head, targets, weights, model.HeadOptions with { LabelSmoothing = labelSmoothing }, statistics);
        Measure(statistics, targets, metrics);
        return scope.Keep(loss);
    }

    private static void Measure(HeadStatistics statistics, int[] targets, MetricSums metrics)
    {
        double nll = 0, entropy = 0;
        var correct = 0;
        for (var i = 0; i < targets.Length; i++)
        {
            nll -= statistics.LogProb[i];
            entropy += statistics.Entropy[i];
            correct += statistics.ArgMax[i] == targets[i] ? 1 : 0;
        }
        metrics.Add("nll", nll, targets.Length);
        metrics.Add("entropy", entropy, targets.Length);
        metrics.Add("mean_token_accuracy", correct, targets.Length);
    }
}
