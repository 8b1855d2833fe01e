using System.Runtime.InteropServices;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models.Tests.Adapters;

/// <summary>Numbers of tensors in files.</summary>
internal static class TensorValues
{
    /// <summary>A tensor's elements as float32.</summary>
    public static float[] Singles(this TensorData data)
    {
        var values = new float[data.Info.Count];
        ElementConversion.Convert(data.Bytes, data.Info.DType, MemoryMarshal.AsBytes(values.AsSpan()), DType.Float32);
        GC.KeepAlive(data.Owner);
        return values;
    }
}
