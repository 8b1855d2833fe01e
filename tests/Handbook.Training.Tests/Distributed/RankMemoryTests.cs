using System.Globalization;
using System.Text.RegularExpressions;
using Handbook.Models;
using Handbook.Models.Sharding;
using Handbook.Models.Tests;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Optimizers;
using Handbook.Training.Scale;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Distributed;

/// <summary>What the system says that each of one, two and four processes has in memory.</summary>
[Trait("needs", "processes")]
public sealed partial class RankMemoryTests
{
    /// <summary>Weights, gradients and states: 16 bytes for each of 38 million numbers, 604 MB on one process.</summary>
    [Fact, Trait("speed", "slow")]
    public void Each_of_N_processes_under_ZeRO_3_has_one_Nth_and_the_largest_layers_while_they_are_used()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the system does not say what memory a process has of its own");
        var one = Measured(1).Single();
        foreach (var world in (int[])[2, 4])
            foreach (var rank in Measured(world))
            {
                Assert.InRange(rank.Kept, 0.95 * one.Kept / world, 1.05 * one.Kept / world);
                Assert.InRange(rank.Peak - rank.Kept, 0, 1.05 * rank.Passing + (8 << 20));      // and what a few tokens leave
            }
    }

    private static (double Kept, double Peak, double Passing)[] Measured(int world)
    {
        using var job = new RankJob(world, Train);
        return [.. Enumerable.Range(0, world).Select(rank =>
        {
            Assert.True(job.Exit(rank, 120) == 0, job.Output(rank));
            var said = Said().Match(job.Output(rank));
            Assert.True(said.Success, job.Output(rank));
            TestContext.Current.TestOutputHelper?.WriteLine($"rank {rank} of {world}: {said.Value}");
            return (Number(1), Number(2), Number(3));

            double Number(int at) => double.Parse(said.Groups[at].Value, CultureInfo.InvariantCulture);
        })];
    }

    private static void Train() => ProcessJobTests.Work(job =>
    {
        TorchRuntime.Load();
        var options = new TrainingOptions { ZeroStage = 3 };
        var workers = job.Workers;
        var stage = Shard.Of(ShardingStage.Parameters, workers.Rank, workers.Count, isOrdered: false);
        using (var warm = Tiny.Model("llama", dtype: DType.Float32))      // code that is compiled, libraries that are loaded
        using (var updates = Optimizer.Create(options, warm.Parameters))
            Step(warm, updates, Workers.Alone);
        var before = OwnBytes();
        using var model = Large(stage);
        using var joined = workers.Join(model.Parameters);
        using var optimizer = Optimizer.Create(options, model.Parameters);
        for (var step = 0; step < 2; step++)
            Step(model, optimizer, workers);
        var kept = OwnBytes() - before;
        File.WriteAllText("/proc/self/clear_refs", "5");        // the peak begins here
        var resident = Status("VmRSS");
        Step(model, optimizer, workers);
        var memory = RankMemory.Of(model.Parameters.Plan, [.. model.Parameters.Buckets.Select(bucket => bucket.Layout)],
            model.Parameters.Traffic?.HeadUnit ?? 0, options);
        workers.Meet();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"kept {kept}, at most {kept + Status("VmHWM") - resident}, passing {memory.Passing}"));
        workers.Meet();
    });

    private static void Step(Decoder model, Optimizer optimizer, Workers workers)
    {
        using var scope = TensorScope.Enter();
        var method = new SupervisedMethod("sft");
        var rows = Tiny.Rows(4, 2 * workers.Count);
        model.Parameters.ClearGradients();
        var pass = new LossPass { Training = true, Metrics = new MetricSums(), Workers = workers, Traffic = model.Parameters.Traffic };
        StepSums.Run(model, method, BatchLoader.Lay(rows, new(0, 0, [[.. Enumerable.Range(0, rows.Count)]], 1), method, 64, workers).Groups, pass);
        model.Parameters.SettleGradients();
        optimizer.Step(1e-4, GradientNorm.ClipFactor(GradientNorm.Of(model.Parameters, workers), 1));
    }

    private static Decoder Large(Shard shard)
    {
        var config = Some.Llama(("vocab_size", Tiny.Vocabulary), ("hidden_size", 768), ("intermediate_size", 3072), ("num_hidden_layers", 4),
            ("num_attention_heads", 12), ("num_key_value_heads", 12));
        var plan = ParameterPlan.Trained(config.Family.Parameters(config.Decoder, fused: true), DType.Float32, DType.Float32).SharedOut(shard);
        var parameters = ModelParameters.Allocate(plan);
        var random = new Random(1);
        foreach (var spec in plan.Rules.Select(rule => rule.Spec))
        {
            using var scope = TensorScope.Enter();
            var values = parameters[spec.Name].Value.Detach().AsSpan<float>();
            for (var i = 0; i < values.Length; i++)
                values[i] = spec.Kind == ParameterKind.NormWeight ? 1 : (float)(0.04 * (random.NextDouble() - 0.5));
        }
        parameters.TakeOwn(adapters: false);
        return new Decoder(config.Decoder, parameters);
    }

    /// <summary>Bytes that are this process's own, of no file.</summary>
    private static long OwnBytes()
    {
        Garbage.Settle();
        GC.Collect();
        TorchRuntime.TrimMemory();      // what the allocator keeps for the next tensor
        return File.ReadLines("/proc/self/smaps_rollup").Where(line => line.StartsWith("Anonymous:", StringComparison.Ordinal)).Select(Bytes).Single();
    }

    private static long Status(string name) =>
        File.ReadLines("/proc/self/status").Where(line => line.StartsWith(name + ":", StringComparison.Ordinal)).Select(Bytes).Single();

    private static long Bytes(string line) => 1024 * long.Parse(Digits().Match(line).Value, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"kept (\d+), at most (\d+), passing (\d+)")]
    private static partial Regex Said();

    [GeneratedRegex(@"\d+")]
    private static partial Regex Digits();
}
