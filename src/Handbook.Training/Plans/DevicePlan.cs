using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Training.Methods;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Plans;

/// <summary>What a user wishes of where a model is computed.</summary>
/// <param name="UseCpu">On the CPU, whatever there is.</param>
/// <param name="Key">The option or key that wishes so, as it is typed.</param>
/// <param name="LocalRank">Which process of its host computes, from 0.</param>
internal readonly record struct DeviceWish(bool UseCpu, string Key, int LocalRank = 0)
{
    /// <summary>What a recipe wishes.</summary>
    public static DeviceWish Of(TrainingOptions options, int localRank) => new(options.UseCpu, ComputeDevice.OnCpu, localRank);
}

/// <summary>Where a model is trained or asked, and why there.</summary>
/// <param name="Device">The GPU of this process where there is one that can, else the CPU.</param>
/// <param name="Notes">What the user should know of the choice.</param>
internal sealed record DevicePlan(ComputeDevice Device, IReadOnlyList<string> Notes)
{
    /// <summary>What goes to a GPU, in words.</summary>
    public const string Covered = "training by one process, and what it samples or scores meanwhile; generate, chat, evaluate, score, "
        + "serve, rejection-sample, constitution, alpaca-eval, mt-bench";

    /// <summary>What stays on the CPU although there is a GPU, in words.</summary>
    public const string LeftOut = "training by several processes; states of the optimiser outside a GPU's memory; the dashboard, merge, convert, "
        + "quantize";

    /// <summary>What a device is asked for.</summary>
    /// <param name="Run">What is trained; null where a model is only asked.</param>
    /// <param name="Dropout">Share of the adapter's inputs that is dropped.</param>
    private sealed record Work(ParameterPlan Parameters, DecoderConfig Config, MethodOptions? Run = null, double Dropout = 0);

    // What some work never asks of a device.
    private static readonly (string Start, Func<Work, bool> IsAsked)[] s_rare =
    [
        ("Router", work => work.Config.Experts is not null),
        ("Expert", work => work.Config.Experts is not null),
        (nameof(DeviceKernels.AdafactorStep), work => work.Run?.Training.Optimizer() == OptimizerKind.Adafactor),
        (nameof(DeviceKernels.AttentionSinkBackward), work => work.Run is not null
            && work.Parameters.Rules.Any(rule => rule.Spec.Name.EndsWith("sinks", StringComparison.Ordinal))),
        (nameof(DeviceKernels.AttentionDecode), work => work.Run is not { } run || SamplesAnswers(run)),
        (nameof(DeviceKernels.ReadCodes), work => work.Parameters.Rules.Any(rule => rule.Quantisation is not null)),
        (nameof(DeviceKernels.Dropout), work => work.Dropout > 0),
        (nameof(DeviceKernels.RoundToBFloat16), work => work.Parameters.Rules.Any(rule => rule.Rounds)),
    ];

    /// <summary>Chooses for a run that trains. <c>use_cpu: true</c> takes the CPU; else it is the GPU, unless the run asks what none can do
    /// yet.</summary>
    /// <param name="localRank">Which process of its host this is, from 0.</param>
    /// <param name="count">How many processes train together.</param>
    /// <exception cref="InputException">There are GPUs, but fewer than processes.</exception>
    public static DevicePlan Of(TrainingPlan plan, int localRank, int count)
    {
        var options = plan.Run.Training;
        var chosen = Of(new(plan.Parameters, plan.Config.Decoder, plan.Run, plan.Dropout), DeviceWish.Of(options, localRank), Limits(options, count));
        if (!chosen.Device.Device.IsCpu)
            chosen.Device.Prepare(options.Tf32 ?? false, options.Deterministic);
        else if (options.Tf32 == true)
            return chosen with { Notes = [.. chosen.Notes, "tf32 has no effect on the CPU, which multiplies whole float32 numbers"] };
        return chosen;
    }

    /// <summary>Chooses for a model that is asked and not trained: the GPU, unless the CPU is wished, or none can compute it or hold its
    /// weights.</summary>
    /// <exception cref="InputException">There are GPUs, but fewer than processes.</exception>
    public static DevicePlan Of(ParameterPlan parameters, DecoderConfig config, DeviceWish wish)
    {
        var chosen = Of(new(parameters, config), wish, []);
        chosen.Device.Prepare(tf32: false, deterministic: false);
        return chosen;
    }

