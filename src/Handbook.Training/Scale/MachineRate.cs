using System.Diagnostics;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Training.Scale;

/// <summary>How fast this machine multiplies, and what follows for a step.</summary>
internal static class MachineRate
{
    /// <summary>The share of the rate of square products that a whole step reaches on a CPU (<c>matmul-share</c> in the benchmark).</summary>
    public const double UsualShare = 0.72;

    /// <summary>Operations a second of large products; takes about a second.</summary>
    public static double Measure(DType type)
    {
        TorchRuntime.Load();
        const int size = 1024;
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var (left, right) = (Tensor.Full(0.5, type, size, size), Tensor.Full(0.25, type, size, size));
        var best = double.MaxValue;
        for (var start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalSeconds < 1;)
        {
            using var one = TensorScope.Enter();
            var begun = Stopwatch.GetTimestamp();
            _ = Product.Of(left, right);
            best = Math.Min(best, Stopwatch.GetElapsedTime(begun).TotalSeconds);
        }
        return 2.0 * size * size * size / best;
    }
}
