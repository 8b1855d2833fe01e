using Handbook.Training.Metrics;

namespace Handbook.Training.Tests.Metrics;

public sealed class CurveComparisonTests
{
    [Fact]
    public void Numbers_are_compared_bit_by_bit_and_by_their_share_of_the_curve()
    {
        MetricSet[] then = [Entry(1, 4.0), Entry(2, 2.0), Entry(3, 1.0)];
        MetricSet[] now = [Entry(1, 4.0), Entry(2, Math.BitIncrement(2.0)), Entry(3, 1.1)];
        var loss = CurveComparison.Of(then, now, 3).Single();
        Assert.Equal((3, 2, 3), (loss.Steps, loss.FirstStep!.Value, loss.LargestStep!.Value));
        Assert.Equal(0.1 / 4, loss.LargestShare, 1e-12);
        Assert.Equal("0.1 at step 3 (1.0, now 1.1)", CurveComparison.Words(loss));
        Assert.True(CurveComparison.Of(then, now, 1).Single().IsSame);
    }

    [Fact]
    public void A_step_or_a_number_that_one_run_lacks_differs_without_bound()
    {
        var loss = CurveComparison.Of([Entry(1, 4.0), Entry(2, 2.0)], [Entry(1, 4.0)], 9).Single();
        Assert.Equal((2, double.PositiveInfinity), (loss.FirstStep!.Value, loss.LargestShare));
        Assert.Equal("missing at step 2", CurveComparison.Words(loss));
        var other = new MetricSet(Entry(1, 4.0)) { ["more"] = 1.0 };
        var more = CurveComparison.Of([Entry(1, 4.0)], [other], 9).Single(curve => curve.Metric == "more");
        Assert.Equal(("new at step 1", double.PositiveInfinity), (CurveComparison.Words(more), more.LargestShare));
    }

    [Fact]
    public void What_the_clock_says_is_left_out_and_what_is_no_number_in_both_is_no_difference()
    {
        MetricSet[] then = [new() { ["step"] = 1, ["eval_runtime"] = 1.0, ["train_tokens_per_second"] = 5.0, ["ratio"] = double.NaN }];
        MetricSet[] now = [new() { ["step"] = 1, ["eval_runtime"] = 2.0, ["train_tokens_per_second"] = 6.0, ["ratio"] = double.NaN }];
        var only = CurveComparison.Of(then, now, 1).Single();
        Assert.Equal(("ratio", 0.0), (only.Metric, only.LargestShare));
    }

    private static MetricSet Entry(int step, double loss) => new() { ["step"] = step, ["loss"] = loss };
}
