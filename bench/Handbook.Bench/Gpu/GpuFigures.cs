using System.Diagnostics;
using System.Text.Json;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Generation;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Torch.Quantised;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Optimizers;
using Handbook.Training.Plans;
using Handbook.Training.Scale;

namespace Handbook.Bench.Gpu;

/// <summary>Figures of a model of 8 billion weights: tokens a second, the share of the card's rate, memory beside the plan.</summary>
internal static class GpuFigures
{
    private const int Rank = 16, MaxTokens = 8192;

    /// <summary>Steps of a method over all weights (bfloat16 products over float32 masters, states in eight bits), an adapter, or an adapter over
    /// NF4.</summary>
    public static void Train(StageRun run, string method, string kind)
    {
        var shape = run.IsRehearsal ? Shape.Tiny : Shape.Llama8B;
        if (kind == "qlora")
        {
            run.Figure($"{method}-{kind}", null, "", "left out: the weights here are random numbers, and codes are made from those of files");
            return;
        }
        var rate = ProductRate(run);
        var published = shape.Published().With(("torch_dtype", "bfloat16"));
        var options = Options(method, kind, shape);
        var plan = Plan(published, options, kind).On(run.Device.Device);
        using var model = new Decoder(published.Decoder, ModelParameters.Allocate(plan));
        GpuModels.Fill(model, 17);
        using var optimizer = Optimizer.Create(options.Training, model.Parameters);
        var rows = method == "dpo" ? (ITokenRows)GpuModels.Pairs(64, shape.Vocabulary, shape.Length / 2, shape.Length / 4)
            : StepBench.Rows(shape, null, 64);
        var trained = plan.Adapters.Count > 0 ? Over(model) : model;
        var step = Steps(method, trained, optimizer, rows, shape);
        step(0);        // allocations, and what is compiled at first use
        step(1);
        Synchronize(run);
        ResetPeak(run);
        var (clock, tokens, steps) = (Stopwatch.StartNew(), 0L, 0);
        while (steps < (run.IsRehearsal ? 2 : 12) && run.HasTimeFor(3 + 2 * clock.Elapsed.TotalSeconds / Math.Max(1, steps)))
            tokens += step(2 + steps++);
        Synchronize(run);
        var speed = tokens / clock.Elapsed.TotalSeconds;
        // products of a token, forward and back; a frozen weight has no gradient of its own
        var flops = shape.ProductFlops() * (kind == "full" ? 1 : 2.0 / 3);
        var name = $"{method}-{kind}";
        run.Figure($"{name} speed", speed, "tokens/s", $"{steps} steps of {tokens / Math.Max(1, steps):N0} tokens");
        run.Figure($"{name} share of a product's rate", speed * flops / rate, "",
            FormattableString.Invariant($"of {rate / 1e12:0} Tflop/s that a bfloat16 product reaches here"));
        if (KnownDevice.All.FirstOrDefault(device => run.Device.Name.Contains(device.Name.Split('-')[0],
            StringComparison.OrdinalIgnoreCase)) is { } known)
            run.Figure($"{name} share of the peak", speed * flops / (known.Tflops * 1e12), "",
                $"of the {known.Tflops} Tflop/s that its maker states");
        var asked = new ScaleOptions { Worlds = [1], Network = new(double.PositiveInfinity, 0), RowTokens = shape.Length };
        var planned = ScalePlan.Of(options, ModelSource.Of("bench", published), asked).Rows[0].Memory.Total;
        run.Figure($"{name} memory planned", planned / 1e9, "GB");
        if (!run.IsRehearsal)
        {
            var used = TorchCuda.Memory(run.Device.Device).PeakUsed;
            run.Figure($"{name} memory used", used / 1e9, "GB", FormattableString.Invariant($"{(double)used / planned:0.00} of the plan"));
        }

        static Decoder Over(Decoder below) => below.With([.. below.Parameters.Plan.Adapters.Select(adapter => adapter.Name)]);
    }

    /// <summary>Answers of 1, 16 and 256 rows at a time.</summary>
    public static void Decode(StageRun run)
    {
        var shape = run.IsRehearsal ? Shape.Tiny : Shape.Llama8B;
        var published = shape.Published().With(("torch_dtype", "bfloat16"));
        var (prompt, answer) = run.IsRehearsal ? (4, 4) : (128, 128);
        var plan = ParameterPlan.Frozen(new DescribedWeights(published), DType.BFloat16).On(run.Device.Device);
        using var model = new Decoder(published.Decoder, ModelParameters.Allocate(plan));
        GpuModels.Fill(model, 17);
        var random = new Random(17);
        foreach (var rows in (ReadOnlySpan<int>)[1, 16, 256])
        {
            try
            {
                int[][] prompts = [.. Enumerable.Range(0, rows).Select(_ =>
                    Enumerable.Range(0, prompt).Select(_ => random.Next(3, shape.Vocabulary)).ToArray())];
                var options = new SamplingOptions { MaxNewTokens = answer, BatchSize = rows };
                new Generator(model).Generate([prompts[0]], options);
                var clock = Stopwatch.StartNew();
                var written = new Generator(model).Generate(prompts, options).Sum(each => (long)each.Tokens.Length);
                run.Figure($"decode-{rows}", written / clock.Elapsed.TotalSeconds, "tokens/s", $"prompts of {prompt} tokens");
            }
            catch (Exception failure) when (failure is TorchException or InvalidOperationException or NotSupportedException)
            {
                run.Figure($"decode-{rows}", null, "", $"not there yet: {failure.Message.ReplaceLineEndings(" ")}");
            }
        }
    }

