using System.Diagnostics;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Distributed;
using Handbook.Training.Distributed;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Distributed;

/// <summary>Real processes that join as torchrun's would, work together, and lose one of them.</summary>
[Trait("needs", "processes")]
public sealed class ProcessJobTests
{
    private const double Limit = 20;        // s; what a job may take to end on all ranks

    [Theory]
    [InlineData(3)]
    public void Workers_gather_sum_and_agree(int size) => RankJob.Run(size, Together);

    [Theory, Trait("speed", "slow")]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void Workers_gather_sum_and_agree_in_other_worlds(int size) => RankJob.Run(size, Together);

    [Theory]
    [InlineData(1)]
    [InlineData(0)]     // who serves the store
    public void A_killed_rank_ends_the_job_with_its_name(int victim) => Lose(victim, 9, SumForever, 3, "closed");

    [Fact]
    public void A_rank_that_is_killed_while_keys_go_round_ends_the_job_with_its_name() => Lose(1, 9, GoRoundForever, 3, "");

    [Theory, Trait("speed", "slow")]
    [InlineData(0)]
    [InlineData(1)]
    public void Whichever_moment_a_rank_is_killed_at_the_job_ends(int victim)
    {
        var random = new Random(victim);
        for (var run = 0; run < 4; run++)
            Lose(victim, 9, MoveForever, 2, "", after: TimeSpan.FromSeconds(random.NextDouble()));
    }

    [Theory, Trait("speed", "slow")]
    [InlineData(0, 19)]
    [InlineData(2, 19)]
    public void A_stopped_rank_ends_the_job_with_its_name(int victim, int signal) => Lose(victim, signal, SumForever, 3, "hangs, or its host is gone");

    [Theory, Trait("speed", "slow")]
    [InlineData(1, 9)]
    [InlineData(0, 9)]
    [InlineData(1, 19)]
    public void Ranks_that_compute_hear_of_it_and_end(int victim, int signal) => Lose(victim, signal, ComputeForever, 2, "");

    [Theory, Trait("speed", "slow")]
    [InlineData(9)]
    [InlineData(19)]
    public void A_job_whose_store_the_launcher_serves_names_the_rank_too(int signal)
    {
        using var store = Store.Serve("127.0.0.1", 0, TimeSpan.FromSeconds(30));
        Lose(0, signal, SumForever, 3, "no sign of life",
            _ => [("MASTER_PORT", $"{store.Port}"), ("TORCHELASTIC_USE_AGENT_STORE", "True")]);
    }

    [Fact]
    public void A_rank_that_fails_tells_the_others_why()
    {
        using var job = new RankJob(3, FailAtThree);
        var watch = Stopwatch.StartNew();
        for (var rank = 0; rank < 3; rank++)
            Assert.Equal(5, job.Exit(rank, Limit + 10));
        Assert.True(watch.Elapsed.TotalSeconds < Limit);
        Assert.Contains("mine: the disk is full", job.Output(1), StringComparison.Ordinal);
        foreach (var rank in (int[])[0, 2])
            Assert.Contains($"heard: rank 1 on {Environment.MachineName} ended the job: the disk is full", job.Output(rank), StringComparison.Ordinal);
    }

    [Fact, Trait("speed", "slow")]
    public void A_rank_that_does_not_come_is_named_by_where_it_is()
    {
        using var job = new RankJob(3, OneStaysBehind);
        for (var rank = 0; rank < 3; rank++)
            Assert.Equal(5, job.Exit(rank));
        foreach (var rank in (int[])[0, 2])
            Assert.Contains($"heard: rank 1 on {Environment.MachineName} ended the job: it did not come to where the others wait: "
                + "it is at its operation 3, others at 4", job.Output(rank), StringComparison.Ordinal);
    }

    [Fact]
    public void Ranks_that_contradict_each_other_or_do_not_come_are_named()
    {
        // rank 1 says that there are two, and nobody is rank 2
        var words = $"rank 0 on {Environment.MachineName} was started as one of 3, rank 1 on {Environment.MachineName} as one of 2";
        using (var job = new RankJob(2, JoinOnly, variables: rank => [("WORLD_SIZE", rank == 0 ? "3" : "2"), ("LOCAL_WORLD_SIZE", null)]))
        {
            Assert.Equal(2, job.Exit(0));
            Assert.Equal(2, job.Exit(1));
            Assert.Contains(words, job.Output(1), StringComparison.Ordinal);
            Assert.Contains($"rank 1 on {Environment.MachineName} ended the job: {words}", job.Output(0), StringComparison.Ordinal);
        }
        using var lonely = new RankJob(1, JoinOnly, variables: _ => [("WORLD_SIZE", "3"), ("LOCAL_WORLD_SIZE", null), ("JOIN_SECONDS", "1")]);
        Assert.Equal(2, lonely.Exit(0));
        Assert.Contains("2 of 3 ranks did not come within 1 s: ranks 1, 2\n", lonely.Output(0), StringComparison.Ordinal);
    }

