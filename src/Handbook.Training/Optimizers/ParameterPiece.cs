using Handbook.Models;
using Handbook.Torch;

namespace Handbook.Training.Optimizers;

/// <summary>A published matrix or vector where it lies among the parameters that are trained. A parameter that fuses several (query, key
/// and value) is several pieces.</summary>
/// <param name="Bucket">Where it lies.</param>
/// <param name="Spec">The parameter it is a part of.</param>
/// <param name="Name">Its published name; a slice of a published tensor has its first row there behind it.</param>
/// <param name="Offset">Its first element in the bucket.</param>
/// <param name="Rows">Rows of the matrix, or elements of the vector.</param>
/// <param name="Width">Columns of the matrix; 0 for a vector.</param>
internal sealed record ParameterPiece(ParameterBucket Bucket, ParameterSpec Spec, string Name, long Offset, int Rows, int Width)
{
    public long Count => (long)Rows * Math.Max(1, Width);

    public bool IsMatrix => Width > 0;

    /// <summary>Whether it is a matrix of a layer, not the table of tokens or positions, nor the head: the matrices between.</summary>
    public bool IsHidden => IsMatrix && Spec.Kind == ParameterKind.Weight && Spec.Name is not (ParameterSpec.Positions or "head.weight"
        or "score.weight");

    /// <summary>The published name of the module that it is the weight of.</summary>
    public string Module => Name.Split(':')[0] is var name && name.EndsWith(".weight", StringComparison.Ordinal) ? name[..^7] : name;

    /// <summary>Its elements that this process updates: the first, counted in the piece, and how many; all where nothing is shared out.
    /// </summary>
    public (long From, long Count) Own
    {
        get
        {
            var from = Math.Clamp(Bucket.Start - Offset, 0, Count);
            return (from, Math.Clamp(Bucket.Start + Bucket.Count - Offset, from, Count) - from);
        }
    }

    /// <summary>This piece of a flat tensor in the bucket's order: a view [rows, width], or [rows] of a vector.</summary>
    public Tensor Of(Tensor flat)
    {
        var part = flat.Detach().Narrow(0, Offset, Count);
        return IsMatrix ? part.View(Rows, Width) : part;
    }

    /// <summary>Writes the copy that products read anew, where there is one.</summary>
    public void Refresh()
    {
        if (Bucket.OwnCompute is { } copy)
            Of(copy).CopyFrom(Of(Bucket.Values));
    }

    /// <summary>The pieces of everything that is trained, in the order in which they lie.</summary>
    public static IEnumerable<ParameterPiece> Trained(ModelParameters parameters) =>
        parameters.Trained.SelectMany(bucket => Of(parameters, bucket));

    /// <summary>The pieces of a bucket, in the order in which they lie.</summary>
    public static IEnumerable<ParameterPiece> Of(ModelParameters parameters, ParameterBucket bucket)
    {
        foreach (var (parameter, offset) in bucket.Parameters)
        {
            var spec = parameters.Spec(parameter.Name);
            var width = spec.Shape.Count > 1 ? checked((int)(spec.Count / Math.Max(spec.Shape[0], 1))) : 0;
            foreach (var (name, start, rows) in spec.Pieces)
                yield return new(bucket, spec, name, offset + start * Math.Max(1, width), checked((int)rows), width);
        }
    }
}
