using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Optimizers;

namespace Handbook.Training;

/// <summary>Flat memory as a checkpoint names it: piece by piece, under the published names of what lies there.</summary>
/// <remarks>So a checkpoint says nothing of how parameters lie behind one another, and another plan, size of bucket or number of processes
/// can open it.</remarks>
internal static class NamedSlices
{
    /// <param name="kind">What the numbers are, e.g. <c>master</c> or <c>exp_avg</c>: the first word of the names.</param>
    /// <param name="parameters">The model.</param>
    /// <param name="bucket">One of its buckets.</param>
    /// <param name="flat">Numbers in the bucket's order; [n].</param>
    /// <returns>Views, in the surrounding scope; each [rows, columns], or [rows] of a vector.</returns>
    public static IEnumerable<(string Name, Tensor Value)> Of(string kind, ModelParameters parameters, ParameterBucket bucket,
        Tensor flat) =>
        ParameterPiece.Of(parameters, bucket).Select(piece => ($"{kind}.{piece.Name}", piece.Of(flat)));
}
