using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Handbook.Data;
using Handbook.Launch;
using Handbook.Models;
using Handbook.Models.Families;
using Handbook.Models.Sharding;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Optimizers;

namespace Handbook.Bench;

/// <summary>What one of several processes measured.</summary>
/// <param name="TokensPerSecond">Of all of them together.</param>
/// <param name="BytesPerStep">Weights and gradients that this one sent in a step.</param>
/// <param name="BusySeconds">Time of a step for which something was on its way.</param>
/// <param name="WaitedSeconds">Time of a step that computing stood still for it.</param>
/// <param name="KeptBytes">Tensors that stay between steps: weights, gradients, states.</param>
internal sealed record RankResult(double TokensPerSecond, double BytesPerStep, double BusySeconds, double WaitedSeconds, long KeptBytes,
    double LastLoss);

/// <summary>Training steps of several processes that share the rows of one.</summary>
internal static class RanksBench
{
    /// <summary>Runs as the process that the environment says; the first of them has the result.</summary>
    public static RankResult Rank(Shape shape, bool bf16, int steps, int stage)
    {
        using var job = ProcessJob.Join(Rendezvous.FromEnvironment() ?? throw new InvalidOperationException("RANK and WORLD_SIZE are not set"));
        var workers = job.Workers;
        var specs = Family.For("llama", "bench").Parameters(shape.Config(), fused: true);
        var plan = ParameterPlan.Trained(specs, DType.Float32, bf16 ? DType.BFloat16 : DType.Float32)
            .SharedOut(new((ShardingStage)stage, workers.Rank, workers.Count));
        using var model = StepBench.Model(shape, plan);
        workers.Join(model.Parameters);
        using var optimizer = new AdamW(model.Parameters, 0.9, 0.999, 1e-8, 0.01);
        var method = new SupervisedMethod("sft");
        var rows = StepBench.Rows(shape, null, (steps + StepBench.WarmUp) * shape.Rows);
        var order = new StepPlan(rows, new StepPlanOptions { BatchSize = shape.Rows, Epochs = 1, Sequential = true });
        using var loader = new BatchLoader(rows, order, method, maxTokens: 4096, 0, steps + StepBench.WarmUp, workers);
        var (clock, tokens, last, before) = (new Stopwatch(), 0L, 0.0, default(TrafficCounters));
        var traffic = model.Parameters.Traffic!;
        for (var step = 0; step < steps + StepBench.WarmUp; step++)
        {
            var work = loader.Next();
            workers.Meet();
            if (step == StepBench.WarmUp)
            {
                before = traffic.Counters;
                clock.Start();
            }
            using (TensorScope.Enter())
            {
                model.Parameters.ClearGradients();
                var pass = new LossPass { Training = true, Metrics = new MetricSums(), Workers = workers, Traffic = traffic };
                var sums = StepSums.Run(model, method, work.Groups, pass);
                (last, tokens) = (sums.Loss, step < StepBench.WarmUp ? 0 : tokens + sums.Tokens);
                model.Parameters.SettleGradients();
                optimizer.Step(1e-4, GradientNorm.ClipFactor(GradientNorm.Of(model.Parameters, workers), 1.0));
            }
        }
        workers.Meet();
        clock.Stop();
        var after = traffic.Counters;
        return new(tokens / clock.Elapsed.TotalSeconds, (after.Bytes - before.Bytes) / (double)steps, (after.Busy - before.Busy).TotalSeconds
            / steps, (after.Waited - before.Waited).TotalSeconds / steps, TorchRuntime.Memory.Used, last);
    }

    /// <summary>Starts the processes, of one thread each; what the first one measured, null where one failed.</summary>
    public static RankResult? Run(int count, string shape, string dtype, int steps, int stage)
    {
        var port = Launcher.FreePort();
        var processes = Enumerable.Range(0, count).Select(rank =>
        {
            var start = new ProcessStartInfo(Environment.ProcessPath!, ["rank", shape, dtype, steps.ToString(CultureInfo.InvariantCulture),
                stage.ToString(CultureInfo.InvariantCulture)])
            { RedirectStandardOutput = true };
            foreach (var (name, value) in ((string, string)[])[("RANK", $"{rank}"), ("WORLD_SIZE", $"{count}"), ("LOCAL_RANK", $"{rank}"),
                ("LOCAL_WORLD_SIZE", $"{count}"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", $"{port}"), ("OMP_NUM_THREADS", "1")])
                start.Environment[name] = value;
            return Process.Start(start)!;
        }).ToArray();
        var said = processes.Select(process => process.StandardOutput.ReadToEnd()).ToArray();
        var failed = false;
        foreach (var process in processes)
        {
            process.WaitForExit();
            failed |= process.ExitCode != 0;
            process.Dispose();
        }
        return failed ? null : JsonSerializer.Deserialize<RankResult>(said[0]);
    }

    /// <summary>Two processes of one thread beside one of two.</summary>
    public static BenchRow Row(string name, string shape, bool quick)
    {
        var (ours, alone, steps) = (new List<double>(), new List<double>(), quick ? 3 : shape == "15m" ? 10 : 4);
        for (var i = 0; i < (quick ? 1 : 3); i++)
        {
            if (Run(2, shape, "f32", steps, 0) is not { } both || Comparison.JsonOf(Environment.ProcessPath!, null,
                ["step", shape, "f32", steps.ToString(CultureInfo.InvariantCulture)]) is not { } one)
                return new(name, null, null, null, "tokens/s", "a run failed");
            ours.Add(both.TokensPerSecond);
            alone.Add(one.GetProperty("TokensPerSecond").GetDouble());
        }
        return new(name, Comparison.Median(ours), Comparison.Median(alone), Comparison.Median(ours.Zip(alone, (a, b) => a / b)), "tokens/s",
            $"two processes of one thread share the rows of a step, beside one process of two threads, {shape} in float32");
    }

    /// <summary>The share of the time for what travels in which computing goes on.</summary>
    public static BenchRow Overlap(string name, bool quick)
    {
        var runs = Enumerable.Range(0, quick ? 1 : 3).Select(_ => Run(2, "135m", "f32", quick ? 2 : 4, 0)).ToArray();
        if (runs.Any(run => run is null))
            return new(name, null, null, null, "seconds", "a run failed");
        return new(name, Comparison.Median([.. runs.Select(run => run!.WaitedSeconds)]), Comparison.Median([.. runs.Select(run =>
            run!.BusySeconds)]), Comparison.Median([.. runs.Select(run => 1 - run!.WaitedSeconds / run.BusySeconds)]), "seconds/step",
            $"computing stands still for what is on its way, of the time it is; 135m in float32, two processes of one core each; "
                + $"{runs[0]!.BytesPerStep / 1e6:f0} MB sent in a step by each");
    }

    /// <summary>What each of several processes keeps under ZeRO-3, beside its part of it with the largest unit.</summary>
    public static BenchRow Memory(string name, int count)
    {
        const string shape = "135m";
        var specs = Family.For("llama", "bench").Parameters(Shape.Of(shape).Config(), fused: true);
        var all = specs.Sum(spec => spec.Count);
        if (Run(count, shape, "f32", 1, 3) is not { } run)
            return new(name, null, null, null, "bytes/weight", "a run failed");
        return new(name, run.KeptBytes / (double)all, 16.0 / count, run.KeptBytes / (double)all / (16.0 / count), "bytes/weight",
            $"weights, gradients and two moments that each of {count} processes keeps under zero_stage 3 between steps, beside 16/{count}; what is "
                + "gathered comes and goes beside it");
    }
}
