namespace Handbook.Models.Gguf.Blocks;

/// <summary>Elements in four bits each, which choose one of sixteen values; read, and not written.</summary>
internal static class CodeBooks
{
    /// <summary>The values of iq4_nl and iq4_xs: close around 0, wide apart at the ends.</summary>
    public static ReadOnlySpan<sbyte> Curved => [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

    /// <summary>Twice the values of a float of four bits (E2M1).</summary>
    public static ReadOnlySpan<sbyte> Float4 => [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

    /// <summary>32 elements: the low halves of 16 bytes, then the high ones.</summary>
    public static void Decode(ReadOnlySpan<byte> codes, ReadOnlySpan<sbyte> values, float d, Span<float> to)
    {
        for (var i = 0; i < 16; i++)
        {
            to[i] = d * values[codes[i] & 15];
            to[i + 16] = d * values[codes[i] >> 4];
        }
    }
}

/// <summary>32 elements by curved values, and a scale.</summary>
/// <remarks><code>
/// x ≈ d·v(q),   q in 0 … 15
/// </code></remarks>
internal sealed class Iq4Nl() : BlockedFormat(20, "iq4_nl", 32, 2 + 16)
{
    protected override void DecodeBlock(ReadOnlySpan<byte> from, Span<float> to) =>
        CodeBooks.Decode(from[2..], CodeBooks.Curved, Halves.Read(from), to);

    protected override void EncodeBlock(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, float meanSquare, Span<byte> to) =>
        throw new NotSupportedException($"{Name} is not written");
}

/// <summary>256 elements by curved values, in eight groups of 32 that have a scale of six bits each.</summary>
/// <remarks><code>
/// x ≈ d·(s − 32)·v(q),   s in 0 … 63      bytes: d, 2 with the high bits of the s, 4 with their low ones, 128 codes
/// </code></remarks>
internal sealed class Iq4Xs() : BlockedFormat(23, "iq4_xs", 256, 2 + 2 + 4 + 128)
{
    protected override void DecodeBlock(ReadOnlySpan<byte> from, Span<float> to)
    {
        var d = Halves.Read(from);
        var high = from[2] | from[3] << 8;
        for (var group = 0; group < 8; group++)
        {
            var s = (from[4 + group / 2] >> (group % 2 * 4) & 15) | (high >> (group * 2) & 3) << 4;
            CodeBooks.Decode(from.Slice(8 + group * 16, 16), CodeBooks.Curved, d * (s - 32), to.Slice(group * 32, 32));
        }
    }

    protected override void EncodeBlock(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, float meanSquare, Span<byte> to) =>
        throw new NotSupportedException($"{Name} is not written");
}

/// <summary>32 floats of four bits with one exponent of eight bits, as gpt-oss is published. OCP Microscaling Formats 1.0, MXFP4.</summary>
/// <remarks><code>
/// x = 2^(e − 127)·f(q),   q in 0 … 15
/// </code></remarks>
internal sealed class MxFp4() : BlockedFormat(39, "mxfp4", 32, 1 + 16)
{
    protected override void DecodeBlock(ReadOnlySpan<byte> from, Span<float> to) =>
        CodeBooks.Decode(from[1..], CodeBooks.Float4, (float)Math.ScaleB(0.5, from[0] - 127), to);

    protected override void EncodeBlock(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, float meanSquare, Span<byte> to) =>
        throw new NotSupportedException($"{Name} is not written");
}
