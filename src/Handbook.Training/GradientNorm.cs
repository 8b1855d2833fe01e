using Handbook.Base;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Training.Distributed;
using Handbook.Training.Optimizers;

namespace Handbook.Training;

/// <summary>The norm of all gradients together, and the factor that cuts it. Pascanu et al. 2013, arXiv:1211.5063.</summary>
/// <remarks><code>factor = min(1, max / (‖g‖ + 1e−6))</code>as in torch's <c>clip_grad_norm_</c>.</remarks>
internal static class GradientNorm
{
    /// <summary>‖g‖ over all trainable parameters; those that no gradient reached count as zero. Where gradients are kept in bfloat16, so is
    /// their norm, as in the reference.</summary>
    /// <param name="workers">Those who share the gradients out, where they do.</param>
    public static double Of(ModelParameters parameters, Workers? workers = null)
    {
        var buckets = parameters.Trained.Select(bucket => bucket.Rounds ? RoundedSquares(parameters, bucket) : [Squares(bucket)]).ToArray();
        var squares = buckets.SelectMany(its => its).ToArray();
        if (parameters.Plan.Shard.Cuts)
            squares = workers!.Sum(squares);
        var (sum, next) = (new ExactSum(), 0);
        foreach (var (bucket, own) in parameters.Trained.Zip(buckets))
            foreach (var _ in own)
                if (!bucket.Rounds)
                    sum.Add(squares[next++]);
                else if (Rounded(Math.Sqrt(squares[next++].Value)) is var rounded)
                    sum.Add(rounded * rounded);
        var norm = Math.Sqrt(sum.Value);
        return parameters.Trained.Any(bucket => bucket.Rounds) ? Rounded(norm) : norm;
    }

    private static ExactSum Squares(ParameterBucket bucket)
    {
        var sum = new ExactSum();
        if (bucket.IsCut || bucket.Streams || bucket.Parameters.All(placed => placed.Parameter.HasGradient))
            DeviceKernels.Of(bucket.OwnGradients!).AddSquares(bucket.OwnGradients!, sum);
        else
            foreach (var (parameter, _) in bucket.Parameters)
                if (parameter is { HasGradient: true, Gradient: { } gradient })
                    DeviceKernels.Of(gradient).AddSquares(gradient, sum);
        return sum;
    }

    /// <summary>‖g‖² of each published tensor, whose norm is rounded by itself.</summary>
    private static ExactSum[] RoundedSquares(ModelParameters parameters, ParameterBucket bucket)
    {
        using var scope = TensorScope.Enter();
        return [.. ParameterPiece.Of(parameters, bucket).Select(piece =>
        {
            var sum = new ExactSum();
            if (NamedSlices.Of(piece, bucket.OwnGradients!, bucket.Start) is { } own)
                DeviceKernels.Of(own).AddSquares(own, sum);
            return sum;
        })];
    }

    private static double Rounded(double value) => BFloat16.From((float)value).ToSingle();

    /// <param name="max">Greatest norm; null or 0 cuts nothing.</param>
    public static double ClipFactor(double norm, double? max) => max is > 0 ? Math.Min(1, max.Value / (norm + 1e-6)) : 1;
}
