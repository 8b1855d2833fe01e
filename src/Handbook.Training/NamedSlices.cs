using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Optimizers;

namespace Handbook.Training;

/// <summary>Flat memory as a checkpoint names it: piece by piece, under the published names of what lies there.</summary>
/// <remarks>So a checkpoint says nothing of how parameters lie behind one another, and another plan, size of bucket or number of processes
/// can open it. A part of a piece has its first element behind the name, <c>master.model.norm.weight@256</c>.</remarks>
internal static class NamedSlices
{
    /// <param name="kind">What the numbers are, e.g. <c>master</c> or <c>exp_avg</c>: the first word of the names.</param>
    /// <param name="parameters">The model.</param>
    /// <param name="bucket">One of its buckets.</param>
    /// <param name="flat">Numbers of what this process updates, in the bucket's order; [count].</param>
    /// <returns>Views, in the surrounding scope; each [rows, columns], or [rows] of a vector; [elements] of a part.</returns>
    public static IEnumerable<(string Name, Tensor Value)> Of(string kind, ModelParameters parameters, ParameterBucket bucket,
        Tensor flat)
    {
        foreach (var piece in ParameterPiece.Of(parameters, bucket))
            if (Of(piece, flat, bucket.Start) is { } value)
                yield return (Name(kind, piece), value);
    }

    /// <summary>What of a piece this process updates; null where it is nothing.</summary>
    /// <param name="flat">Numbers of it, in the bucket's order.</param>
    /// <param name="start">The place of the first of them in the bucket.</param>
    public static Tensor? Of(ParameterPiece piece, Tensor flat, long start)
    {
        var (from, count) = piece.Own;
        return count == piece.Count ? (piece with { Offset = piece.Offset - start }).Of(flat)
            : count == 0 ? null
            : flat.Detach().Narrow(0, piece.Offset + from - start, count);
    }

    /// <summary>The name of what this process updates of a piece.</summary>
    /// <param name="unit">Elements that one number is kept of.</param>
    public static string Name(string kind, ParameterPiece piece, int unit = 1) =>
        piece.Own.Count == piece.Count ? $"{kind}.{piece.Name}" : $"{kind}.{piece.Name}@{piece.Own.From / unit}";

    /// <summary>The name without the place, the place, and whether it is that of a part.</summary>
    public static (string Name, long From, bool IsPart) Split(string name) => name.LastIndexOf('@') is > 0 and var at
        ? (name[..at], long.Parse(name.AsSpan(at + 1)), true) : (name, 0, false);
}
