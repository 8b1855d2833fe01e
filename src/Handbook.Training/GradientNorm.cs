using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Devices;

namespace Handbook.Training;

/// <summary>The norm of all gradients together, and the factor that cuts it. Pascanu et al. 2013, arXiv:1211.5063.</summary>
/// <remarks><code>factor = min(1, max / (‖g‖ + 1e−6))</code>as in torch's <c>clip_grad_norm_</c>.</remarks>
internal static class GradientNorm
{
    /// <summary>‖g‖ over all trainable parameters; those that no gradient reached count as zero. Where gradients are kept in bfloat16, so is
    /// their norm, as in the reference.</summary>
    public static double Of(ModelParameters parameters)
    {
        var sum = 0.0;
        foreach (var bucket in parameters.Trained)
            if (bucket.Rounds)
                sum += RoundedSquares(parameters, bucket);
            else if (bucket.Parameters.All(placed => placed.Parameter.HasGradient))
                sum += DeviceKernels.Of(bucket.Gradients!).SumOfSquares(bucket.Gradients!);
            else
                foreach (var (parameter, _) in bucket.Parameters)
                    sum += parameter.HasGradient ? DeviceKernels.Of(parameter.Gradient!).SumOfSquares(parameter.Gradient!) : 0;
        var norm = Math.Sqrt(sum);
        return parameters.Trained.Any(bucket => bucket.Rounds) ? Rounded(norm) : norm;
    }

    /// <summary>Σ ‖g‖² with the norm of each published tensor rounded to bfloat16.</summary>
    private static double RoundedSquares(ModelParameters parameters, ParameterBucket bucket)
    {
        using var scope = TensorScope.Enter();
        return NamedSlices.Of("", parameters, bucket, bucket.Gradients!)
            .Sum(slice => Rounded(Math.Sqrt(DeviceKernels.Of(slice.Value).SumOfSquares(slice.Value))) is var norm ? norm * norm : 0);
    }

    private static double Rounded(double value) => BFloat16.From((float)value).ToSingle();

    /// <param name="max">Greatest norm; null or 0 cuts nothing.</param>
    public static double ClipFactor(double norm, double? max) => max is > 0 ? Math.Min(1, max.Value / (norm + 1e-6)) : 1;
}
