using System.Diagnostics;
using Handbook.Base.Progress;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Kernels;
using Handbook.Training.Distributed;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Distributed;

/// <summary>All ranks are alive, and the job does not get on all the same.</summary>
[Trait("needs", "processes")]
public sealed class StandstillTests
{
    // As a user has them: seconds of a job of theirs are at most 20.
    private static readonly JobWatchOptions s_usual = new();

    // The same at ten times the pace.
    private static readonly JobWatchOptions s_quick = new()
    {
        Beat = TimeSpan.FromSeconds(0.1),
        Standstill = TimeSpan.FromSeconds(1),
        Timeout = TimeSpan.FromSeconds(3),
        Patience = TimeSpan.FromSeconds(0.5),
    };

    [Fact]
    public void Who_left_out_a_meeting_is_named_with_both_places()
    {
        var host = Environment.MachineName;
        Assert.All(WorkerPair.Run(3, workers => Said(workers, leavesOut: workers.Rank == 1)), message => Assert.Equal(
            $"rank 1 on {host} ended the job: it came to the checkpoint of step 2 (a meeting) when rank 0 came to step 2 (values): it left "
            + "something out, or did it twice", message));
        Assert.All(WorkerPair.Run(2, workers => Said(workers, leavesOut: workers.Rank == 0)), message => Assert.Contains(
            $"rank 1 on {host} ended the job: it came to step 2 (values) when rank 0 came to the checkpoint", message,
            StringComparison.Ordinal));

        static string Said(Workers workers, bool leavesOut)
        {
            using (workers.At("step 1", computes: true))
                Assert.Equal(workers.Count, workers.Sum(1)[0]);
            return Assert.Throws<RankFailedException>(() =>
            {
                using (workers.At("step 2", computes: true))
                    if (!leavesOut)
                        workers.Sum(1);
                using (workers.At("the checkpoint of step 2"))
                    workers.Meet();
            }).Message;
        }
    }

    [Fact]
    public void A_sign_of_life_comes_back_as_it_was()
    {
        var sign = new LifeSign(7, 12, 345, true, "all others", new("step 3", true));
        Assert.Equal(sign, LifeSign.FromText(sign.ToText()));
        Assert.Equal(sign with { WaitsFor = "" }, LifeSign.FromText((sign with { WaitsFor = "" }).ToText()));
        Assert.Null(LifeSign.FromText(null));
        Assert.Equal("step 3 (operation 12), where it waits for all others", sign.Where);
    }

    [Fact]
    public void A_rank_in_an_endless_loop_ends_the_job_with_its_name() => Ends(LoopQuickly, 1, "it is at step 4 (operation 2)");

    [Theory, Trait("speed", "slow")]
    [InlineData(0), InlineData(1)]
    public void So_does_one_within_20_s_as_a_user_has_it(int rank) => Ends(LoopAsUsual, rank, "it is at step 4 (operation 2)");

    [Fact, Trait("speed", "slow")]
    public void A_rank_that_waits_where_nobody_comes_ends_the_job_within_20_s() => Ends(WaitElsewhere, 1,
        "it is at step 4 (operation 2), where it waits for those who share its rows; rank 0 is at step 4 (operation 3), where it waits for all "
        + "others: neither can go on");

    [Fact, Trait("speed", "slow")]
    public void A_rank_that_hangs_where_it_may_take_its_time_ends_the_job_after_the_time_of_the_recipe() =>
        Ends(HangElsewhere, 1, "it has done nothing for 3 s while others wait for it: it is at the evaluation after step 4 (operation 2)");

    [Fact, Trait("speed", "slow")]
    public void A_rank_in_an_operator_that_does_not_end_does_so_too() => Ends(HangInAnOperator, 1, "in an operation that does not end");

    [Fact, Trait("speed", "slow")]
    public void Who_computes_reads_or_writes_is_waited_for() => RankJob.Run(2, TakeTime);

