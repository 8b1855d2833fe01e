using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models;

/// <summary>The way back: our parameters as the tensors of a published checkpoint, under their published
/// names and in their layout.</summary>
internal static class PublishedTensors
{
    /// <param name="parameters">The model's parameters, from its family.</param>
    /// <param name="ours">A parameter's elements by our name, row-major in our shape; asked for when the tensor is written.</param>
    /// <param name="dtype">Element type in the file.</param>
    public static IReadOnlyList<TensorToSave> Of(IReadOnlyList<ParameterSpec> parameters, Func<string, TensorData> ours, DType dtype) =>
        Of(parameters, ours, _ => dtype);

    /// <inheritdoc cref="Of(IReadOnlyList{ParameterSpec}, Func{string, TensorData}, DType)"/>
    /// <param name="parameters">The model's parameters, from its family.</param>
    /// <param name="ours">A parameter's elements by our name, row-major in our shape; asked for when the tensor is written.</param>
    /// <param name="dtype">Element type of each in the file; of a tensor that several parameters make up, the first one's.</param>
    public static IReadOnlyList<TensorToSave> Of(IReadOnlyList<ParameterSpec> parameters, Func<string, TensorData> ours,
        Func<ParameterSpec, DType> dtype)
    {
        var published = parameters.SelectMany(spec => spec.Parts.Select(part => (spec, part))).GroupBy(p => p.part.Published);
        return [.. published.Select(group => Assembled([.. group], ours, Checked(dtype(group.First().spec))))];
    }

    private static DType Checked(DType dtype) => ElementConversion.IsTarget(dtype) ? dtype
        : throw new ArgumentOutOfRangeException(nameof(dtype), dtype, "weights are saved as float32, bfloat16, float16 or float64");

    private static TensorToSave Assembled((ParameterSpec Spec, ParameterPart Part)[] parts, Func<string, TensorData> ours, DType dtype)
    {
        var info = new TensorInfo(parts[0].Part.Published, dtype, parts[0].Part.PublishedShape);
        return new(info, stream =>
        {
            using var buffer = new NativeBuffer(info.ByteCount);
            foreach (var (spec, part) in parts)
            {
                var data = ours(spec.Name);
                if (!data.Info.Shape.Equals(spec.Shape))
                    throw new ArgumentException($"parameter {spec.Name} has shape {data.Info.Shape} instead of {spec.Shape}");
                PartCopy.ToPublished(data, part, spec.Count / Math.Max(spec.Shape[0], 1), dtype, buffer.DangerousGetHandle());
                GC.KeepAlive(data.Owner);
            }
            TensorToSave.From(new TensorData(info, buffer.DangerousGetHandle(), buffer)).Write(stream);
        });
    }
}