    /// <summary>The same steps in plain PyTorch, eager and compiled, where a Python with it is here.</summary>
    public static void PyTorch(StageRun run)
    {
        var script = Path.Combine(Repository.Root, "bench", "peers", "gpu_step.py");
        string[] words = [script, .. run.IsRehearsal ? (string[])["--rehearsal"] : []];
        Process child;
        try
        {
            child = Process.Start(new ProcessStartInfo(Python(), words) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            run.Figure("pytorch", null, "", "no python3 is here");
            return;
        }
        using (child)
        {
            var errors = child.StandardError.ReadToEndAsync();
            while (child.StandardOutput.ReadLine() is { } line)
                if (line.StartsWith('{'))
                {
                    using var found = JsonDocument.Parse(line);
                    var row = found.RootElement;
                    run.Figure(row.GetProperty("name").GetString()!,
                        row.GetProperty("tokens_per_second") is { ValueKind: JsonValueKind.Number } speed ? speed.GetDouble() : null, "tokens/s",
                        row.GetProperty("note").GetString()!);
                }
            child.WaitForExit();
            if (child.ExitCode != 0)
                run.Figure("pytorch", null, "", errors.Result.Trim().Split('\n')[^1]);
        }
    }

    /// <summary>The Python that has torch, where one of the usual ones has.</summary>
    private static string Python()
    {
        foreach (var name in (string[])["python3", "/usr/bin/python3"])
        {
            using var asked = Process.Start(new ProcessStartInfo(name, ["-c", "import torch"]) { RedirectStandardError = true })!;
            asked.StandardError.ReadToEnd();
            asked.WaitForExit();
            if (asked.ExitCode == 0)
                return name;
        }
        return "python3";
    }

    private static MethodOptions Options(string method, string kind, Shape shape) => new()
    {
        Method = method == "dpo" ? TrainingMethod.Dpo : TrainingMethod.Sft,
        Model = new() { TorchDtype = WeightType.BFloat16 },
        Adapter = new() { UsePeft = kind != "full", LoraR = Rank, LoraAlpha = Rank, LoraTargetModules = [ModuleNames.AllLinearWord] },
        Data = new() { MaxLength = shape.Length, MaxTokens = MaxTokens },
        Training = new()
        {
            Bf16 = true,
            Optim = kind == "full" ? OptimizerKind.AdamW8Bit : OptimizerKind.AdamW,
            PerDeviceTrainBatchSize = shape.Rows,
            GradientCheckpointing = true,
        },
    };

    private static ParameterPlan Plan(PublishedConfig published, MethodOptions options, string kind)
    {
        var specs = published.Family.Parameters(published.Decoder, fused: true);
        return kind == "full" ? ParameterPlan.Trained(specs, DType.Float32, DType.BFloat16)
            : ParameterPlan.Frozen(new DescribedWeights(published), DType.BFloat16).With([AdapterLayout.Of("default",
                new() { Rank = options.Adapter.LoraR, Alpha = Rank, Targets = ModuleNames.Of(ModuleNames.AllLinearWord) },
                published.Family, published.Decoder, specs, new NewAdapter(17), "bench", trained: true)]);
    }

    /// <summary>A function that computes a step and says how many tokens it had.</summary>
    private static Func<int, long> Steps(string name, Decoder model, Optimizer optimizer, ITokenRows rows, Shape shape)
    {
        var objective = name == "dpo" ? PreferenceObjective.Create(new MethodOptions { Method = TrainingMethod.Dpo }) : null;
        ITrainingMethod method = objective is null ? new SupervisedMethod(name) : new PreferenceMethod(name, objective);
        return step =>
        {
            using var scope = TensorScope.Enter();
            int[] numbers = [.. Enumerable.Range(0, shape.Rows).Select(i => (step * shape.Rows + i) % rows.Count)];
            var known = rows;
            if (objective is not null)
            {
                var scores = new ReferenceScore?[rows.Count];
                using (GradMode.Disabled())
                    foreach (var bin in BatchLoader.Bins(rows, numbers, MaxTokens))
                        foreach (var (row, score) in LiveReference.Score(model.With(), bin, objective, rows.Read))
                            scores[row] = score;
                known = new ReferencedRows(rows, scores);
            }
            model.Parameters.ClearGradients();
            var pass = new LossPass { Training = true, Metrics = new MetricSums(), Options = _ => new() { Recompute = true } };
            var group = BatchLoader.Group(known, numbers, method, MaxTokens);
            method.Run(model, group, pass);
            if (!double.IsFinite(pass.Loss))
                throw new InvalidOperationException("the loss is not finite");
            optimizer.Step(1e-5, GradientNorm.ClipFactor(GradientNorm.Of(model.Parameters), 1.0));
            return group.Bins.Sum(bin => (long)bin.Stream.Count);
        };
    }

    private static void Synchronize(StageRun run) => TorchCuda.Synchronize(run.Device.Device);

    private static void ResetPeak(StageRun run)
    {
        if (!run.IsRehearsal)
            TorchCuda.ResetPeak(run.Device.Device);
    }

    /// <summary>Operations a second of a large bfloat16 product.</summary>
    private static double ProductRate(StageRun run)
    {
        using var scope = TensorScope.Enter();
        var (size, rounds) = run.IsRehearsal ? (32, 2) : (8192, 20);
        var random = new Random(5);
        var numbers = new float[size * size];
        foreach (ref var number in numbers.AsSpan())
            number = (float)random.NextDouble() - 0.5f;
        var x = Tensor.From(numbers, size, size).To(DType.BFloat16).To(run.Device.Device);
        x.Mm(x);
        Synchronize(run);
        var clock = Stopwatch.StartNew();
        for (var i = 0; i < rounds; i++)
            x.Mm(x).Dispose();
        Synchronize(run);
        return rounds * 2.0 * size * size * size / clock.Elapsed.TotalSeconds;
    }
}
