using System.Diagnostics;
using System.Text.Json;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Families;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Optimizers;
using Handbook.Training.Scale;

namespace Handbook.Bench;

/// <summary>A model shape of the benchmark.</summary>
internal sealed record Shape(string Name, int Hidden, int Layers, int Heads, int KeyHeads, int Inner, int Vocabulary, int Rows, int Length,
    bool Tied)
{
    public static Shape Llama15M { get; } = new("15m", 288, 6, 6, 6, 768, 32000, 8, 256, true);

    public static Shape SmolLm135M { get; } = new("135m", 576, 30, 9, 3, 1536, 49152, 2, 256, true);

    public static Shape SmolLm360M { get; } = new("360m", 960, 32, 15, 5, 2560, 49152, 2, 256, true);

    public static Shape Llama8B { get; } = new("8b", 4096, 32, 32, 8, 14336, 128256, 4, 2048, false);

    /// <summary>For a rehearsal: all of it, and nothing of any size.</summary>
    public static Shape Tiny { get; } = new("tiny", 64, 2, 4, 2, 128, 256, 2, 24, false);

    public static Shape Of(string name) => name switch { "135m" => SmolLm135M, "360m" => SmolLm360M, "1.1b" => Llama1B, _ => Llama15M };

    public static Shape Llama1B { get; } = new("1.1b", 2048, 22, 32, 4, 5632, 32000, 2, 256, false);

    public DecoderConfig Config() => Published().Decoder;

    public PublishedConfig Published() => PublishedConfig.Parse(System.Text.Encoding.UTF8.GetBytes($$"""
        {"model_type": "llama", "hidden_size": {{Hidden}}, "intermediate_size": {{Inner}}, "num_hidden_layers": {{Layers}}, "num_attention_heads": {{Heads}},
         "num_key_value_heads": {{KeyHeads}}, "vocab_size": {{Vocabulary}}, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "tie_word_embeddings": {{(Tied ? "true" : "false")}},
         "rope_theta": 10000.0, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2}
        """), "bench");

    /// <summary>Floating point operations of the matrix products of one token, forward and backward.</summary>
    public double ProductFlops()
    {
        double headSize = Hidden / Heads;
        var layer = Hidden * (Heads + 2 * KeyHeads) * headSize + Heads * headSize * Hidden + 3.0 * Hidden * Inner;
        return 6 * (Layers * layer + (double)Hidden * Vocabulary);
    }
}

/// <summary>What <see cref="StepBench"/> found.</summary>
/// <param name="TokensPerSecond">Useful tokens: nothing is padded.</param>
/// <param name="TokensPerCpuSecond">The same for a second of all cores together, which tells more where others use the machine.</param>
/// <param name="PeakBytes">Most memory that was resident.</param>
/// <param name="MatMulGflops">The machine's rate of square products in the same process.</param>
/// <param name="MatMulShare">Share of that rate that the step's matrix products alone make up.</param>
/// <param name="WaitShare">Share of the time in which the step waited for rows.</param>
internal sealed record StepResult(double TokensPerSecond, double TokensPerCpuSecond, long PeakBytes, double MatMulGflops,
    double MatMulShare, double WaitShare, double LastLoss, string Engine);

/// <summary>Whole training steps of our engine: forward, backward, norm and clipping, AdamW.</summary>
internal static class StepBench
{
    // The first compiles; by the third what runs often is optimised, as in all of a run but its first seconds.
    internal const int WarmUp = 3;

    /// <summary>A few steps to warm up, then the measured ones; every step another batch.</summary>
    /// <param name="lengthsFile">JSON list of row lengths: rows are taken in its order, as many per step as the shape says; null: full
    /// rows.</param>
    public static StepResult Measure(Shape shape, bool bf16, int steps, string? lengthsFile)
    {
        var lengths = lengthsFile is null ? null : JsonSerializer.Deserialize<int[]>(File.ReadAllText(lengthsFile))!.Where(n => n > 1)
            .Select(n => Math.Min(n, 1024)).ToArray();
        using var model = Model(shape, bf16, trainable: true);
        using var optimizer = new AdamW(model.Parameters, 0.9, 0.999, 1e-8, 0.01);
        return Measure(shape, model, optimizer, bf16, steps, lengths);
    }

