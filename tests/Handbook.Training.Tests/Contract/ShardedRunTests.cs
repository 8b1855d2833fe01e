using Handbook.Models.Sharding;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Checkpoints;

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
    public void Weights_are_those_of_one_process(int stage, int world, string network, AdapterKind? adapter)
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
}
