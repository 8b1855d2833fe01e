using Handbook.Base;
using Handbook.Data.RandomNumbers;

namespace Handbook.Data.Tests;

public sealed class StepPlanTests
{
    [Fact]
    public void An_epoch_is_the_torch_permutation_of_seed_plus_epoch()
    {
        var plan = Plan(10, new() { BatchSize = 3, AccumulationSteps = 2, Epochs = 2, Seed = 42 });
        Assert.Equal((4, 2, 4), (plan.MicroBatchesPerEpoch, plan.StepsPerEpoch, plan.TotalSteps));
        for (var epoch = 0; epoch < 2; epoch++)
            Assert.Equal(TorchRandom.Permutation(10, 42 + epoch),
                plan[2 * epoch].MicroBatches.Concat(plan[(2 * epoch) + 1].MicroBatches).SelectMany(rows => rows));
        Assert.Equal([3, 3], plan[0].MicroBatches.Select(rows => rows.Length));
        Assert.Equal([3, 1], plan[1].MicroBatches.Select(rows => rows.Length));
        Assert.Equal([0.5, 1.0, 1.5, 2.0], Enumerable.Range(0, 4).Select(step => plan[step].EpochAfter));
    }

    [Fact] // 10 rows in threes: 4 micro-batches; ceil(4 / 3) = 2 steps, the second with one micro-batch
    public void The_last_step_of_an_epoch_may_have_fewer_micro_batches()
    {
        var plan = Plan(10, new() { BatchSize = 3, AccumulationSteps = 3, Epochs = 1.5 });
        Assert.Equal(2, plan.StepsPerEpoch);
        Assert.Equal(3, plan.TotalSteps);                       // ceil(1.5 · 2)
        Assert.Equal([3, 1, 3], Enumerable.Range(0, 3).Select(step => plan[step].MicroBatches.Count));
        Assert.Equal([0, 0, 1], Enumerable.Range(0, 3).Select(step => plan[step].Epoch));
    }

    [Fact] // 4 micro-batches, 3 to a step: floor gives 1 step an epoch; the fourth goes to the next step with two of the next epoch
    public void The_first_revision_carries_leftover_micro_batches_over()
    {
        var plan = Plan(10, new() { BatchSize = 3, AccumulationSteps = 3, Epochs = 3, Leftover = LeftoverRule.CarryOver });
        Assert.Equal((1, 3), (plan.StepsPerEpoch, plan.TotalSteps));
        var first = TorchRandom.Permutation(10, 42);
        var second = TorchRandom.Permutation(10, 43);
        Assert.Equal([first[9..], second[..3], second[3..6]], plan[1].MicroBatches);
        Assert.Equal([0, 0, 1], Enumerable.Range(0, 3).Select(step => plan[step].Epoch));
    }

    [Fact] // 4 steps in the data; two of them at a time, three times each: 0 1 0 1 0 1 2 3 2 3 2 3
    public void Steps_may_be_taken_again_before_the_next_ones()
    {
        var once = Plan(8, new() { BatchSize = 2, Epochs = 1 });

        var plan = Plan(8, new() { BatchSize = 2, Epochs = 1, PassLength = 2, Passes = 3 });

        Assert.Equal(12, plan.TotalSteps);
        Assert.Equal(((int[])[0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3]).Select(step => once[step].MicroBatches[0]),
            Enumerable.Range(0, 12).Select(step => plan[step].MicroBatches[0]));
        Assert.Equal(1, plan[11].EpochAfter);
        Assert.All(Enumerable.Range(0, 11), step => Assert.True(plan[step].EpochAfter < plan[step + 1].EpochAfter));
    }

    [Fact]
    public void With_fewer_micro_batches_than_a_step_wants_each_epoch_is_one_step()
    {
        foreach (var rule in Enum.GetValues<LeftoverRule>())
        {
            var plan = Plan(5, new() { BatchSize = 2, AccumulationSteps = 8, Epochs = 3, Leftover = rule });
            Assert.Equal(3, plan.TotalSteps);
            Assert.All(Enumerable.Range(0, 3),
                step => Assert.Equal([0, 1, 2, 3, 4], plan[step].MicroBatches.SelectMany(rows => rows).Order()));
        }
    }