    /// <summary>The same with a model and its optimiser.</summary>
    /// <param name="lengths">Lengths of rows; null: full rows.</param>
    public static StepResult Measure(Shape shape, Decoder model, Optimizer optimizer, bool bf16, int steps, int[]? lengths)
    {
        var method = new SupervisedMethod("sft");
        var rows = Rows(shape, lengths, (steps + WarmUp) * shape.Rows);
        // The loader of a real run, on its thread: rows are laid out while the step before computes.
        var plan = new StepPlan(rows, new StepPlanOptions { BatchSize = shape.Rows, Epochs = 1, Sequential = true });
        using var loader = new BatchLoader(rows, plan, method, maxTokens: 4096, 0, steps + WarmUp);
        var (seconds, tokens, last, cpu) = (new List<double>(), new List<long>(), 0.0, TimeSpan.Zero);
        for (var step = 0; step < steps + WarmUp; step++)
        {
            var work = loader.Next();
            var start = Stopwatch.GetTimestamp();
            using (TensorScope.Enter())
            {
                model.Parameters.ClearGradients();
                var pass = new LossPass { Training = true, Metrics = new MetricSums() };
                foreach (var group in work.Groups)
                    method.Run(model, group, pass);
                last = pass.Loss;
                optimizer.Step(1e-4, GradientNorm.ClipFactor(GradientNorm.Of(model.Parameters), 1.0));
            }
            if (step < WarmUp)
            {
                cpu = Environment.CpuUsage.TotalTime;
                continue;
            }
            seconds.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
            tokens.Add(work.Tokens);
        }
        if (!double.IsFinite(last))
            throw new InvalidOperationException("the loss is not finite");
        cpu = Environment.CpuUsage.TotalTime - cpu;
        var peak = ProcessMemory.Peak() ?? 0;
        var rate = MachineRate.Measure(bf16 ? DType.BFloat16 : DType.Float32, size: 2048, seconds: 2) / 1e9;       // the ceiling of a step
        var speed = tokens.Sum() / seconds.Sum();
        return new(speed, tokens.Sum() / cpu.TotalSeconds, peak, rate, speed * shape.ProductFlops() / 1e9 / rate,
            loader.Waited.TotalSeconds / seconds.Sum(), last, TorchRuntime.Description);
    }

    /// <summary>A model of the shape with random weights.</summary>
    internal static Decoder Model(Shape shape, bool bf16, bool trainable)
    {
        var compute = bf16 ? DType.BFloat16 : DType.Float32;
        var specs = Family.For("llama", "bench").Parameters(shape.Config(), fused: true);
        return Model(shape, trainable ? ParameterPlan.Trained(specs, DType.Float32, compute)
            : ParameterPlan.Resident(specs, DType.Float32, compute));
    }

    /// <summary>The same with the parameters kept as a plan says.</summary>
    internal static Decoder Model(Shape shape, ParameterPlan plan) => Model(shape.Config(), plan);

    /// <inheritdoc cref="Model(Shape, ParameterPlan)"/>
    internal static Decoder Model(DecoderConfig config, ParameterPlan plan)
    {
        var random = new Random(17);
        var model = new Decoder(config, ModelParameters.Allocate(plan));
        foreach (var spec in model.Parameters.Specs)
        {
            if (spec.Kind == ParameterKind.NormWeight)
                Fill(model.Parameters[spec.Name], 1);
            else if (spec.InitStd > 0)
                Randomise(model.Parameters[spec.Name], spec.InitStd, random);
        }
        model.Parameters.TakeOwn(adapters: false);
        model.Parameters.ReleasePages();
        return model;
    }

    internal static TokenRowList Rows(Shape shape, int[]? lengths, int count)
    {
        var random = new Random(17);
        return new TokenRowList([.. Enumerable.Range(0, count).Select(i =>
        {
            var length = lengths?[i % lengths.Length] ?? shape.Length;
            return TokenRow.Single([.. Enumerable.Range(0, length).Select(_ => random.Next(3, shape.Vocabulary))],
                [.. Enumerable.Repeat((byte)1, length)]);
        })]);
    }

    private static void Fill(Parameter parameter, double value)
    {
        using var mode = GradMode.Disabled();
        parameter.Value.FillInPlace(value);
    }

    // Uniform, with the deviation of the published way of starting: the numbers decide nothing about the time.
    private static void Randomise(Parameter parameter, double deviation, Random random)
    {
        foreach (ref var value in parameter.Value.AsSpan<float>())
            value = (float)((random.NextDouble() - 0.5) * Math.Sqrt(12) * deviation);
    }
}
