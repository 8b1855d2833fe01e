using Handbook.Base.Keys;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Sharding;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Optimizers;
using Handbook.Training.Scale;

namespace Handbook.Training.Tests.Contract;

/// <summary>What a plan says that processes send is what they sent, to the byte, and what it says that they keep is what they keep.</summary>
[Collection("tensors")]
public sealed class TrafficForecastTests
{
    private const int Steps = 4;

    private static readonly TrainingOptions s_options = new()
    {
        OutputDir = "",
        LearningRate = 0.02,
        PerDeviceTrainBatchSize = 6,
        GradientAccumulationSteps = 4,
        MaxSteps = Steps,
        LoggingSteps = new(1),
        SaveStrategy = SaveStrategy.No,
    };

    private static readonly NetworkSpeed s_network = new(1e9, 1e-5);

    public static TheoryData<int, int, string, AdapterKind?, bool> Cases()
    {
        var cases = new TheoryData<int, int, string, AdapterKind?, bool>();
        foreach (var stage in (int[])[0, 1, 2, 3])
            foreach (var world in (int[])[2, 3])
                foreach (var (network, adapter, bf16) in ((string, AdapterKind?, bool)[])[("llama", null, false), ("llama", null, true),
                    ("gpt2", null, false), ("mixtral", null, false), ("llama", AdapterKind.Lora, false), ("llama", AdapterKind.Qlora, false)])
                    cases.Add(stage, world, network, adapter, bf16);
        return cases;
    }

    [Theory, MemberData(nameof(Cases))]
    public void Bytes_of_a_step_are_those_of_the_plan(int stage, int world, string network, AdapterKind? adapter, bool bf16)
    {
        using var folder = new TemporaryFolder();
        var seen = new Seen[world];
        WorkerPair.Run(world, its => LoopRun.Run(folder.Path, s_options with { ZeroStage = stage, Bf16 = bf16 },
            wrap: method => seen[its.Rank] = new Seen(method), adapter: adapter, dtype: bf16 ? DType.Float32 : DType.Float64, network: network,
            workers: its));

        using var model = adapter is { } kind ? Tiny.Adapted(network, kind, dtype: DType.Float64, upRate: 4)
            : Tiny.Model(network, dtype: bf16 ? DType.Float32 : DType.Float64, compute: bf16 ? DType.BFloat16 : DType.Float64);
        var plan = model.Parameters.Plan.SharedOut(new((ShardingStage)stage, 0, world));
        var replay = new StepReplay(UnitNumbers.For(plan.Rules.Select(rule => rule.Spec)),
            [.. BucketLayout.Of(plan).Where(bucket => bucket.Rule.IsTrained)], new double[model.Parameters.Units.Count], world);
        for (var step = 1; step < Steps; step++)        // before the first, weights are there that nobody sent
        {
            var passes = seen.Max(its => its.Passes[step]);
            Assert.True(passes > 1, "one pass shows nothing of what is sent in each");
            var planned = replay.Step(new() { Passes = passes, Tokens = 1 }, s_network);
            foreach (var its in seen)
            {
                Assert.Equal(planned.Sent.Bytes, its.Counters[step].Bytes - its.Counters[step - 1].Bytes);
                Assert.Equal(planned.Operations, its.Counters[step].Operations - its.Counters[step - 1].Operations);
            }
        }
    }

    [Theory]
    [InlineData("llama", 2, false, false)]
    [InlineData("llama", 4, true, false)]
    [InlineData("mixtral", 2, false, true)]
    [InlineData("gpt2", 4, false, false)]
    public void Keys_and_values_that_go_round_are_those_of_the_plan(string network, int size, bool bf16, bool recomputes)
    {
        int[] ids = [1, 2, 3, 4, 5, 6, 7, 8];
        var rows = new TokenRowList([.. Enumerable.Range(0, 6).Select(_ => TokenRow.Single(ids, [.. ids.Select(_ => (byte)1)], ids.Length))]);
        var method = new SupervisedMethod("sft");
        var config = default(DecoderConfig);
        var sent = WorkerPair.Run(size, its =>
        {
            using var scope = TensorScope.Enter();
            using var model = Tiny.Model(network, dtype: bf16 ? DType.Float32 : DType.Float64, compute: bf16 ? DType.BFloat16 : DType.Float64);
            config = model.Config;
            var workers = its.InGroupsOf(size);
            var work = BatchLoader.Lay(rows, new StepRows(0, 0, [[0, 1, 2, 3, 4, 5]], 1), method, 48, workers);
            Assert.Single(work.Groups[0].Bins);
            StepSums.Run(model, method, work.Groups, new LossPass
            {
                Training = true,
                Metrics = new(),
                Workers = workers,
                Options = _ => new() { Recompute = recomputes },
            });
            return workers.Context!.Passed;
        });
        var layer = RingTraffic.Of(config!, bf16 ? DType.BFloat16 : DType.Float64, 48, size, recomputes);
        Assert.All(sent, bytes => Assert.Equal(config!.Layers * (layer.Forward.Bytes + layer.Back.Bytes), bytes));

        using var shape = Tiny.Model(network, dtype: DType.Float32);
        var plan = shape.Parameters.Plan.SharedOut(new(ShardingStage.None, 0, size));
        StepForecast Planned(RingTraffic ring) => new StepReplay(UnitNumbers.For(plan.Rules.Select(rule => rule.Spec)),
            [.. BucketLayout.Of(plan).Where(bucket => bucket.Rule.IsTrained)], new double[shape.Parameters.Units.Count], size, ring: ring)
            .Step(new() { Passes = 3, Tokens = 1 }, s_network);
        Assert.Equal(3 * sent[0], Planned(layer).Sent.Bytes - Planned(default).Sent.Bytes);
    }

