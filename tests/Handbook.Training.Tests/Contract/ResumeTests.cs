using System.Text.Json.Nodes;
using Handbook.Base.Keys;
using Handbook.Data;
using Handbook.Models;
using Handbook.Testing;
using Handbook.Training.Checkpoints;
using Handbook.Training.Methods;
using Handbook.Training.Metrics;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Tests.Contract;

/// <summary>A run that goes on from any of its checkpoints ends with the same curve and the same weights, bit for bit.</summary>
[Collection("tensors")]
public sealed class ResumeTests
{
    private static readonly TrainingOptions s_plain = new()
    {
        PerDeviceTrainBatchSize = 2,
        GradientAccumulationSteps = 2,
        MaxSteps = 8,
        SaveSteps = new(1),
        LoggingSteps = new(3),          // so that most checkpoints lie within an interval
        LearningRate = 0.01,
        WarmupSteps = 2,
        WeightDecay = 0.1,
    };

    public static TheoryData<string> Kinds() =>
        ["plain", "evaluated", "noisy", "bf16", "recomputed", "plateau", "epochs", "lora", "dora", "biased", "qlora", "int8",
            .. Enum.GetValues<OptimizerKind>().Where(kind => kind != OptimizerKind.AdamW).Select(kind => RecipeNames.Of(kind))];

    private static TrainingOptions Options(string kind) => kind switch
    {
        "evaluated" => s_plain with { EvalStrategy = IntervalStrategy.Steps, EvalSteps = new(2), EvalOnStart = true },
        "noisy" => s_plain with { NeftuneNoiseAlpha = 5, LabelSmoothingFactor = 0.1, LrSchedulerType = SchedulerType.Cosine },
        "bf16" => s_plain with { Bf16 = true, NeftuneNoiseAlpha = 5 },
        "recomputed" => s_plain with { GradientCheckpointing = true, MaxGradNorm = 0.1 },
        "plateau" =>
            s_plain with
            {
                LrSchedulerType = SchedulerType.ReduceLrOnPlateau,
                LearningRate = 0.3,
                WarmupSteps = 0,
                EvalStrategy = IntervalStrategy.Steps,
                EvalSteps = new(1),
                LrSchedulerKwargs = new Dictionary<string, object?> { ["patience"] = 0L }
            },
        "epochs" => s_plain with
        {
            MaxSteps = -1,
            NumTrainEpochs = 1.5,
            EvalStrategy = IntervalStrategy.Epoch,
            LoggingStrategy = IntervalStrategy.Epoch
        },
        "plain" or "lora" or "qlora" => s_plain,
        "dora" or "int8" => s_plain with { GradientCheckpointing = true },
        "biased" => s_plain with { EvalStrategy = IntervalStrategy.Steps, EvalSteps = new(2) },
        _ => Optimizer(kind),
    };

    /// <summary>In bfloat16, with evaluations: schedule-free AdamW has other weights there, which must leave no trace.</summary>
    private static TrainingOptions Optimizer(string name)
    {
        var kind = Enum.GetValues<OptimizerKind>().First(kind => RecipeNames.Of(kind) == name);
        return s_plain with
        {
            Optim = kind,
            OptimArgs = OptimizerTraits.Of(kind) switch
            {
                { Bits: 8 } => "min_8bit_size=16",
                { ReadsTargets: true } => "rank=3,update_proj_gap=3",
                _ => null,
            },
            OptimTargetModules = ["all-linear"],
            Bf16 = true,
            MaxSteps = 5,
            EvalStrategy = IntervalStrategy.Steps,
            EvalSteps = new(2),
        };
    }

    [Theory, MemberData(nameof(Kinds))]
    public void Any_checkpoint_leads_to_the_same_curve_and_weights(string kind)
    {
        using var temporary = new TemporaryFolder();
        var options = Options(kind);
        var whole = temporary["whole"];
        var adapter = Enum.TryParse<AdapterKind>(kind, ignoreCase: true, out var adapted) ? adapted : (AdapterKind?)null;
        var weights = LoopRun.Run(whole, options, adapter: adapter);
        var curve = Curve(whole);
        Assert.NotEmpty(curve);
        var checkpoints = CheckpointFolder.List(whole);
        Assert.Equal(kind == "epochs" ? 9 : options.MaxSteps, checkpoints.Count);
        foreach (var (step, _) in checkpoints)
        {
            var again = temporary[$"from-{step}"];
            Copy(whole, again, step);
            var resumed = LoopRun.Run(again, options with { SaveStrategy = SaveStrategy.No }, CheckpointFolder.FindLatest(again), seed: 99,
                adapter: adapter);
            Assert.Equal(curve, Curve(again));
            Assert.True(weights.AsSpan().SequenceEqual(resumed), $"the weights after resuming from step {step} differ");
            Directory.Delete(again, recursive: true);
        }
    }

