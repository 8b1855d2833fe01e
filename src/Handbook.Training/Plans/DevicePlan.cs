using Handbook.Base;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Training.Methods;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Plans;

/// <summary>Where a run is computed, and why there.</summary>
/// <param name="Device">The GPU of this process where there is one that can, else the CPU.</param>
/// <param name="Notes">What the user should know of the choice.</param>
internal sealed record DevicePlan(ComputeDevice Device, IReadOnlyList<string> Notes)
{
    // What some runs never ask of a device.
    private static readonly (string Start, Func<TrainingPlan, bool> IsAsked)[] s_rare =
    [
        ("Router", plan => plan.Config.Decoder.Experts is not null),
        ("Expert", plan => plan.Config.Decoder.Experts is not null),
        (nameof(DeviceKernels.AdafactorStep), plan => plan.Run.Training.Optimizer() == OptimizerKind.Adafactor),
        (nameof(DeviceKernels.AttentionSinkBackward), plan => plan.Parameters.Rules.Any(rule => rule.Spec.Name.EndsWith("sinks", StringComparison.Ordinal))),
        (nameof(DeviceKernels.AttentionDecode), plan => SamplesAnswers(plan.Run)),
        (nameof(DeviceKernels.ReadCodes), plan => plan.Parameters.Rules.Any(rule => rule.Quantisation is not null)),
        (nameof(DeviceKernels.Dropout), plan => plan.Dropout > 0),
        (nameof(DeviceKernels.RoundToBFloat16), plan => plan.Parameters.Rules.Any(rule => rule.Rounds)),
    ];

    /// <summary>Chooses. <c>use_cpu: true</c> takes the CPU; else it is the GPU, unless the run asks what none can do yet.</summary>
    /// <param name="localRank">Which process of its host this is, from 0.</param>
    /// <param name="count">How many processes train together.</param>
    /// <exception cref="InputException">There are GPUs, but fewer than processes.</exception>
    public static DevicePlan Of(TrainingPlan plan, int localRank, int count)
    {
        var options = plan.Run.Training;
        if (options.UseCpu)
            return OnCpu(options, null);
        if (ComputeDevice.Gpu(localRank, out var why) is not { } gpu)
            return OnCpu(options, why);
        string[] limits = [.. Limits(plan, gpu, count)];
        if (limits.Length > 0)
            return OnCpu(options, $"{gpu.Name} is not used: {string.Join("; ", limits)}");
        gpu.Prepare(options.Tf32 ?? false, options.Deterministic);
        return new(gpu, gpu.Proof is { } proof ? [$"GPUs are {proof}; --use_cpu=true computes on the CPU"] : []);
    }

    private static DevicePlan OnCpu(TrainingOptions options, string? why)
    {
        List<string> notes = why is null ? [] : [why];
        if (options.Tf32 == true)
            notes.Add("tf32 has no effect on the CPU, which multiplies whole float32 numbers");
        return new(ComputeDevice.Processor, notes);
    }

    /// <summary>What of this run no GPU can do yet, in sentences.</summary>
    private static IEnumerable<string> Limits(TrainingPlan plan, ComputeDevice gpu, int count)
    {
        var (run, options) = (plan.Run, plan.Run.Training);
        if (SamplesAnswers(run))
            yield return "answers are sampled on the CPU alone so far";
        if (plan.Parameters.Rules.Any(rule => rule.Quantisation is { RoundsInputs: true }))
            yield return "int8 weights whose inputs are rounded as well are multiplied on the CPU alone so far";
        if (options.IsPaged() || options.OffloadOptimizer != OptimizerOffload.None)
            yield return "states of the optimiser outside a GPU's memory are updated on the CPU alone so far";
        if (count > 1)
            yield return $"{count} processes train together, which they do on the CPU alone so far";
        string[] lacks = [.. gpu.Lacks.Where(name => s_rare.All(rare => !name.StartsWith(rare.Start, StringComparison.Ordinal) || rare.IsAsked(plan)))];
        if (lacks.Length > 0)
            yield return $"this version has no kernel there for {string.Join(", ", lacks)}";
    }

    private static bool SamplesAnswers(MethodOptions run) => run.Definition.Writes(run) is not null || run.Training.GenerateDuringEval;

    /// <summary>What a user reads at the start of the run.</summary>
    public string Said(ParameterPlan parameters)
    {
        var products = parameters.Compute.ToString().ToLowerInvariant();
        var masters = parameters.Residual.ToString().ToLowerInvariant();
        return $"computes on {Device}, products in {products}" + (products == masters ? "" : $" and sums in {masters}");
    }
}
