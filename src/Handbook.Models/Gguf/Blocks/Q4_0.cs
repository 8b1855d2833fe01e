namespace Handbook.Models.Gguf.Blocks;

/// <summary>32 elements in four bits each, and a scale. The element of the largest size lies at −8.</summary>
/// <remarks><code>
/// d = x_max / −8,   q = ⌊x / d + 8.5⌋ in 0 … 15,   x ≈ d·(q − 8)
/// </code>
/// Byte i holds element i in its lower half and element i + 16 in its upper one.</remarks>
internal sealed class Q4_0() : BlockedFormat(2, "q4_0", 32, 2 + 16)
{
    protected override void DecodeBlock(ReadOnlySpan<byte> from, Span<float> to)
    {
        var d = Halves.Read(from);
        for (var i = 0; i < Size / 2; i++)
        {
            to[i] = ((from[2 + i] & 15) - 8) * d;
            to[i + Size / 2] = ((from[2 + i] >> 4) - 8) * d;
        }
    }

    protected override void EncodeBlock(ReadOnlySpan<float> from, Span<byte> to)
    {
        var largest = 0f;
        foreach (var value in from)
            if (MathF.Abs(value) > MathF.Abs(largest))
                largest = value;
        var d = largest / -8;
        var inverse = d == 0 ? 0 : 1 / d;
        Halves.Write(to, d);
        for (var i = 0; i < Size / 2; i++)
            to[2 + i] = (byte)(Code(from[i] * inverse) | Code(from[i + Size / 2] * inverse) << 4);

        static int Code(float scaled) => Math.Min(15, (int)(scaled + 8.5f));
    }
}