    [Theory]
    [InlineData(1, 0), InlineData(2, 0), InlineData(2, 3)]
    public void Number_16_each_step_of_each_epoch_is_followed_by_the_rows_that_come_next(int processes, int zeroStage)
    {
        using var temporary = new TemporaryFolder();
        var options = s_plain with { MaxSteps = -1, NumTrainEpochs = 2, LoggingSteps = new(1), ZeroStage = zeroStage };
        var (rows, weights) = Run(temporary["whole"], options, null, 1);
        var curve = Curve(temporary["whole"]);
        var steps = CheckpointFolder.List(temporary["whole"]).Count;
        Assert.Equal(12, steps);
        Assert.Equal(rows[..6].SelectMany(step => step).Order(), rows[6..].SelectMany(step => step).Order());
        Assert.NotEqual(rows[..6].SelectMany(step => step), rows[6..].SelectMany(step => step));        // in an order of its own
        for (var step = 1; step < steps; step++)
        {
            var again = temporary[$"from-{step}"];
            Copy(temporary["whole"], again, step);
            var (rest, same) = Run(again, options with { SaveStrategy = SaveStrategy.No }, CheckpointFolder.FindLatest(again), 99);
            Assert.Equal(rows[step..], rest);
            Assert.Equal(curve, Curve(again));
            Assert.True(weights.AsSpan().SequenceEqual(same), $"the weights after resuming from step {step} differ");
        }

        (int[][] Rows, double[] Weights) Run(string folder, TrainingOptions options, Checkpoint? resume, int seed)
        {
            var results = WorkerPair.Run(processes, its =>
            {
                var seen = new List<int[]>();
                return (Seen: seen, Weights: LoopRun.Run(folder, options, resume, method => new Listening(method, seen.Add), seed, workers: its));
            });
            return ([.. Enumerable.Range(0, results[0].Seen.Count).Select(step => results.SelectMany(its => its.Seen[step]).ToArray())],
                results[0].Weights);
        }
    }

    /// <summary>A method that says which rows it gets, and otherwise does what the inner one does.</summary>
    private sealed class Listening(ITrainingMethod inner, Action<int[]> hears) : ITrainingMethod
    {
        public string Name => inner.Name;

        public GroupTotals Totals(IReadOnlyList<TokenRow> rows) => inner.Totals(rows);

        public void Run(Decoder model, LossGroup group, LossPass pass)
        {
            hears([.. group.Rows.Select(row => row.Number)]);
            inner.Run(model, group, pass);
        }
    }

    [Fact]
    public void An_interrupted_run_saves_and_goes_on()
    {
        using var temporary = new TemporaryFolder();
        var options = s_plain with { SaveStrategy = SaveStrategy.No };
        var weights = LoopRun.Run(temporary["whole"], options);
        var folder = temporary["cut"];
        for (var start = 0; start < 4; start++)
        {
            using var stop = new CancellationTokenSource();
            LoopRun.Run(folder, options, CheckpointFolder.FindLatest(folder), method => new Counting(method, () => stop.Cancel(), 5),
                seed: start == 0 ? 1 : 99, cancel: stop.Token);
        }
        var resumed = LoopRun.Run(folder, options, CheckpointFolder.FindLatest(folder), seed: 99);
        Assert.Equal(Curve(temporary["whole"]), Curve(folder));
        Assert.True(weights.AsSpan().SequenceEqual(resumed));
    }

    /// <summary>All lines without what the clock says.</summary>
    private static string[] Curve(string folder) => [.. LogLines.Timeless(folder).Select(entry => entry.ToJsonString())];

    /// <summary>The run folder as it stood right after a checkpoint, but with the lines logged since: they must go.</summary>
    private static void Copy(string from, string to, int step)
    {
        Directory.CreateDirectory(to);
        File.Copy(Path.Combine(from, MetricsFile.FileName), Path.Combine(to, MetricsFile.FileName));
        var checkpoint = Directory.CreateDirectory(Path.Combine(to, $"checkpoint-{step}")).FullName;
        foreach (var file in Directory.GetFiles(Path.Combine(from, $"checkpoint-{step}")))
            File.Copy(file, Path.Combine(checkpoint, Path.GetFileName(file)));
    }
}
