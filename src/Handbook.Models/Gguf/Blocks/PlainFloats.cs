using System.Runtime.InteropServices;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models.Gguf.Blocks;

/// <summary>Elements one by one, as floats.</summary>
internal sealed class PlainFloats(int code, string name, DType type) : BlockFormat(code, name, 1, type.Size)
{
    public override void Decode(ReadOnlySpan<byte> from, Span<float> to) =>
        ElementConversion.Convert(from, type, MemoryMarshal.AsBytes(to), DType.Float32);

    public override void Encode(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, Span<byte> to) =>
        ElementConversion.Convert(MemoryMarshal.AsBytes(from), DType.Float32, to, type);
}
