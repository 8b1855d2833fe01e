using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Torch;
using Handbook.Torch.Quantised;
using Handbook.Training;
using Handbook.Training.Optimizers;

namespace Handbook.Bench;

/// <summary>Training steps of adapters over a model that lies in a file, as a user's does.</summary>
internal static class AdapterBench
{
    private const int Rank = 16;

    /// <param name="kind"><c>full</c>, <c>lora</c> or <c>qlora</c> (NF4, double).</param>
    /// <param name="stored">Element type of the model's file.</param>
    public static StepResult Measure(Shape shape, bool bf16, int steps, string kind, DType stored)
    {
        var compute = bf16 ? DType.BFloat16 : DType.Float32;
        var folder = Folder(shape, stored);
        using var weights = ModelWeights.Open(folder, PublishedConfig.Load(folder), fused: true);
        var plan = kind == "full" ? ParameterPlan.Trained(weights.Parameters, DType.Float32, compute)
            : ParameterPlan.Frozen(weights, compute, kind == "qlora" ? new(new(QuantisedKind.Nf4, Double: true), compute) : null)
                .With([AdapterLayout.Of("default", new() { Rank = Rank, Alpha = Rank, Targets = ModuleNames.Of(ModuleNames.AllLinearWord) },
                    weights.Family, weights.Config, weights.Parameters, new NewAdapter(17), "bench", trained: true) with
                {
                    IsBFloat16 = kind == "qlora",
                }]);
        using var model = Decoder.Load(weights, plan);
        MemoryBench.ForgetPeak();
        using var optimizer = new AdamW(model.Parameters, 0.9, 0.999, 1e-8, 0.01);
        return StepBench.Measure(shape, model, optimizer, bf16, steps, null);
    }

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
