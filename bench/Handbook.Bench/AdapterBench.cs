using Handbook.Base.Progress;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Torch;
using Handbook.Torch.Quantised;
using Handbook.Training;
using Handbook.Training.Optimizers;
using Handbook.Training.Plans;

namespace Handbook.Bench;

/// <summary>What <see cref="AdapterBench"/> found.</summary>
/// <param name="Step">Its steps.</param>
/// <param name="Weights">Weights of the model.</param>
/// <param name="Coded">How many of them are kept as codes.</param>
/// <param name="Trained">Numbers that are trained.</param>
/// <param name="KeptBytes">What model, adapter and optimiser keep resident between steps, pages of files counted in.</param>
internal sealed record AdapterResult(StepResult Step, long Weights, long Coded, long Trained, long KeptBytes);

/// <summary>Training steps of adapters over a model that lies in a file, as a user's does.</summary>
internal static class AdapterBench
{
    /// <summary>Rank of the adapters, on every linear layer but the head.</summary>
    public const int Rank = 16;

    /// <param name="kind"><c>full</c>, <c>lora</c> or <c>qlora</c> (NF4, double).</param>
    /// <param name="stored">Element type of the model's file.</param>
    /// <param name="rank">Rank of the adapters.</param>
    /// <param name="isShort">One row of 32 tokens a step, whose activations are next to nothing.</param>
    public static AdapterResult Measure(Shape shape, bool bf16, int steps, string kind, DType stored, int rank = Rank, bool isShort = false)
    {
        var compute = bf16 ? DType.BFloat16 : DType.Float32;
        var folder = Folder(shape, stored);
        TorchRuntime.Load();
        using (TensorScope.Enter())
            Tensor.Zeros(DType.Float32, 512, 512).Mm(Tensor.Zeros(DType.Float32, 512, 512));    // what the libraries take for themselves
        var before = ProcessMemory.Resident() ?? 0;
        using var weights = ModelWeights.Open(folder, PublishedConfig.Load(folder), fused: true);
        var plan = kind == "full" ? ParameterPlan.Trained(weights.Parameters, DType.Float32, compute)
            : ParameterPlan.Frozen(weights, compute, kind == "qlora" ? new(new(QuantisedKind.Nf4, Double: true), compute) : null)
                .With([AdapterLayout.Of("default", new() { Rank = rank, Alpha = rank, Targets = ModuleNames.Of(ModuleNames.AllLinearWord) },
                    weights.Family, weights.Config, weights.Parameters, new NewAdapter(17), "bench", trained: true) with
                {
                    IsBFloat16 = kind == "qlora",
                }]);
        using var model = QuantisedCache.Load(folder, weights, plan, new CacheFolder(Path.GetFullPath("build/bench-cache")), new Silent());
        using var optimizer = new AdamW(model.Parameters, 0.9, 0.999, 1e-8, 0.01);
        MemoryBench.ForgetPeak();
        var step = StepBench.Measure(isShort ? shape with { Rows = 1, Length = 32 } : shape, model, optimizer, bf16, steps, null);
        GC.Collect();
        TorchRuntime.TrimMemory();      // what activations have left behind
        return new(step, plan.Rules.Where(rule => rule.Adapter is null).Sum(rule => rule.Spec.Count),
            plan.Rules.Where(rule => rule.Quantisation is not null).Sum(rule => rule.Spec.Count), plan.TrainedCount,
            (ProcessMemory.Resident() ?? 0) - before);
    }

    private sealed class Silent : IWorkObserver;

    /// <summary>A folder with a model of the shape; made once, and kept beside what is built.</summary>
    private static string Folder(Shape shape, DType stored)
    {
        var folder = Path.GetFullPath(Path.Combine("build", "bench-models", $"{shape.Name}-{stored}"));
        if (File.Exists(Path.Combine(folder, "config.json")))
            return folder;
        Directory.CreateDirectory(folder);
        var config = shape.Published();
        WeightFilesWriter.Save(folder, NewModel.Tensors(config, 17, stored));
        config.Save(folder);
        return folder;
    }
}
