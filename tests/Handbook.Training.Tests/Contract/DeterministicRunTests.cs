using System.Globalization;
using System.Text.RegularExpressions;
using Handbook.Base.Keys;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Tests.Contract;

/// <summary>With <c>deterministic: true</c> any number of processes gives the same bits.</summary>
[Collection("tensors")]
public sealed class DeterministicRunTests
{
    private static readonly TrainingOptions s_options = new()
    {
        OutputDir = "",
        LearningRate = 0.02,
        PerDeviceTrainBatchSize = 6,
        GradientAccumulationSteps = 2,
        MaxSteps = 5,
        WeightDecay = 0.1,
        MaxGradNorm = 0.5,
        LoggingSteps = new(1),
        SaveStrategy = SaveStrategy.No,
        Deterministic = true,
    };

    [Theory]
    [InlineData("llama", null, 0, false, "adamw_torch")]
    [InlineData("llama", null, 3, true, "adamw_torch")]
    [InlineData("gpt2", null, 1, false, "lion_32bit")]
    [InlineData("mixtral", null, 2, false, "adamw_torch")]
    [InlineData("llama", AdapterKind.Lora, 0, false, "adamw_torch")]
    [InlineData("llama", AdapterKind.Qlora, 3, false, "adamw_torch")]
    [InlineData("llama", null, 2, false, "adamw_bnb_8bit")]
    [InlineData("llama", null, 0, true, "schedule_free_adamw")]
    public void Any_number_of_processes_gives_the_same_bits(string network, AdapterKind? adapter, int stage, bool bf16, string optim)
    {
        var options = s_options with { ZeroStage = stage, Bf16 = bf16, Optim = (OptimizerKind)RecipeNames.Spellings(typeof(OptimizerKind)).First(each => each.Name == optim).Value };
        if (options.Optim == OptimizerKind.AdamW8Bit)
            options = options with { OptimArgs = "min_8bit_size=256" };
        var (expected, curve) = Run(1);
        using var folder = new TemporaryFolder();
        LoopRun.Run(folder.Path, options with { Deterministic = false }, wrap: Balanced, adapter: adapter, network: network);
        foreach (var (ours, its) in Losses(curve).Zip(Losses(Curve(folder.Path))))
            Assert.Equal(its, ours, 2e-3);          // the same to rounding
        foreach (var world in network == "llama" && adapter is null && stage == 0 && !bf16 ? (int[])[2, 3, 4] : [3])
        {
            var (everyones, its) = Run(world);
            Assert.Equal(curve, its);
            Assert.All(everyones, weights => Assert.Equal(expected[0], weights));
        }

        (double[][] Weights, string Curve) Run(int world)
        {
            using var where = new TemporaryFolder();
            var weights = world == 1 ? [LoopRun.Run(where.Path, options, wrap: Balanced, adapter: adapter, network: network)]
                : WorkerPair.Run(world, its => LoopRun.Run(where.Path, options, wrap: Balanced, adapter: adapter, network: network, workers: its));
            return (weights, Curve(where.Path));
        }

        ITrainingMethod Balanced(ITrainingMethod method) => network == "mixtral" ? new BalancedMethod(method, 0.1) : method;

        static IEnumerable<double> Losses(string curve) =>
            Regex.Matches(curve, @"""loss"": ([-0-9.e]+)").Select(match => double.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture));

        // Everything that is logged but times.
        static string Curve(string folder) => Regex.Replace(File.ReadAllText(Path.Combine(folder, "metrics.jsonl")),
            @"""(train_runtime|train_[a-z]+_per_second)"": [^,}]*", "");
    }
}
