using System.Diagnostics;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Bench;

/// <summary>What <see cref="ProductBench"/> found: GFLOP/s over all products of a step, by form.</summary>
internal sealed record ProductResult(double Ours, double Library, IReadOnlyList<ProductForm> Forms);

/// <summary>The products of one form: x·Wᵀ, dy·W or dyᵀ·x.</summary>
internal sealed record ProductForm(string Name, double Ours, double Library);

/// <summary>The float32 products of a training step, ours beside those that libtorch's BLAS shares out itself.</summary>
internal static class ProductBench
{
    /// <summary>Bytes of weights that take turns, so that each is read from memory, as in a step.</summary>
    private const long Turns = 100_000_000;

    /// <summary>Rows whose logits are computed at once.</summary>
    private const int HeadRows = 256;

    private static readonly string[] Names = ["x·Wᵀ", "dy·W", "dyᵀ·x"];

    public static ProductResult Measure(Shape shape)
    {
        TorchRuntime.Load();
        using var mode = GradMode.Disabled();
        var (tokens, heads) = (shape.Rows * shape.Length, shape.Hidden / shape.Heads * (shape.Heads + 2 * shape.KeyHeads));
        (int Rows, int Inputs, int Outputs, int Times)[] layers =
        [
            (tokens, shape.Hidden, heads, shape.Layers), (tokens, shape.Hidden, shape.Hidden, shape.Layers),
            (tokens, shape.Hidden, 2 * shape.Inner, shape.Layers), (tokens, shape.Inner, shape.Hidden, shape.Layers),
            (HeadRows, shape.Hidden, shape.Vocabulary, tokens / HeadRows),
        ];
        var forms = new List<(double Flops, double Ours, double Library)>();
        for (var form = 0; form < Names.Length; form++)
        {
            (double Flops, double Ours, double Library) sum = default;
            foreach (var (rows, inputs, outputs, times) in layers)
            {
                var (ours, library) = Seconds(rows, inputs, outputs, form);
                sum = (sum.Flops + 2e-9 * times * rows * inputs * outputs, sum.Ours + times * ours, sum.Library + times * library);
            }
            forms.Add(sum);
        }
        return new(forms.Sum(form => form.Flops) / forms.Sum(form => form.Ours), forms.Sum(form => form.Flops) / forms.Sum(form => form.Library),
            [.. forms.Zip(Names, (form, name) => new ProductForm(name, form.Flops / form.Ours, form.Flops / form.Library))]);
    }

    /// <summary>Median times of one product, measured in turn.</summary>
    private static (double Ours, double Library) Seconds(int rows, int inputs, int outputs, int form)
    {
        using var scope = TensorScope.Enter();
        Tensor x = Some(rows, inputs), y = Some(rows, outputs);
        var weights = Enumerable.Range(0, (int)Math.Max(2, Turns / (4L * inputs * outputs))).Select(_ => Some(outputs, inputs)).ToArray();
        var (ours, library) = (new List<double>(), new List<double>());
        var clock = Stopwatch.StartNew();
        for (var i = 0; i < 6 || clock.Elapsed.TotalSeconds < 1; i++)
        {
            using var inner = TensorScope.Enter();
            var weight = weights[i % weights.Length];
            var (result, left, right) = form switch { 0 => (y, x, weight.T()), 1 => (x, y, weight), _ => (weight, y.T(), x) };
            var start = clock.Elapsed.TotalSeconds;
            if (i % 2 == 0)
                Product.TrySum(result, left, right, add: form == 2);
            else if (form == 2)
                result.AddMmInPlace(left, right);
            else
                left.MmInto(right, result);
            (i % 2 == 0 ? ours : library).Add(clock.Elapsed.TotalSeconds - start);
        }
        return (Comparison.Median(ours), Comparison.Median(library));
    }

    private static Tensor Some(int rows, int columns)
    {
        var values = Tensor.Empty(DType.Float32, Device.Cpu, rows, columns);
        var random = new Random(17);
        foreach (ref var value in values.AsSpan<float>())
            value = (float)random.NextDouble() - 0.5f;
        return values;
    }
}
