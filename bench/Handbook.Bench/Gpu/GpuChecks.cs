using Handbook.Base.Keys;
using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Optimizers;
using Handbook.Training.Plans;

namespace Handbook.Bench.Gpu;

/// <summary>What is computed on a GPU beside the same on the CPU.</summary>
internal static class GpuChecks
{
    /// <summary>Share of the length of all gradients that may be off: of float32 by sums in another order, of bfloat16 by its eight bits, once
    /// for each of the products behind one another.</summary>
    private const double FloatTolerance = 1e-4, BFloatTolerance = 0.05;

    /// <summary>Kinds of layers that together take every way that there is.</summary>
    internal static IReadOnlyList<string> Rehearsed { get; } = ["llama", "norms-of-sums", "caps-and-windows", "stacked-experts-and-sinks", "latent"];

    /// <summary>What is here: for the record.</summary>
    public static void Device(StageRun run)
    {
        foreach (var (topic, text) in Installation.Describe())
            run.Figure(topic, null, "", text);
        using var scope = TensorScope.Enter();
        var x = Tensor.From([1f, 2, 3, 4], 2, 2).To(run.Device.Device);
        run.Check("a product of two by two", x.Mm(x).ToArray<float>().SequenceEqual([7f, 10, 15, 22]));
    }

    /// <summary>Losses and gradients of every kind of layer, of rows by themselves and of prompts with two answers.</summary>
    public static void Families(StageRun run)
    {
        foreach (var kind in run.IsRehearsal ? Rehearsed : FamilyBench.Kinds)
        {
            if (!run.HasTimeFor(5))
            {
                run.Check(kind, false, note: "no time was left");
                continue;
            }
            Guarded(run, kind, () => Family(run, kind));
        }
    }

    private static void Family(StageRun run, string kind)
    {
        var published = FamilyBench.Config(kind, layers: 2);
        var specs = published.Family.Parameters(published.Decoder, fused: true);
        using var reference = StepBench.Model(published.Decoder, ParameterPlan.Trained(specs, DType.Float32, DType.Float32));
        var vocabulary = published.Decoder.VocabularySize;
        var length = run.IsRehearsal ? 16 : 150;
        var random = new Random(17);
        var single = new TokenRowList([.. Enumerable.Range(0, 3).Select(i => TokenRow.Single(
            [.. Enumerable.Range(0, length - 5 * i).Select(_ => random.Next(3, vocabulary))],
            [.. Enumerable.Repeat((byte)1, length - 5 * i)]))]);
        (string Name, ITokenRows Rows, ITrainingMethod Method)[] batches =
        [
            ("rows", single, new SupervisedMethod("sft")),
            ("pairs", GpuModels.Pairs(2, vocabulary, length / 2, length / 4),
                new PreferenceMethod("cpo", PreferenceObjective.Create(new MethodOptions { Method = TrainingMethod.Cpo }))),
        ];
        foreach (var (name, rows, method) in batches)
        {
            var wanted = GpuModels.Pass(reference, rows, method, 4096);
            foreach (var type in (ReadOnlySpan<DType>)[DType.Float32, DType.BFloat16])
            {
                using var model = GpuModels.Like(reference, ParameterPlan.Trained(specs, DType.Float32, type).On(run.Device.Device));
                var found = GpuModels.Pass(model, rows, method, 4096);
                var (tolerance, isExact) = (type == DType.Float32 ? FloatTolerance : BFloatTolerance, type == DType.Float32);
                var loss = Math.Abs(found.Loss - wanted.Loss) / Math.Abs(wanted.Loss);
                // what bfloat16 rounds may send a token to another expert, whose gradient is another one
                var comparesLoss = published.Decoder.Experts is not null && !isExact;
                var off = comparesLoss ? loss : Math.Max(GpuModels.Apart(found.Gradients, wanted.Gradients), loss);
                run.Check($"{kind} {name} {(isExact ? "f32" : "bf16")}", off <= tolerance, off, comparesLoss ? "of the loss" : "of the gradient",
                    $"loss {found.Loss:0.00000} beside {wanted.Loss:0.00000}");
            }
        }
    }