    private static void Ends(Action body, int rank, string cause)
    {
        using var job = new RankJob(3, body, variables: _ => [("HANGS", $"{rank}")]);
        for (var each = 0; each < 3; each++)
            job.WaitFor(each, "begun");
        var watch = Stopwatch.StartNew();
        for (var each = 0; each < 3; each++)
        {
            Assert.NotEqual(0, job.Exit(each, 30));
            Assert.Contains($"rank {rank} on {Environment.MachineName} ended the job: ", job.Output(each), StringComparison.Ordinal);
            Assert.Contains(cause, job.Output(each), StringComparison.Ordinal);
        }
        Assert.True(watch.Elapsed.TotalSeconds < 20, $"it took {watch.Elapsed.TotalSeconds:0.0} s");
    }

    // ---- what ranks run ------------------------------------------------------------------------------------------

    private static bool Hangs(ProcessJob job) => Environment.GetEnvironmentVariable("HANGS") == $"{job.Workers.Rank}";

    private static void Step(JobWatchOptions options, string place, bool computes, Action<ProcessJob> hang) => ProcessJobTests.Work(job =>
    {
        job.Workers.Sum(1);
        using var at = job.Workers.At(place, computes);
        job.Workers.Sum(1);
        if (Hangs(job))
            hang(job);
        job.Workers.Sum(1);
    }, new() { Watch = options });

    private static void LoopQuickly() => Step(s_quick, "step 4", computes: true, _ => Loop());

    private static void LoopAsUsual() => Step(s_usual, "step 4", computes: true, _ => Loop());

    private static void Loop()
    {
        while (true)
            Thread.SpinWait(1000);
    }

    private static void WaitElsewhere() => ProcessJobTests.Work(job =>
    {
        var context = job.Workers.InGroupsOf(job.Workers.Count).Context!;
        job.Workers.Sum(1);
        using var at = job.Workers.At("step 4", computes: true);
        job.Workers.Sum(1);
        using var scope = TensorScope.Enter();
        if (Hangs(job))
            context.Pass(Tensor.Zeros(DType.Float32, Device.Cpu, 4), [4], channel: 0).Wait();
        job.Workers.Sum(1);
    });

    private static void HangElsewhere() => Step(s_quick, "the evaluation after step 4", computes: false, _ => Thread.Sleep(Timeout.Infinite));

    private static void HangInAnOperator() => Step(s_quick, "step 4", computes: true, _ => ThreadTeam.Run(1, new Sleep(Timeout.Infinite)));

    // Longer than a standstill, each in its way.
    private static void TakeTime() => ProcessJobTests.Work(job =>
    {
        TorchRuntime.Load();
        job.Workers.Sum(1);
        using (job.Workers.At("step 4", computes: true))
        {
            if (job.Workers.Rank == 1)
                for (var clock = Stopwatch.StartNew(); clock.Elapsed < 2.5 * s_quick.Standstill; Thread.Sleep(20))
                    using (TensorScope.Enter())
                        Tensor.Zeros(DType.Float32, Device.Cpu, 8).ZeroInPlace();
            job.Workers.Sum(1);
            if (job.Workers.Rank == 1)
                ThreadTeam.Run(1, new Sleep(2500));
            job.Workers.Sum(1);
        }
        using (job.Workers.At("the evaluation after step 4"))
        {
            if (job.Workers.Rank == 1)
                Thread.Sleep(2 * s_quick.Standstill);
            job.Workers.Sum(1);
            if (job.Workers.Rank == 1)
                for (var clock = Stopwatch.StartNew(); clock.Elapsed < 1.5 * s_quick.Timeout; Thread.Sleep(50))
                    Pulse.Beat();
            job.Workers.Sum(1);
        }
    }, new() { Watch = s_quick });

    private readonly struct Sleep(int milliseconds) : IParallelBody
    {
        public void Invoke(int index) => Thread.Sleep(milliseconds);
    }
}
