using System.Diagnostics;
using Handbook.Data;
using Handbook.Methods;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Metrics;
using Handbook.Training.Progress;

namespace Handbook.Training;

/// <summary>Measures a model on held-out rows, without gradients.</summary>
/// <remarks>
/// <code>
/// eval_loss = − Σ log p(target) / targets         over all held-out rows
/// </code>
/// The Python trainer averages batch means instead, so that its value depends on <c>per_device_eval_batch_size</c>; here every target counts the
/// same, whatever the batches and the packing (docs/decisions).
/// </remarks>
public sealed class Evaluator(ITokenRows rows, ITrainingMethod method, int batchSize, int maxTokens)
{
    private const int GroupSize = 64;

    /// <summary>Loss, metrics and speed; names begin with <c>eval_</c>.</summary>
    /// <param name="bar">Advanced by the rows that are done.</param>
    /// <param name="cancel">Stops between batches with an <see cref="OperationCanceledException"/>.</param>
    public MetricSet Run(Decoder model, ProgressBar? bar = null, CancellationToken cancel = default)
    {
        var clock = Stopwatch.StartNew();
        var sums = new MetricSums();
        using var mode = GradMode.Disabled();
        for (var start = 0; start < rows.Count; start += GroupSize)
        {
            int[] group = [.. Enumerable.Range(start, Math.Min(GroupSize, rows.Count - start))];
            foreach (var (batch, stream) in BatchLoader.Bins(rows, group, maxTokens))
            {
                cancel.ThrowIfCancellationRequested();
                using var scope = TensorScope.Enter();
                method.Loss(model, batch, stream, ForwardOptions.Plain, 1, sums);
            }
            bar?.Advance(group.Length);
        }
        var result = new MetricSet();
        foreach (var (name, mean) in sums.Means)
        {
            result[name == "nll" ? "eval_loss" : $"eval_{name}"] = mean;
            if (name == "nll")
                result["eval_perplexity"] = Math.Exp(mean);
        }
        if (result.Number("eval_loss") is not { } loss)
            throw new InputException("the held-out rows have no token to predict, so there is nothing to evaluate",
                fix: "check the test split with `handbook inspect`, or set eval_strategy: no");
        if (!double.IsFinite(loss))
            throw new InputException($"the held-out loss is {loss}", why: "the weights or the logits are no longer finite", fix: "go back to an earlier checkpoint, with a lower learning_rate");
        var seconds = clock.Elapsed.TotalSeconds;
        result["eval_runtime"] = seconds;
        result["eval_samples_per_second"] = rows.Count / seconds;
        result["eval_steps_per_second"] = Math.Ceiling((double)rows.Count / batchSize) / seconds;
        return result;
    }
}
