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
        if (parameters.Plan.Shard.Cuts)
            Join(buckets, workers!);
        var rounds = parameters.Trained.Any(bucket => bucket.Rounds);
        var norm = Math.Sqrt(parameters.Trained.Zip(buckets).Sum(pair => pair.Second.Sum(square => pair.First.Rounds
            ? Rounded(Math.Sqrt(square)) is var rounded ? rounded * rounded : 0 : square)));
        return rounds ? Rounded(norm) : norm;
    }

    private static double Squares(ParameterBucket bucket)
    {
        if (bucket.IsCut || bucket.Parameters.All(placed => placed.Parameter.HasGradient))
            return DeviceKernels.Of(bucket.OwnGradients!).SumOfSquares(bucket.OwnGradients!);
        return bucket.Parameters.Sum(placed => placed.Parameter is { HasGradient: true, Gradient: { } gradient }
            ? DeviceKernels.Of(gradient).SumOfSquares(gradient) : 0);
    }

    /// <summary>‖g‖² of each published tensor, whose norm is rounded by itself.</summary>
    private static double[] RoundedSquares(ModelParameters parameters, ParameterBucket bucket)
    {
        using var scope = TensorScope.Enter();
        return [.. ParameterPiece.Of(parameters, bucket).Select(piece =>
            NamedSlices.Of(piece, bucket.OwnGradients!, bucket.Start) is { } own ? DeviceKernels.Of(own).SumOfSquares(own) : 0)];
    }

    // What everyone has of each number.
    private static void Join(double[][] buckets, Workers workers)
    {
        var sums = workers.Sum([.. buckets.SelectMany(squares => squares)]);
        var next = 0;
        foreach (var squares in buckets)
            for (var i = 0; i < squares.Length; i++)
                squares[i] = sums[next++];
    }

    private static double Rounded(double value) => BFloat16.From((float)value).ToSingle();

    /// <param name="max">Greatest norm; null or 0 cuts nothing.</param>
    public static double ClipFactor(double norm, double? max) => max is > 0 ? Math.Min(1, max.Value / (norm + 1e-6)) : 1;
}
