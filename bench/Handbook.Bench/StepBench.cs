using System.Diagnostics;
using Handbook.Data;
using Handbook.Methods;
using Handbook.Models;
using Handbook.Models.Families;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Optimizers;

namespace Handbook.Bench;

/// <summary>A model shape of the benchmark.</summary>
internal sealed record Shape(string Name, int Hidden, int Layers, int Heads, int KeyHeads, int Inner, int Vocabulary, int Rows, int Length, bool Tied)
{
    public static Shape Llama15M { get; } = new("15m", 288, 6, 6, 6, 768, 32000, 8, 256, true);

    public static Shape SmolLm135M { get; } = new("135m", 576, 30, 9, 3, 1536, 49152, 2, 256, true);

    public DecoderConfig Config() => PublishedConfig.Parse(System.Text.Encoding.UTF8.GetBytes($$"""
        {"model_type": "llama", "hidden_size": {{Hidden}}, "intermediate_size": {{Inner}}, "num_hidden_layers": {{Layers}}, "num_attention_heads": {{Heads}},
         "num_key_value_heads": {{KeyHeads}}, "vocab_size": {{Vocabulary}}, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "tie_word_embeddings": {{(Tied ? "true" : "false")}},
         "rope_theta": 10000.0, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2}
        """), "bench").Decoder;

    /// <summary>Floating point operations of the matrix products of one token, forward and backward.</summary>
    public double ProductFlops()
    {
        double headSize = Hidden / Heads;
        var layer = Hidden * (Heads + 2 * KeyHeads) * headSize + Heads * headSize * Hidden + 3.0 * Hidden * Inner;
        return 6 * (Layers * layer + (double)Hidden * Vocabulary);
    }
}

/// <summary>Whole training steps of our engine: forward, backward, norm and clipping, AdamW.</summary>
internal static class StepBench
{
    public static (double TokensPerSecond, long PeakBytes) Run(Shape shape, bool bf16, IReadOnlyList<TokenBatch> batches, int warmup, int steps)
    {
        RandomState.Seed(17);
        var config = shape.Config();
        var specs = Family.For("llama", "bench").Parameters(config, fused: true);
        using var model = new Decoder(config, ModelParameters.Allocate(specs, DType.Float32, bf16 ? DType.BFloat16 : DType.Float32, trainable: true));
        foreach (var spec in specs)
        {
            if (spec.Kind == ParameterKind.NormWeight)
                Fill(model.Parameters[spec.Name], 1);
            else if (spec.InitStd > 0)
                Randomise(model.Parameters[spec.Name], spec.InitStd);
        }
        model.Parameters.RefreshCompute();
        using var optimizer = new AdamW(model.Parameters, 0.9, 0.999, 1e-8, 0.01);
        var method = new SupervisedMethod("sft");
        var streams = batches.Select(StreamLayout.Of).ToArray();
        var clock = new Stopwatch();
        long tokens = 0;
        TorchRuntime.ResetPeakMemory();
        for (var step = 0; step < warmup + steps; step++)
        {
            if (step == warmup)
                clock.Start();
            var batch = batches[step % batches.Count];
            using (TensorScope.Enter())
            {
                model.Parameters.ClearGradients();
                var loss = method.Loss(model, batch, streams[step % streams.Length], ForwardOptions.Plain, batch.TargetCount, new MetricSums())!;
                loss.Backward();
                var norm = GradientNorm.Of(model.Parameters);
                optimizer.Step(1e-4, GradientNorm.ClipFactor(norm, 1.0));
                if (!double.IsFinite(loss.ToScalar()))
                    throw new InvalidOperationException("the loss is not finite");
            }
            if (step >= warmup)
                tokens += batch.Count;
        }
        clock.Stop();
        return (tokens / clock.Elapsed.TotalSeconds, TorchRuntime.Memory.Peak);
    }

    private static void Fill(Parameter parameter, double value)
    {
        using var mode = GradMode.Disabled();
        parameter.Value.FillInPlace(value);
    }

    private static void Randomise(Parameter parameter, double deviation)
    {
        using var mode = GradMode.Disabled();
        parameter.Value.NormalInPlace(0, deviation);
    }

    /// <summary>Rows of equal length, all tokens with loss.</summary>
    public static TokenBatch FullRows(Shape shape, int seed)
    {
        var random = new Random(seed);
        var rows = new TokenRowList([.. Enumerable.Range(0, shape.Rows).Select(_ =>
            TokenRow.Single([.. Enumerable.Range(0, shape.Length).Select(_ => random.Next(3, shape.Vocabulary))], [.. Enumerable.Repeat((byte)1, shape.Length)]))]);
        return BatchBuilder.Build(rows, [.. Enumerable.Range(0, shape.Rows)]);
    }
}

/// <summary>The machine's own rate of matrix products, the ceiling of a training step.</summary>
internal static class MatMulBench
{
    /// <summary>GFLOP/s of a square product.</summary>
    public static double Rate(DType dtype, int size = 2048, double seconds = 2)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var a = Tensor.Randn(DType.Float32, size, size).To(dtype);
        var b = Tensor.Randn(DType.Float32, size, size).To(dtype);
        var c = Tensor.Empty(dtype, Device.Cpu, size, size);
        a.MmInto(b, c);
        var best = 0.0;
        var clock = Stopwatch.StartNew();
        while (clock.Elapsed.TotalSeconds < seconds)
        {
            var start = clock.Elapsed.TotalSeconds;
            a.MmInto(b, c);
            best = Math.Max(best, 2.0 * size * size * size / (clock.Elapsed.TotalSeconds - start) / 1e9);
        }
        return best;
    }
}
