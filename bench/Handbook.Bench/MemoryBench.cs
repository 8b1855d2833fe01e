using System.Runtime.InteropServices;
using Handbook.Base.Keys;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Families;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Optimizers;

namespace Handbook.Bench;

/// <summary>What <see cref="MemoryBench"/> found.</summary>
/// <param name="Weights">Weights that are trained.</param>
/// <param name="StateBytes">Bytes that the optimiser remembers.</param>
/// <param name="PeakBytes">Most memory that was resident, pages of files counted in.</param>
/// <param name="LastLoss">Finite, or the run would have failed.</param>
internal sealed record MemoryResult(long Weights, long StateBytes, long PeakBytes, double LastLoss);

/// <summary>Training steps on short rows, where weights, gradients and states are nearly all of the memory.</summary>
internal static partial class MemoryBench
{
    private const int Rows = 1, Length = 32;
    private const int Data = 2;         // RLIMIT_DATA

    /// <param name="optim">The optimiser as a recipe names it, with its arguments behind a colon where it has any.</param>
    /// <param name="limit">Bytes of memory that this process may have besides files; 0 for no limit.</param>
    public static MemoryResult Measure(Shape shape, bool bf16, string optim, int steps, long limit)
    {
        if (limit > 0)
            Limit(limit);
        using var folder = new Folder();
        var kind = Enum.GetValues<OptimizerKind>().First(kind => RecipeNames.Of(kind) == optim.Split(':')[0]);
        var options = new TrainingOptions { Optim = kind, OptimArgs = optim.Split(':').ElementAtOrDefault(1), OutputDir = folder.Path };
        var plan = ParameterPlan.Trained(Family.For("llama", "bench").Parameters(shape.Config(), fused: true), DType.Float32,
            bf16 ? DType.BFloat16 : DType.Float32);
        using var model = StepBench.Model(shape, OptimizerTraits.Of(kind).IsPaged ? plan.WithMastersIn(folder.Path) : plan);
        ForgetPeak();       // random numbers touch every master at once, which no run does again
        using var optimizer = Optimizer.Create(options, model.Parameters);
        var method = new SupervisedMethod("sft");
        var rows = StepBench.Rows(shape, [Length], steps * Rows);
        var order = new StepPlan(rows, new StepPlanOptions { BatchSize = Rows, Epochs = 1, Sequential = true });
        using var loader = new BatchLoader(rows, order, method, maxTokens: Rows * Length, 0, steps);
        var last = 0.0;
        for (var step = 0; step < steps; step++)
        {
            using var scope = TensorScope.Enter();
            model.Parameters.ClearGradients();
            var pass = new LossPass { Training = true, Metrics = new MetricSums() };
            foreach (var group in loader.Next().Groups)
                method.Run(model, group, pass);
            last = pass.Loss;
            optimizer.Step(1e-4, GradientNorm.ClipFactor(GradientNorm.Of(model.Parameters), 1.0));
        }
        if (!double.IsFinite(last))
            throw new InvalidOperationException("the loss is not finite");
        using var states = TensorScope.Enter();
        return new(model.Parameters.Count, optimizer.State.Sum(state => state.Value.Count * state.Value.DType.Size),
            ProcessMemory.Peak() ?? 0, last);
    }

    internal static void ForgetPeak()
    {
        if (OperatingSystem.IsLinux())
            File.WriteAllText("/proc/self/clear_refs", "5");
    }

    // Of the limits that a process may set for itself this is the one that counts what it allocates, whether it comes from malloc or from
    // the runtime, and not the pages of files, which the system can give away. (ulimit -v counts room in the address space, of which .NET
    // reserves hundreds of gigabytes that it never touches; ulimit -m has no effect on Linux.)
    private static void Limit(long bytes)
    {
        var limits = new Limits { Soft = (nuint)bytes, Hard = (nuint)bytes };
        if (SetLimit(Data, in limits) != 0)
            throw new InvalidOperationException($"the system does not limit this process to {bytes} bytes");
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Limits
    {
        public nuint Soft, Hard;
    }

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    private static partial int SetLimit(int resource, in Limits limits);

    /// <summary>A folder on the disk of the working folder, as a run's own would be; <c>/tmp</c> may be memory.</summary>
    private sealed class Folder : IDisposable
    {
        public string Path { get; } =
            Directory.CreateDirectory(System.IO.Path.Combine("build", $"bench-{Environment.ProcessId}")).FullName;

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
