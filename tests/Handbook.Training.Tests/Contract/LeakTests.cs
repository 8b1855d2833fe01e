using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Training.Tests.Contract;

[Collection("tensors")]
public sealed class LeakTests
{
    [Theory]
    [InlineData(false), InlineData(true)]
    public void Number_31_five_hundred_steps_leave_no_tensor_and_no_memory_behind(bool bf16)
    {
        using var temporary = new TemporaryFolder();
        Garbage.Settle();
        var (leaked, before) = (Tensor.Leaked, Tensor.LiveCount);
        var seen = new List<(int Live, long Used)>();
        var resident = new List<long>();
        // 4 rows of at most 14 tokens and bins of 40: the first batch of every step is counted; steps have 1 or 2
        var options = new TrainingOptions
        {
            PerDeviceTrainBatchSize = 2,
            MaxSteps = 500,
            Bf16 = bf16,
            NeftuneNoiseAlpha = 5,
            GradientCheckpointing = bf16,
            LoggingSteps = new(1),
            SaveSteps = new(100),
            SaveTotalLimit = 1,
            EvalStrategy = IntervalStrategy.Steps,
            EvalSteps = new(100),
        };
        LoopRun.Run(temporary["run"], options, wrap: method => new Counting(method, () =>
        {
            seen.Add((Tensor.LiveCount, TorchRuntime.Memory.Used));
            if (seen.Count % 100 == 0)
                resident.Add(Settled());
        }, 1));

        Assert.True(seen.Count >= 500);
        Assert.All(seen, s => Assert.Equal(seen[0].Live, s.Live));
        // one batch's working memory
        Assert.All(seen.Skip(20), s => Assert.InRange(s.Used, 0, seen.Take(20).Max(first => first.Used) + (64 << 10)));
        // the end is no higher than the first half: 16 MiB for code that is compiled anew on the way
        Assert.InRange(resident[^1], 0, resident.Take(resident.Count / 2).Max() + (16L << 20));
        Garbage.Settle();
        Assert.Equal(leaked, Tensor.Leaked);
        Assert.Equal(before, Tensor.LiveCount);

        // Bytes that are resident once the garbage, of other tests too, is given back to the system.
        static long Settled()
        {
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            return ProcessMemory.Resident() ?? 0;
        }
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void Number_31_an_evaluation_and_a_checkpoint_need_no_more_than_a_step(bool bf16)
    {
        var options = new TrainingOptions { PerDeviceTrainBatchSize = 4, MaxSteps = 12, Bf16 = bf16, SaveStrategy = SaveStrategy.No };
        var steps = Peak(options);
        var evaluated = Peak(options with
        {
            EvalStrategy = IntervalStrategy.Steps,
            EvalSteps = new(3),
            EvalOnStart = true,
            SaveStrategy = SaveStrategy.Steps,
            SaveSteps = new(3),
        });
        Assert.InRange(evaluated, 0, steps + (16 << 10));       // what is counted

        static long Peak(TrainingOptions options)
        {
            using var temporary = new TemporaryFolder();
            Garbage.Settle();
            TorchRuntime.ResetPeakMemory();
            var before = TorchRuntime.Memory.Used;
            LoopRun.Run(temporary["run"], options);
            return TorchRuntime.Memory.Peak - before;
        }
    }
}
