using System.Diagnostics;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Training.Scale;

/// <summary>How fast this machine multiplies, and what follows for a step.</summary>
internal static class MachineRate
{
    /// <summary>The share of the rate of square products that a whole step reaches on a CPU (<c>matmul-share</c> in the benchmark).</summary>
    public const double UsualShare = 0.72;

    /// <summary>Operations a second of square products, the best of all.</summary>
    /// <param name="size">Rows and columns.</param>
    /// <param name="seconds">How long it is measured.</param>
    public static double Measure(DType type, int size = 1024, double seconds = 1)
    {
        TorchRuntime.Load();
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var random = new Random(17);
        var (left, right, product) = (Square(), Square(), Tensor.Empty(type, Device.Cpu, size, size));
        Product.Into(left, right, product);
        var best = double.MaxValue;
        for (var start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalSeconds < seconds;)
        {
            var begun = Stopwatch.GetTimestamp();
            Product.Into(left, right, product);
            best = Math.Min(best, Stopwatch.GetElapsedTime(begun).TotalSeconds);
        }
        return 2.0 * size * size * size / best;

        Tensor Square()
        {
            var values = new float[size * size];
            foreach (ref var value in values.AsSpan())
                value = (float)random.NextDouble() - 0.5f;
            return Tensor.From(values, size, size).To(type);
        }
    }
}
