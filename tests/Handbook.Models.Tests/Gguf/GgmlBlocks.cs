using System.Runtime.InteropServices;

namespace Handbook.Models.Tests.Gguf;

/// <summary>ggml's own quantisation, called where it lies in the library beside llama.cpp's.</summary>
internal static unsafe class GgmlBlocks
{
    private static readonly nint _library = NativeLibrary.Load(Path.Combine(AppContext.BaseDirectory, "runtimes", RuntimeInformation
        .RuntimeIdentifier, "native", "noavx", "libggml-base.so"));

    /// <summary>Rows of floats as ggml stores them.</summary>
    /// <param name="importance">Of each column; empty for none.</param>
    public static byte[] Encode(int type, float[] values, int columns, float[] importance, int bytes)
    {
        var quantise = (delegate* unmanaged<int, float*, void*, long, long, long, float*, nuint>)NativeLibrary.GetExport(_library,
            "ggml_quantize_chunk");
        var encoded = new byte[bytes];
        fixed (float* from = values, weights = importance)
        fixed (byte* to = encoded)
            Assert.Equal((nuint)bytes, quantise(type, from, to, 0, values.Length / columns, columns, weights));
        return encoded;
    }

    /// <summary>What ggml reads of blocks.</summary>
    /// <param name="name">Its name of the format, e.g. <c>q4_K</c>.</param>
    public static float[] Decode(string name, byte[] encoded, int count)
    {
        var read = (delegate* unmanaged<void*, float*, long, void>)NativeLibrary.GetExport(_library, "dequantize_row_" + name);
        var values = new float[count];
        fixed (byte* from = encoded)
        fixed (float* to = values)
            read(from, to, count);
        return values;
    }
}