    [Fact, Trait("speed", "slow")]
    public void Two_that_say_they_are_the_same_rank_are_told()
    {
        using var job = new RankJob(3, JoinOnly, variables: rank =>
            [("RANK", $"{Math.Min(rank, 1)}"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", null), ("LOCAL_WORLD_SIZE", null)]);
        int[] codes = [job.Exit(1), job.Exit(2)];
        Assert.Contains(2, codes);
        Assert.Contains("two processes say that they are rank 1", job.Output(1) + job.Output(2), StringComparison.Ordinal);
    }

    [Fact]
    public void Who_differs_is_named_with_both_values()
    {
        var messages = WorkerPair.Run(4, workers =>
        {
            workers.Agree("row count", "1000");
            return Assert.Throws<InputException>(() => workers.Agree("row count", workers.Rank == 2 ? "999" : "1000", ["a", "a", "b", "b"])).What;
        });
        Assert.All(messages, message => Assert.Equal("""
            row count differs between the ranks
              ranks 0, 1, 3 on a, b: 1000
              rank 2 on b: 999
            """, message));
        var recipe = string.Join('\n', Enumerable.Range(0, 500).Select(line => $"key_{line}: {line}"));
        messages = WorkerPair.Run(2, workers => Assert.Throws<InputException>(() =>
            workers.Agree("recipe", workers.Rank == 1 ? recipe.Replace("key_300: 300", "key_300: 301", StringComparison.Ordinal) : recipe)).What);
        Assert.All(messages, message => Assert.Equal("""
            recipe differs between the ranks
              rank 0: line 301: key_300: 300
              rank 1: line 301: key_300: 301
            """, message));
    }

    private static void Lose(int victim, int signal, Action body, int size, string cause,
        Func<int, (string Name, string? Value)[]>? variables = null, TimeSpan after = default)
    {
        using var job = new RankJob(size, body, variables: variables);
        for (var rank = 0; rank < size; rank++)
            job.WaitFor(rank, "begun");
        Thread.Sleep(after);
        var watch = Stopwatch.StartNew();
        job.Signal(victim, signal);
        var words = $"rank {victim} on {Environment.MachineName} ended the job: ";
        for (var rank = 0; rank < size; rank++)
        {
            if (rank == victim)
                continue;
            Assert.NotEqual(0, job.Exit(rank, Limit + 10));
            Assert.Contains(words, job.Output(rank), StringComparison.Ordinal);
            Assert.Contains(cause, job.Output(rank)[job.Output(rank).IndexOf(words, StringComparison.Ordinal)..], StringComparison.Ordinal);
        }
        Assert.True(watch.Elapsed.TotalSeconds < Limit, $"it took {watch.Elapsed.TotalSeconds:0.0} s");
    }

    // ---- what ranks run ------------------------------------------------------------------------------------------

    private static void Together()
    {
        using var job = ProcessJob.Join(Rendezvous.FromEnvironment()!);
        var (workers, rank, size) = (job.Workers, job.Workers.Rank, job.Workers.Count);
        Assert.Equal((rank, size), (job.LocalRank, job.LocalWorldSize));
        // as many bytes as one message holds, more, and none
        foreach (var lengths in (Func<int, int>[])[_ => 0, r => r, r => 252 - r, r => 252 + r, r => r == 0 ? 0 : 100_000 * r])
        {
            var parts = workers.Gather(Part(rank, lengths(rank)));
            Assert.Equal(size, parts.Count);
            for (var r = 0; r < size; r++)
                Assert.Equal(Part(r, lengths(r)), parts[r]);
        }
        double[] expected = [Enumerable.Range(1, size).Sum(r => 0.1 * r), size];
        Assert.Equal(expected, workers.Sum(0.1 * (rank + 1), 1));
        Assert.True(workers.Any(rank == size - 1));
        Assert.False(workers.Any(false));
        using (TensorScope.Enter())
        {
            var values = Tensor.From<double>([1, rank, 0.1 * rank]);
            workers.SumInPlace(values);
            Assert.Equal([size, size * (size - 1) / 2, Enumerable.Range(0, size).Sum(r => 0.1 * r)], values.ToArray<double>());
        }
        workers.Agree("plan", "the same");
        if (size > 1)
        {
            var failure = Assert.Throws<InputException>(() => workers.Agree("hash of the weights", rank == 1 ? "abc" : "abd", job.Hosts));
            Assert.Contains($"rank 1 on {Environment.MachineName}: abc", failure.What, StringComparison.Ordinal);
        }
        using var pair = job.Subgroup([.. Enumerable.Range(0, size).Where(r => r % 2 == rank % 2)], $"parity {rank % 2}")!;
        Assert.Equal((rank / 2, (size + 1 - rank % 2) / 2), (pair.Rank, pair.Size));
        workers.Meet();
        Assert.Null(job.Watch.Failure);
        Assert.Equal(0, Tensor.LiveCount);
    }

    private static byte[] Part(int rank, int length)
    {
        var bytes = new byte[length];
        new Random(rank).NextBytes(bytes);
        return bytes;
    }

    internal static void Work(Action<ProcessJob> body, ProcessJobOptions? options = null)
    {
        try
        {
            using var job = ProcessJob.Join(Rendezvous.FromEnvironment()!,
                (options ?? new()) with { Watch = (options ?? new()).Watch with { Say = Console.Error.WriteLine } });
            Console.WriteLine("begun");
            try
            {
                body(job);
            }
            catch (Exception failure)
            {
                job.Watch.Report(failure);
                Console.WriteLine((failure is RankFailedException ? "heard: " : "mine: ") + failure.Message);
                job.Dispose();
                Environment.Exit(5);
            }
        }
        catch (InputException failure)
        {
            Console.WriteLine(failure.Message);
            Environment.Exit(2);
        }
    }

    private static void SumForever() => Work(job =>
    {
        while (true)
            job.Workers.Sum(1);
    });

    private static void GoRoundForever() => Work(job =>
    {
        using var scope = TensorScope.Enter();
        var context = job.Workers.InGroupsOf(job.Workers.Count).Context!;
        var values = Tensor.Zeros(DType.Float32, Device.Cpu, 1000, 8);
        while (true)
        {
            using var next = context.Pass(values, [1000, 8], channel: 0).Wait();
            Assert.Equal(0, next.ToArray<float>()[^1]);
        }
    });

    // Every kind of operation, in buckets as training has them.
    private static void MoveForever() => Work(job =>
    {
        using var scope = TensorScope.Enter();
        var values = Tensor.Zeros(DType.Float32, Device.Cpu, 3 << 20);
        Tensor[] halves = [.. Enumerable.Range(0, 3).Select(_ => Tensor.Zeros(DType.Float32, Device.Cpu, 3 << 19))];
        var other = 1 - job.Workers.Rank;
        while (true)
        {
            Torch.Distributed.Work[] works =
            [
                job.Group.Receive(halves[0], other), job.Group.Send(halves[1], other), job.Group.AllReduce(values, inOrder: true),
                job.Group.ReduceScatter(halves[2], values), job.Group.AllGather(values, halves[2]),
            ];
            foreach (var work in works)
            {
                try
                {
                    work.Wait();
                }
                catch (TorchException failure)
                {
                    throw job.Watch.Explain(failure);
                }
                work.Dispose();
            }
        }
    });

    private static void ComputeForever() => Work(_ => Thread.Sleep(Timeout.Infinite));

    private static void FailAtThree() => Work(job =>
    {
        for (var step = 0; ; step++)
        {
            if (step == 3 && job.Workers.Rank == 1)
                throw new InputException("the disk is full");
            job.Workers.Sum(step);
        }
    });

    private static void OneStaysBehind() => Work(job =>
    {
        for (var step = 0; ; step++)
        {
            if (step == 3 && job.Workers.Rank == 1)
                job.Watch.Failed.WaitHandle.WaitOne();
            job.Workers.Sum(step);
        }
    }, new() { OperationTimeout = TimeSpan.FromSeconds(4) });

    private static void JoinOnly() => Work(_ => { }, new()
    {
        JoinTimeout = TimeSpan.FromSeconds(double.Parse(Environment.GetEnvironmentVariable("JOIN_SECONDS") ?? "30")),
    });
}
