using Handbook.Base.Keys;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Checkpoints;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Tests.Contract;

/// <summary>Whole runs of the loop whose states, gradients and weights are shared out give the weights of one process.</summary>
[Collection("tensors")]
public sealed class ShardedRunTests
{
    private static readonly TrainingOptions s_options = new()
    {
        OutputDir = "",
        LearningRate = 0.02,
        PerDeviceTrainBatchSize = 3,
        GradientAccumulationSteps = 2,
        MaxSteps = 5,
        WeightDecay = 0.1,
        LoggingSteps = new(1),
        SaveStrategy = SaveStrategy.No,
    };

    public static TheoryData<int, int, string, AdapterKind?> Cases()
    {
        var cases = new TheoryData<int, int, string, AdapterKind?>();
        foreach (var stage in (int[])[0, 1, 2, 3])
            foreach (var world in (int[])[2, 3, 4])
                foreach (var (network, adapter) in ((string, AdapterKind?)[])[("llama", null), ("gpt2", null), ("mixtral", null),
                    ("llama", AdapterKind.Lora), ("llama", AdapterKind.Qlora)])
                    cases.Add(stage, world, network, adapter);
        return cases;
    }

    [Theory, MemberData(nameof(Cases))]
    public void Number_2_weights_are_those_of_one_process(int stage, int world, string network, AdapterKind? adapter)
    {
        var options = s_options with { ZeroStage = stage };
        using var alone = new TemporaryFolder();
        var expected = LoopRun.Run(alone.Path, options, adapter: adapter, dtype: DType.Float64, network: network);
        using var folder = new TemporaryFolder();
        foreach (var weights in WorkerPair.Run(world, its =>
            LoopRun.Run(folder.Path, options, adapter: adapter, dtype: DType.Float64, network: network, workers: its)))
        {
            Assert.Equal(expected.Length, weights.Length);
            for (var i = 0; i < expected.Length; i++)
                Assert.Equal(expected[i], weights[i], 1e-9);
        }
    }

    [Theory]
    [InlineData(1, 2, 2, false, "adamw_torch")]
    [InlineData(2, 3, 3, false, "adamw_torch")]
    [InlineData(3, 2, 2, true, "adamw_torch")]
    [InlineData(3, 4, 4, false, "lion_32bit")]
    [InlineData(3, 2, 2, false, "schedule_free_adamw")]
    [InlineData(3, 2, 2, true, "paged_adamw_32bit")]
    [InlineData(2, 2, 2, false, "adamw_bnb_8bit")]
    public void A_run_that_went_on_has_the_same_bits(int stage, int before, int after, bool bf16, string optim) =>
        RequireSame(stage, before, after, bf16, optim, exact: true);

    [Theory]
    [InlineData(3, 4, 1)]
    [InlineData(3, 4, 3)]
    [InlineData(3, 1, 2)]
    [InlineData(2, 2, 4)]
    public void A_run_goes_on_in_any_number(int stage, int before, int after) =>
        RequireSame(stage, before, after, bf16: false, "adamw_torch", exact: false);

    public static MatrixTheoryData<int, int> Stages() => new([0, 1, 2, 3], [0, 1, 2, 3]);

    // Adapters saved under each way to share out go on under each other one.
    [Theory, MemberData(nameof(Stages))]
    public void Number_29_an_adapter_goes_on_under_any_stage(int before, int after)
    {
        var options = s_options with { ZeroStage = before, SaveStrategy = SaveStrategy.Steps, SaveSteps = new(2), MaxSteps = 4 };
        using var whole = new TemporaryFolder();
        var expected = WorkerPair.Run(3, its => LoopRun.Run(whole.Path, options, adapter: AdapterKind.Qlora, dtype: DType.Float64, workers: its));
        var checkpoint = CheckpointFolder.Open(Path.Combine(whole.Path, "checkpoint-2"));
        using var folder = new TemporaryFolder();
        foreach (var weights in WorkerPair.Run(2, its => LoopRun.Run(folder.Path, options with { ZeroStage = after }, checkpoint,
            adapter: AdapterKind.Qlora, dtype: DType.Float64, workers: its, seed: 7)))
            for (var i = 0; i < weights.Length; i++)
                Assert.Equal(expected[0][i], weights[i], 1e-9);
    }

    private static void RequireSame(int stage, int before, int after, bool bf16, string optim, bool exact)
    {
        var kind = (OptimizerKind)RecipeNames.Spellings(typeof(OptimizerKind)).First(each => each.Name == optim).Value;
        var options = s_options with { ZeroStage = stage, Bf16 = bf16, Optim = kind, SaveStrategy = SaveStrategy.Steps, SaveSteps = new(2), MaxSteps = 6 };
        if (kind == OptimizerKind.AdamW8Bit)
            options = options with { OptimArgs = "min_8bit_size=256" };
        var type = bf16 || kind == OptimizerKind.AdamW8Bit ? DType.Float32 : DType.Float64;
        using var whole = new TemporaryFolder();
        var expected = WorkerPair.Run(before, its => LoopRun.Run(whole.Path, options, dtype: type, workers: its));
        var checkpoint = CheckpointFolder.Open(Path.Combine(whole.Path, "checkpoint-2"));
        using var folder = new TemporaryFolder();
        var resumed = WorkerPair.Run(after, its => LoopRun.Run(folder.Path, options, checkpoint, dtype: type, workers: its, seed: 7));
        foreach (var weights in resumed)
            for (var i = 0; i < weights.Length; i++)
                if (exact)
                    Assert.Equal(expected[0][i], weights[i]);
                else
                    Assert.Equal(expected[0][i], weights[i], 1e-9);
    }
}