    /// <summary>What optimisers make of the same gradients.</summary>
    public static void Optimisers(StageRun run)
    {
        var published = FamilyBench.Config("llama", layers: 1);
        var specs = published.Family.Parameters(published.Decoder, fused: true);
        var plan = ParameterPlan.Trained(specs, DType.Float32, DType.BFloat16);
        foreach (var kind in (ReadOnlySpan<OptimizerKind>)[OptimizerKind.AdamW, OptimizerKind.AdamW8Bit, OptimizerKind.Lion,
            OptimizerKind.Lion8Bit, OptimizerKind.RmsProp, OptimizerKind.Sgd, OptimizerKind.Adagrad, OptimizerKind.Adafactor,
            OptimizerKind.ScheduleFreeAdamW, OptimizerKind.Muon])
        {
            var name = RecipeNames.Of(kind);
            Guarded(run, name, () =>
            {
                using var reference = StepBench.Model(published.Decoder, plan);
                using var model = GpuModels.Like(reference, plan.On(run.Device.Device));
                var (wanted, found) = (Stepped(reference, kind), Stepped(model, kind));
                var off = GpuModels.Apart(found, wanted);
                // rules are elementwise; Muon's products are not
                run.Check(name, off <= (kind == OptimizerKind.Muon ? 1e-3 : 1e-6), off, "of the update");
            });
        }
    }

    /// <summary>What three steps on made gradients change.</summary>
    private static float[][] Stepped(Decoder model, OptimizerKind kind)
    {
        using var optimizer = Optimizer.Create(new TrainingOptions { Optim = kind, WeightDecay = 0.01 }, model.Parameters);
        var before = model.Parameters.Trained.Select(bucket => bucket.Values.ToArray<float>()).ToArray();
        var random = new Random(3);
        for (var step = 0; step < 3; step++)
        {
            using var scope = TensorScope.Enter();
            model.Parameters.ClearGradients();
            foreach (var bucket in model.Parameters.Trained)
            {
                var numbers = new float[bucket.Gradients!.Count];
                foreach (ref var number in numbers.AsSpan())
                    number = (float)(random.NextDouble() - 0.5);
                bucket.Gradients.CopyFrom(Tensor.From(numbers));
                foreach (var (parameter, _) in bucket.Parameters)
                    parameter.HasGradient = true;
            }
            optimizer.Step(1e-3, 0.5);
        }
        return [.. model.Parameters.Trained.Select((bucket, i) =>
            bucket.Values.ToArray<float>().Zip(before[i], (after, old) => after - old).ToArray())];
    }

    /// <summary>A tensor without room: the device refuses it, in words that are understood, and computes on.</summary>
    public static void Memory(StageRun run)
    {
        using var scope = TensorScope.Enter();
        var bytes = run.IsRehearsal ? 64L << 20 : 4L * (run.Device.Memory ?? 1L << 40);
        if (run.IsRehearsal)
            StandInDevice.Limit(1 << 20);
        try
        {
            Tensor.Empty(DType.UInt8, run.Device.Device, bytes);
            run.Check("a tensor without room is refused", false);
        }
        catch (TorchException refusal)
        {
            var found = OutOfMemory.In(refusal);
            run.Check("a tensor without room is refused", found is { OnGpu: true }, note: found?.Said ?? refusal.Message);
        }
        if (run.IsRehearsal)
            StandInDevice.Limit(0);
        run.Check("and the device goes on", Tensor.Full(2, DType.Float32, 3).To(run.Device.Device).Sum().ToScalar() == 6);
    }

    /// <summary>What fails for one thing does not keep the next from being looked at.</summary>
    internal static void Guarded(StageRun run, string name, Action body)
    {
        try
        {
            body();
        }
        catch (Exception failure) when (failure is TorchException or NotSupportedException or InvalidOperationException or ArgumentException)
        {
            run.Check(name, false, note: failure.Message.ReplaceLineEndings(" "));
        }
    }
}
