using System.Buffers.Binary;

namespace Handbook.Models.Gguf.Blocks;

/// <summary>32 elements in four or five bits each, and a scale; with a smallest value, too, or around 0.</summary>
/// <remarks><code>
/// around 0:  d = x_max / −2^(b−1),           q = ⌊x / d + 2^(b−1) + ½⌋,    x ≈ d·(q − 2^(b−1))     x_max is the one of the largest size
/// else:      d = (x_max − m) / (2^b − 1),    q = ⌊(x − m) / d + ½⌋,        x ≈ d·q + m              m is the smallest
/// </code>
/// With importances, scales are searched for. Byte i holds the four low bits of element i in its lower half and those of element i + 16 in
/// its upper one; fifth bits stand in 32 bits before them.</remarks>
/// <param name="bits">b, 4 or 5.</param>
/// <param name="hasMin">Whether there is a smallest value.</param>
internal sealed class SmallBlocks(int code, string name, int bits, bool hasMin)
    : BlockedFormat(code, name, 32, 2 + (hasMin ? 2 : 0) + (bits == 5 ? 4 : 0) + 16)
{
    private readonly int _high = hasMin ? 4 : 2;        // where the fifth bits begin
    private readonly int _low = (hasMin ? 4 : 2) + (bits == 5 ? 4 : 0);
    private readonly int _middle = hasMin ? 0 : 1 << (bits - 1);
    private readonly int _limit = (1 << bits) - 1;

    protected override void DecodeBlock(ReadOnlySpan<byte> from, Span<float> to)
    {
        var d = Halves.Read(from);
        var min = hasMin ? Halves.Read(from[2..]) : 0;
        var high = bits == 5 ? BinaryPrimitives.ReadUInt32LittleEndian(from[_high..]) : 0;
        for (var i = 0; i < Size; i++)
        {
            var half = from[_low + i % 16];
            to[i] = ((i < 16 ? half & 15 : half >> 4) + (int)(high >> i & 1) * 16 - _middle) * d + min;
        }
    }

    protected override void EncodeBlock(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, float meanSquare, Span<byte> to)
    {
        Span<byte> codes = stackalloc byte[Size];
        var (d, min) = importance.IsEmpty ? Plain(from, codes) : Searched(from, importance, meanSquare, codes);
        Halves.Write(to, d);
        if (hasMin)
            Halves.Write(to[2..], min);
        var high = 0u;
        for (var i = 0; i < Size; i++)
            high |= (uint)(codes[i] >> 4) << i;
        if (bits == 5)
            BinaryPrimitives.WriteUInt32LittleEndian(to[_high..], high);
        for (var i = 0; i < 16; i++)
            to[_low + i] = (byte)(codes[i] & 15 | codes[i + 16] << 4);
    }

    private (float Scale, float Min) Plain(ReadOnlySpan<float> from, Span<byte> codes)
    {
        var (signed, min, max) = (0f, float.MaxValue, float.MinValue);
        foreach (var value in from)
        {
            if (MathF.Abs(value) > MathF.Abs(signed))
                signed = value;
            (min, max) = (MathF.Min(min, value), MathF.Max(max, value));
        }
        var d = hasMin ? (max - min) / _limit : signed / -_middle;
        var inverse = d == 0 ? 0 : 1 / d;
        for (var i = 0; i < Size; i++)
            codes[i] = (byte)Math.Min(_limit, (int)(hasMin ? (from[i] - min) * inverse + 0.5f : from[i] * inverse + (_middle + 0.5f)));
        return (d, min);
    }

    private (float Scale, float Min) Searched(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, float meanSquare, Span<byte> codes)
    {
        Span<float> weights = stackalloc float[Size];
        for (var i = 0; i < Size; i++)
            weights[i] = importance[i] * MathF.Sqrt(meanSquare + from[i] * from[i]);
        if (!hasMin)
            return (ScaleSearch.Symmetric(from, _middle, weights, codes), 0);
        var (scale, min) = ScaleSearch.Affine(from, _limit, weights, codes, (-0.9f, 0.05f, 36));
        return (scale, -min);
    }
}