    [Theory]
    [InlineData(0, "adamw_torch")]
    [InlineData(1, "lion_32bit")]
    [InlineData(2, "adamw_torch")]
    [InlineData(3, "adamw_bnb_8bit")]
    [InlineData(3, "adagrad")]
    [InlineData(3, "sgd")]
    [InlineData(2, "schedule_free_adamw")]
    [InlineData(1, "rmsprop")]
    public void Memory_is_that_of_the_plan(int stage, string optim)
    {
        const int World = 2;
        var options = s_options with
        {
            Optim = (OptimizerKind)RecipeNames.Spellings(typeof(OptimizerKind)).First(each => each.Name == optim).Value,
            OptimArgs = optim.EndsWith("8bit", StringComparison.Ordinal) ? "min_8bit_size=256" : null,
        };
        var parts = Enumerable.Range(0, World).Select(rank =>
        {
            using var model = Tiny.Model("llama", dtype: DType.Float32, compute: DType.BFloat16,
                shard: new((ShardingStage)stage, rank, World));
            using var optimizer = Optimizer.Create(options, model.Parameters);
            var kept = model.Parameters.Trained;
            var memory = RankMemory.Of(model.Parameters.Plan, [.. model.Parameters.Buckets.Select(bucket => bucket.Layout)], 0, options);
            Assert.Equal(kept.Sum(bucket => (bucket.Streams ? bucket.OwnGradients! : bucket.Gradients!).Count * 4), memory.Gradients);
            return (States: optimizer.State.Sum(state => state.Value.Count * state.Value.DType.Size), Planned: memory.States!.Value);
        }).ToArray();
        // The plan takes zeros between tensors for none of it, and a part for the mean of all.
        Assert.Equal(parts.Sum(part => part.States), parts.Sum(part => part.Planned), Math.Max(64, 0.02 * parts.Sum(part => part.Planned)));
    }

    [Fact]
    public void What_is_sent_beside_computing_is_not_waited_for()
    {
        using var model = Tiny.Model("llama", dtype: DType.Float32);
        var plan = model.Parameters.Plan.SharedOut(new(ShardingStage.Parameters, 0, 8));
        var layouts = BucketLayout.Of(plan).Where(bucket => bucket.Rule.IsTrained).ToArray();
        var units = model.Parameters.Units;
        double[] work = [.. Enumerable.Range(0, units.Count).Select(unit => unit == UnitNumbers.Tables || unit == units.Small ? 0.0 : 1)];
        var replay = new StepReplay(units, layouts, work, 8);
        var network = new NetworkSpeed(1e9, 0);

        var idle = replay.Step(new() { Passes = 2, Tokens = 1 }, network);
        Assert.InRange(idle.Hidden, 0, 0.03);           // there is nothing beside which it could pass but a few meetings

        var busy = replay.Step(new() { Passes = 2, Tokens = 1, Seconds = 1000 * idle.Busy, TrainsMatrices = true }, network);
        Assert.Equal(idle.Sent, busy.Sent);
        Assert.InRange(busy.Hidden, 0.3, 1);            // a pass waits for its tables and norms, much of so small a network; a step for its last sum
        Assert.InRange(busy.Seconds, 1000 * idle.Busy, 1001 * idle.Busy);
        Assert.Equal(busy.Seconds, replay.Step(new() { Passes = 2, Tokens = 1, Seconds = 1000 * idle.Busy, TrainsMatrices = true }, network).Seconds,
            1e-9 * busy.Seconds);                       // nothing is left over from a step
    }

    /// <summary>Notes passes and what was sent, step by step.</summary>
    private sealed class Seen(ITrainingMethod inner) : ITrainingMethod
    {
        private int _passes;

        public List<int> Passes { get; } = [];

        public List<TrafficCounters> Counters { get; } = [];

        public string Name => inner.Name;

        public GroupTotals Totals(IReadOnlyList<TokenRow> rows) => inner.Totals(rows);

        public void Run(Decoder model, LossGroup group, LossPass pass)
        {
            _passes += group.Bins.Count;
            inner.Run(model, group, pass);
        }

        public void AfterStep(Decoder model, int step)
        {
            inner.AfterStep(model, step);
            Passes.Add(_passes);
            Counters.Add(model.Parameters.Traffic!.Counters);
            _passes = 0;
        }
    }
}
