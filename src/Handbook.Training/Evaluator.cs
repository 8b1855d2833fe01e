using System.Diagnostics;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Metrics;

namespace Handbook.Training;

/// <summary>Measures a model on held-out rows, without gradients.</summary>
/// <remarks>
/// <code>
/// eval_loss = − Σ log p(target) / targets         over all held-out rows, where the method predicts tokens (with dft each token weighed by p)
/// eval_loss = mean over rows of the row's loss    where it compares answers
/// </code>
/// The Python trainer averages batch means instead, so that its value depends on <c>per_device_eval_batch_size</c>; here every target
/// counts the same, whatever the batches and the packing (docs/decisions).
/// </remarks>
/// <param name="workers">Who takes a share of the rows; null for this worker alone.</param>
internal sealed class Evaluator(ITokenRows rows, ITrainingMethod method, int batchSize, int maxTokens, Workers? workers = null)
{
    private const int GroupSize = 64;

    /// <summary>Loss, metrics and speed; names begin with <c>eval_</c>.</summary>
    /// <param name="count">Advanced by the rows that are done.</param>
    /// <param name="isUntrained">Whether no update has changed the model yet.</param>
    /// <param name="cancel">Stops between batches with an <see cref="OperationCanceledException"/>.</param>
    public MetricSet Run(Decoder model, IWorkCount? count = null, bool isUntrained = false, CancellationToken cancel = default)
    {
        var clock = Stopwatch.StartNew();
        var all = workers ?? Workers.Alone;
        var mine = new MetricSums();
        using var mode = GradMode.Disabled();
        var groupSize = method.CouplesRows ? batchSize : GroupSize;
        for (var start = 0; start < rows.Count; start += groupSize)
        {
            cancel.ThrowIfCancellationRequested();
            int[] numbers = [.. Enumerable.Range(start, Math.Min(groupSize, rows.Count - start))];
            var pass = new LossPass { Metrics = mine, IsUntrained = isUntrained, Workers = all };
            var group = BatchLoader.Group(rows, numbers, method, maxTokens, all);
            var step = StepSums.Run(model, method, method.Make(model, 0, [group], pass), pass, cancel: cancel);
            if (step.Learned && all.IsFirst)
                mine.Add("loss", step.Loss * numbers.Length, numbers.Length);
            count?.Advance(numbers.Length);
        }
        var sums = all.Sum(mine);
        var result = new MetricSet();
        foreach (var (name, mean) in sums.Means)
            result[$"eval_{name}"] = mean;
        if (sums.MeanOf(MetricSums.Nll) is { } nll)
            (result["eval_loss"], result["eval_perplexity"]) = (sums.MeanOf(MetricSums.TokenLoss) ?? nll, Math.Exp(nll));
        if (result.Number("eval_loss") is not { } loss)
            throw new InputException("the held-out rows have no token to predict, so there is nothing to evaluate",
                fix: "check the test split with `handbook inspect`, or set eval_strategy: no");
        if (!double.IsFinite(loss))
            throw new InputException($"the held-out loss is {loss}", why: "the weights or the logits are no longer finite",
                fix: "go back to an earlier checkpoint, with a lower learning_rate");
        var seconds = clock.Elapsed.TotalSeconds;
        result["eval_runtime"] = seconds;
        result["eval_samples_per_second"] = rows.Count / seconds;
        result["eval_steps_per_second"] = Math.Ceiling((double)rows.Count / batchSize) / seconds;
        return result;
    }
}
