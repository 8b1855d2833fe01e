using System.Runtime.InteropServices;
using Handbook.Torch;

namespace Handbook.Models.Files;

/// <summary>A tensor on its way into a file: what it is, and how to produce its bytes once they are asked for.</summary>
/// <param name="Info">Name, element type and shape in the file.</param>
/// <param name="Write">Writes exactly <c>Info.ByteCount</c> bytes, row-major, little-endian; called once.</param>
public sealed record TensorToSave(TensorInfo Info, Action<Stream> Write)
{
    /// <summary>A tensor that lies in memory; the memory must live until it is saved.</summary>
    public static TensorToSave From(TensorData data) => new(data.Info, stream =>
    {
        const int chunk = 1 << 20;
        for (var at = 0L; at < data.Info.ByteCount; at += chunk)
            stream.Write(data.Slice(at, (int)Math.Min(chunk, data.Info.ByteCount - at)));
        GC.KeepAlive(data.Owner);
    });

    /// <summary>A float32 tensor with the given values in row-major order.</summary>
    public static TensorToSave From(string name, float[] values, params ReadOnlySpan<long> shape) =>
        new(new(name, DType.Float32, [.. shape]), stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));
}