    [Fact]
    public void The_rows_that_a_run_comes_to_are_those_of_its_steps()
    {
        Assert.Equal(TorchRandom.Permutation(10, 42)[..6].Order(), Plan(10, new() { BatchSize = 3, MaxSteps = 2 }).RowsSeen()!);
        Assert.Null(Plan(10, new() { BatchSize = 3, Epochs = 1 }).RowsSeen());
        Assert.Null(Plan(10, new() { BatchSize = 3, MaxSteps = 9 }).RowsSeen());
        Assert.Equal(9, Plan(10, new() { BatchSize = 3, Epochs = 1, DropLast = true }).RowsSeen()!.Length);
        Assert.Equal(9,
            Plan(10, new() { BatchSize = 3, AccumulationSteps = 3, Epochs = 1, Leftover = LeftoverRule.CarryOver }).RowsSeen()!.Length);
        Assert.Null(Plan(10, new() { BatchSize = 3, AccumulationSteps = 3, Epochs = 2, Leftover = LeftoverRule.CarryOver }).RowsSeen());
    }

    [Fact]
    public void Drop_last_leaves_out_what_is_not_full()
    {
        var plan = Plan(10, new() { BatchSize = 3, DropLast = true, Epochs = 1 });
        Assert.Equal(3, plan.TotalSteps);
        Assert.All(Enumerable.Range(0, 3), step => Assert.Equal(3, plan[step].MicroBatches[0].Length));
    }

    [Fact]
    public void Max_steps_wins_over_epochs_and_may_exceed_them()
    {
        var plan = Plan(4, new() { BatchSize = 2, Epochs = 1, MaxSteps = 7 });
        Assert.Equal(7, plan.TotalSteps);
        Assert.Equal(3, plan[6].Epoch);
        Assert.Equal(TorchRandom.Permutation(4, 45)[..2], plan[6].MicroBatches[0]);
    }

    [Fact]
    public void A_step_is_the_same_whatever_was_asked_before()
    {
        var options = new StepPlanOptions { BatchSize = 3, AccumulationSteps = 2, GroupByLength = true, Seed = 7 };
        var forward = Plan(50, options);
        var steps = Enumerable.Range(0, 27).Select(step => forward[step]).ToArray();
        for (var step = 26; step >= 0; step -= 5)
            Assert.Equal(steps[step].MicroBatches, Plan(50, options)[step].MicroBatches);
    }

    [Fact]
    public void Length_groups_equal_those_of_the_python_trainer()
    {
        foreach (var golden in GoldenCases.Read("length_grouped.json"))
        {
            var n = golden.GetProperty("n").GetInt32();
            var rows = new TokenRowList([.. Enumerable.Range(0, n).Select(i =>
                TokenRow.Single(new int[1 + (((i * i * 7) + (i * 13)) % 97)], new byte[1 + (((i * i * 7) + (i * 13)) % 97)]))]);
            var plan = new StepPlan(rows, new()
            {
                BatchSize = golden.GetProperty("batch").GetInt32(),
                Epochs = 1,
                Seed = golden.GetProperty("seed").GetInt64(),
                GroupByLength = true
            });
            Assert.Equal(golden.Ints("order"), Enumerable.Range(0, plan.TotalSteps).SelectMany(step => plan[step].MicroBatches[0]));
        }
    }

    [Fact]
    public void Sequential_keeps_the_order_of_the_rows() =>
        Assert.Equal([0, 1, 2, 3, 4],
            Enumerable.Range(0, 3).SelectMany(step => Plan(5, new() { BatchSize = 2, Sequential = true })[step].MicroBatches[0]));

    [Fact]
    public void No_rows_and_less_than_one_full_batch_are_refused()
    {
        Assert.Equal("the training set has no rows", Assert.Throws<InputException>(() => Plan(0, new() { BatchSize = 2 })).What);
        Assert.Equal("the training set has 3 rows, fewer than one batch of 4, and dataloader_drop_last leaves out what is not full",
            Assert.Throws<InputException>(() => Plan(3, new() { BatchSize = 4, DropLast = true })).What);
    }

    private static StepPlan Plan(int rows, StepPlanOptions options) =>
        new(new TokenRowList([.. Enumerable.Range(0, rows).Select(i => TokenRow.Single(new int[1 + (i % 5)], new byte[1 + (i % 5)]))]),
            options);
}
