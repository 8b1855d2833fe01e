using Handbook.Data;
using Handbook.Models;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;

namespace Handbook.Training.Tests.Contract;

[Collection("tensors")]
public sealed class WorkersTests
{
    // float64; sums of a few hundred terms in another order.
    private const double Rounding = 1e-10;

    [Theory]
    [InlineData(2, 7)]
    [InlineData(3, 7)]
    [InlineData(3, 2)]      // one worker has no row
    public void Workers_with_a_share_of_the_rows_each_have_the_gradient_of_one_with_all(int workers, int count)
    {
        var rows = Tiny.Rows(4, count);
        var method = new SupervisedMethod("sft");
        using var model = Tiny.Model("llama");
        foreach (int[][] microBatches in (int[][][])[[[.. Enumerable.Range(0, count)]], [[0], [.. Enumerable.Range(1, count - 1)]]])
        {
            var step = new StepRows(0, 0, microBatches, 1);
            var expected = Tiny.Step(model, method, BatchLoader.Lay(rows, step, method, 30));
            var results = WorkerPair.Run(workers, its =>
            {
                using var scope = TensorScope.Enter();
                using var own = Tiny.Model("llama");
                return Tiny.Step(own, method, BatchLoader.Lay(rows, step, method, 30, its), workers: its);
            });
            foreach (var result in results)
                result.MustEqual(expected, Rounding, $"{workers} workers, {microBatches.Length} micro-batches");
        }
    }

    [Fact]
    public void Workers_measure_together_what_one_measures()
    {
        var rows = Tiny.Rows(5, 9);
        var method = new SupervisedMethod("sft");
        using var model = Tiny.Model("llama");
        var expected = new Evaluator(rows, method, batchSize: 4, maxTokens: 30).Run(model);
        foreach (var metrics in WorkerPair.Run(2, its =>
        {
            using var scope = TensorScope.Enter();
            using var own = Tiny.Model("llama");
            return new Evaluator(rows, method, batchSize: 4, maxTokens: 30, its).Run(own);
        }))
            foreach (var name in (string[])["eval_loss", "eval_entropy", "eval_mean_token_accuracy", "eval_perplexity"])
                Assert.Equal(expected.Number(name)!.Value, metrics.Number(name)!.Value, Rounding);
    }

    [Fact]
    public void What_one_worker_hears_all_hear()
    {
        foreach (var (any, none, sum) in WorkerPair.Run(3, its => (its.Any(its.Rank == 1), its.Any(false), its.Sum(its.Rank, 1))))
        {
            Assert.True(any);
            Assert.False(none);
            Assert.Equal([3.0, 3.0], sum);
        }
        Assert.Equal([0, 3, 6], WorkerPair.Run(3, its => its.Share([0, 1, 2, 3, 4, 5, 6], _ => 1))[0]);
    }
}
