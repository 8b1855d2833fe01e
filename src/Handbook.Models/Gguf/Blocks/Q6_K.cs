namespace Handbook.Models.Gguf.Blocks;

/// <summary>256 elements in six bits each: sixteen groups of 16, each with a scale in eight bits, and a scale for the scales.</summary>
/// <remarks><code>
/// x ≈ d·s·(q − 32),   s in −128 … 127 of each group,   q in 0 … 63
/// </code>
/// Bytes: 128 with the four low bits, 64 with the two high ones, 16 with the s, d. Of each 128 elements, 32 stand apart by 32: elements i
/// and i + 64 share a byte of low bits, and i, i + 32, i + 64 and i + 96 one of high bits.</remarks>
internal sealed class Q6_K() : BlockedFormat(14, "q6_K", 256, 128 + 64 + 16 + 2)
{
    private const int Groups = 16, Group = 16, High = 128, Scales = 192, Last = 208;

    protected override void DecodeBlock(ReadOnlySpan<byte> from, Span<float> to)
    {
        var d = Halves.Read(from[Last..]);
        for (var i = 0; i < Size; i++)
        {
            var (low, lowShift, high, highShift) = Place(i);
            var code = (from[low] >> lowShift & 15) | (from[high] >> highShift & 3) << 4;
            to[i] = d * (sbyte)from[Scales + i / Group] * (code - 32);
        }
    }

    protected override void EncodeBlock(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, float meanSquare, Span<byte> to)
    {
        to.Clear();
        Span<byte> codes = stackalloc byte[Size];
        Span<float> scales = stackalloc float[Groups];
        var largest = 0f;
        for (var g = 0; g < Groups; g++)
        {
            scales[g] = ScaleSearch.Symmetric(from.Slice(g * Group, Group), 32,
                importance.IsEmpty ? [] : importance.Slice(g * Group, Group), codes.Slice(g * Group, Group));
            if (MathF.Abs(scales[g]) > MathF.Abs(largest))
                largest = scales[g];
        }
        if (MathF.Abs(largest) < 1e-15f)
            return;
        var inverse = -128 / largest;
        Halves.Write(to[Last..], 1 / inverse);
        var d = Halves.Read(to[Last..]);
        for (var g = 0; g < Groups; g++)
        {
            var s = (sbyte)Math.Min(127, ScaleSearch.Nearest(inverse * scales[g]));
            to[Scales + g] = (byte)s;
            var scale = d * s;
            for (var at = g * Group; at < (g + 1) * Group; at++)
            {
                if (scale != 0)
                    codes[at] = (byte)(Math.Clamp(ScaleSearch.Nearest(from[at] / scale), -32, 31) + 32);
                var (low, lowShift, high, highShift) = Place(at);
                to[low] |= (byte)((codes[at] & 15) << lowShift);
                to[high] |= (byte)(codes[at] >> 4 << highShift);
            }
        }
    }

    /// <summary>Where the bits of an element stand.</summary>
    private static (int Low, int LowShift, int High, int HighShift) Place(int i)
    {
        var (half, within) = (i / 128, i % 128);
        return (half * 64 + within % 64, within / 64 * 4, High + half * 32 + within % 32, within / 32 * 2);
    }
}