    /// <summary>Loads a model that is asked and not trained where it is best computed; weights that are quantised come from the cache.</summary>
    /// <param name="source">The model.</param>
    /// <param name="observer">Hears where that is if not on the CPU, why not on a GPU that is there, and of weights that are quantised.</param>
    public static Func<ModelWeights, ParameterPlan, Decoder> Loader(ModelSource source, IWorkObserver observer, DeviceWish wish) =>
        (weights, plan) =>
        {
            var chosen = Of(plan, weights.Config, wish);
            if (!chosen.Device.Device.IsCpu)
                observer.Said(chosen.Said(plan));
            foreach (var note in chosen.Notes)
                observer.Noted(note);
            return QuantisedCache.Load(source.Folder, weights, plan.On(chosen.Device.Device), CacheFolder.Default, observer);
        };

    /// <summary>Bytes for keys and values of many texts: a quarter of the memory that a model lies in, or half of what its weights leave of a
    /// GPU's where that is less.</summary>
    public static long RoomForCaches(Decoder network)
    {
        var card = network.Device.IsCpu ? null : ComputeDevice.Gpu(network.Device.Index, out _)?.Memory;
        return card is { } memory ? Math.Max(1, Math.Min(memory / 4, (memory - network.Parameters.Plan.ResidentBytes) / 2))
            : GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4;
    }

    private static DevicePlan Of(Work work, DeviceWish wish, IEnumerable<string> limits)
    {
        if (wish.UseCpu)
            return OnCpu(null);
        if (ComputeDevice.Gpu(wish.LocalRank, out var why, wish.Key) is not { } gpu)
            return OnCpu(why);
        string[] all = [.. limits, .. Limits(work, gpu)];
        if (all.Length > 0)
            return OnCpu($"{gpu.Name} is not used: {string.Join("; ", all)}");
        return new(gpu, gpu.Proof is { } proof ? [$"GPUs are {proof}; {wish.Key} computes on the CPU"] : []);
    }

    private static DevicePlan OnCpu(string? why) => new(ComputeDevice.Processor, why is null ? [] : [why]);

    /// <summary>What of a run no GPU can do yet, in sentences.</summary>
    private static IEnumerable<string> Limits(TrainingOptions options, int count)
    {
        if (options.IsPaged() || options.OffloadOptimizer != OptimizerOffload.None)
            yield return "states of the optimiser outside a GPU's memory are updated on the CPU alone so far";
        if (count > 1)
            yield return $"{count} processes train together, which they do on the CPU alone so far";
    }

    /// <summary>What of a model this GPU cannot do, in sentences.</summary>
    private static IEnumerable<string> Limits(Work work, ComputeDevice gpu)
    {
        string[] lacks = [.. gpu.Lacks.Where(name => s_rare.All(rare => !name.StartsWith(rare.Start, StringComparison.Ordinal) || rare.IsAsked(work)))];
        if (lacks.Length > 0)
            yield return $"this version has no kernel there for {string.Join(", ", lacks)}";
        // A run that trains and does not fit says what takes how much; whoever asks a model has the CPU, which maps its weights.
        if (work.Run is null && gpu.Memory is { } memory && work.Parameters.On(gpu.Device).ResidentBytes is var bytes && bytes > memory)
            yield return $"the model's weights take {Size.Of(bytes)} there, and it has {Size.Of(memory)}"
                + (work.Parameters.Compute == DType.Float32 ? "; with products in bfloat16 they take less" : "");
    }

    private static bool SamplesAnswers(MethodOptions run) => run.Definition.Writes(run) is not null || run.Training.GenerateDuringEval;

    /// <summary>What a user reads at the start.</summary>
    public string Said(ParameterPlan parameters)
    {
        var products = parameters.Compute.ToString().ToLowerInvariant();
        var masters = parameters.Residual.ToString().ToLowerInvariant();
        return $"computes on {Device}, products in {products}" + (products == masters ? "" : $" and sums in {masters}");
    }
}
