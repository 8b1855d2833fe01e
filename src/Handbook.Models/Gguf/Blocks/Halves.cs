using System.Buffers.Binary;

namespace Handbook.Models.Gguf.Blocks;

/// <summary>The 16-bit floats in which blocks keep their scales.</summary>
internal static class Halves
{
    public static float Read(ReadOnlySpan<byte> from) => (float)BinaryPrimitives.ReadHalfLittleEndian(from);

    public static void Write(Span<byte> to, float value) => BinaryPrimitives.WriteHalfLittleEndian(to, (Half)value);
}
