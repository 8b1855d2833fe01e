using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Devices;

namespace Handbook.Training;

/// <summary>The norm of all gradients together, and the factor that cuts it. Pascanu et al. 2013, arXiv:1211.5063.</summary>
/// <remarks><code>factor = min(1, max / (‖g‖ + 1e−6))</code>as in torch's <c>clip_grad_norm_</c>.</remarks>
internal static class GradientNorm
{
    /// <summary>‖g‖ over all trainable parameters; those that no gradient reached count as zero.</summary>
    public static double Of(ModelParameters parameters)
    {
        var sum = 0.0;
        foreach (var bucket in parameters.Buckets)
        {
            if (bucket.Gradients is null)
                continue;
            if (bucket.Parameters.All(placed => placed.Parameter.HasGradient))
                sum += DeviceKernels.Of(bucket.Gradients).SumOfSquares(bucket.Gradients);
            else
                foreach (var (parameter, _) in bucket.Parameters)
                    sum += parameter.HasGradient ? DeviceKernels.Of(parameter.Gradient!).SumOfSquares(parameter.Gradient!) : 0;
        }
        return Math.Sqrt(sum);
    }

    /// <param name="max">Greatest norm; null or 0 cuts nothing.</param>
    public static double ClipFactor(double norm, double? max) => max is > 0 ? Math.Min(1, max.Value / (norm + 1e-6)) : 1;
}
