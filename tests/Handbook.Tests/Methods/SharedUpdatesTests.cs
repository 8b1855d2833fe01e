using System.Text.Json;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Sharding;
using Handbook.Tests.Methods.Grpo;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Optimizers;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Methods;

/// <summary>Every method, for all weights, adapters, and adapters over codes, under every stage, on one to four workers, with rows of their
/// own and sharing their tokens: the weights after steps of different sizes are those of one.</summary>
[Collection("tensors")]
public sealed class SharedUpdatesTests
{
    private const double Rounding = 1e-10;      // float64 sums in another order

    private static readonly string[] s_methods = ["sft", "cpt", "dpo", "orpo", "cpo", "kto", "bco", "reward", "grpo"];
    private static readonly string[] s_kinds = ["full", "lora", "qlora"];

    /// <summary>Workers, and how many of them share the tokens of a row.</summary>
    private static readonly (int Workers, int Size)[] s_worlds = [(1, 1), (2, 1), (3, 1), (4, 1), (2, 2), (4, 2), (4, 4)];

    // Five rows of different lengths, in steps of three, two in two micro-batches, and one: on four workers some have nothing.
    private static readonly StepRows[] s_steps =
        [new(0, 0, [[0, 1, 2]], 0.6), new(1, 0, [[3], [4]], 1), new(2, 0, [[2]], 1)];

    public static MatrixTheoryData<string, string> Cases() => new(s_methods, s_kinds);

    [Theory, Trait("speed", "slow"), MemberData(nameof(Cases))]
    public void Number_1_2_and_12_any_number_under_any_stage_has_the_weights_of_one(string method, string kind)
    {
        // The first shows gradients: a step of theirs. With a large ε the second makes no whole step of a gradient as small as its rounding.
        foreach (var optimizer in (OptimizerKind[])[OptimizerKind.Sgd, OptimizerKind.AdamW])
        {
            var expected = Train(method, kind, 0, optimizer, Workers.Alone);
            foreach (var stage in (int[])[0, 1, 2, 3])
                foreach (var (workers, size) in s_worlds)
                    Compare(expected, method, kind, stage, optimizer, workers, size);
        }
    }

    [Theory]
    [InlineData("kto", "qlora", 3, 4, 2)]
    [InlineData("sft", "full", 2, 3, 1)]
    [InlineData("sft", "full", 0, 4, 1)]        // some have no rows, and ask for sums in the order of those who have
    [InlineData("dpo", "full", 1, 4, 1)]
    [InlineData("grpo", "lora", 1, 4, 1)]
    public void Number_2_some_numbers_have_the_weights_of_one(string method, string kind, int stage, int workers, int size) =>
        Compare(Train(method, kind, 0, OptimizerKind.AdamW, Workers.Alone), method, kind, stage, OptimizerKind.AdamW, workers, size);

    private static void Compare(Dictionary<string, double[]> expected, string method, string kind, int stage, OptimizerKind optimizer,
        int workers, int size)
    {
        foreach (var found in WorkerPair.Run(workers, its => Train(method, kind, stage, optimizer, its.InGroupsOf(size))))
            foreach (var (name, values) in expected)
            {
                var worst = values.Zip(found[name]).Max(pair => Math.Abs(pair.First - pair.Second));
                Assert.True(worst <= Rounding, $"{method}, {kind}, stage {stage}, {optimizer}, {workers} workers, {size} for a row: {name} is "
                    + $"off by {worst:g3}");
            }
    }

    private static Dictionary<string, double[]> Train(string name, string kind, int stage, OptimizerKind optimizer, Workers workers)
    {
        using var scope = TensorScope.Enter();
        var options = new TrainingOptions { Optim = optimizer, AdamEpsilon = 1e-3, ZeroStage = stage, WeightDecay = 0.1 };
        var head = name == "reward" ? ModelHead.Score : ModelHead.Language;
        using var model = Model(kind, head, Shard.Of((ShardingStage)stage, workers.Rank, workers.Count, isOrdered: false));
        var (method, rows) = Work(name, kind);
        using var joined = workers.Join(model.Parameters);
        using var updates = Optimizer.Create(options, model.Parameters);
        foreach (var step in s_steps)
        {
            model.Parameters.ClearGradients();
            var groups = method is GrpoMethod grpo ? grpo.Lay(rows, workers.Share(step, _ => 1), workers.Context)
                : BatchLoader.Lay(rows, step, method, maxTokens: 30, workers).Groups;
            var pass = new LossPass
            {
                Training = true,
                Metrics = new MetricSums(),
                Workers = workers,
                Traffic = model.Parameters.Traffic,
            };
            var done = StepSums.Run(model, method, groups, pass);
            Assert.True(done.Learned);
            model.Parameters.SettleGradients();
            var norm = GradientNorm.Of(model.Parameters, workers);
            Assert.True(norm > 0);
            updates.Step(0.02, GradientNorm.ClipFactor(norm, 1));
        }
        var weights = model.Parameters.Plan.Rules.Where(rule => rule.IsTrained)
            .ToDictionary(rule => rule.Spec.Name, rule => model.Parameters.Whole(rule.Spec.Name).ToArray<double>());
        workers.Meet();
        return weights;
    }

    private static Decoder Model(string kind, ModelHead head, Shard shard) => kind switch
    {
        "full" => Tiny.Model("llama", 1, head: head, shard: shard),
        "lora" => Tiny.Adapted("llama", AdapterKind.Lora, head: head, shard: shard),
        _ => Tiny.Adapted("llama", AdapterKind.Qlora, head: head, shard: shard),
    };

    private static (ITrainingMethod Method, ITokenRows Rows) Work(string name, string kind)
    {
        switch (name)
        {
            case "sft":
                // one row has nothing to predict
                return (new SupervisedMethod(name), new TokenRowList([.. Enumerable.Range(0, 5).Select(row => row == 3
                    ? TokenRow.Single([1, 2, 3, 4, 5], new byte[5], 5) : Tiny.Rows(4, 5).Read(row))]));
            case "cpt":
                return (new SupervisedMethod(name), Packing.BestFit(Tiny.Rows(4, 14, masked: false), 30));
            case "reward":
                var pairs = PreferenceContractTests.Rows(TrainingMethod.Dpo, 5);
                return (new RewardMethod(centring: 0.01), new TokenRowList([.. Enumerable.Range(0, 5).Select(row =>
                    pairs.Read(row) with { Margin = 0.1 * row })]));
            case "grpo":
                return (GrpoMethodTests.Method(new GrpoLoss { Beta = 0.1, Epsilon = 0.1, EpsilonHigh = 0.1 }, 0.7, maxTokens: 30),
                    GrpoMethodTests.Rows(5));
        }
        var method = Enum.Parse<TrainingMethod>(name, ignoreCase: true);
        using var settings = JsonDocument.Parse(name == "cpo" ? """{"loss_type": "simpo"}""" : "{}");
        var objective = PreferenceObjective.Create(PreferenceCase.Recipe(method, null, settings.RootElement));
        var rows = PreferenceContractTests.Rows(method, 5);
        if (!objective.NeedsReference)
            return (new PreferenceMethod("test", objective), rows);
        using var reference = kind == "qlora" ? Tiny.Base("llama", AdapterKind.Qlora) : Tiny.Model("llama", 2);
        return (new PreferenceMethod("test", objective), PreferenceCase.Referenced(rows, reference, objective));
    }
}
