namespace Handbook.Models.Gguf.Blocks;

/// <summary>32 elements in eight bits each, and a scale.</summary>
/// <remarks><code>
/// d = max |x| / 127,   q = round(x / d),   x ≈ d·q
/// </code></remarks>
internal sealed class Q8_0() : BlockedFormat(8, "q8_0", 32, 2 + 32)
{
    protected override void DecodeBlock(ReadOnlySpan<byte> from, Span<float> to)
    {
        var d = Halves.Read(from);
        for (var i = 0; i < Size; i++)
            to[i] = (sbyte)from[2 + i] * d;
    }

    protected override void EncodeBlock(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, float meanSquare, Span<byte> to)
    {
        var largest = 0f;
        foreach (var value in from)
            largest = MathF.Max(largest, MathF.Abs(value));
        var d = largest / 127;
        var inverse = d == 0 ? 0 : 1 / d;
        Halves.Write(to, d);
        for (var i = 0; i < Size; i++)
            to[2 + i] = (byte)(sbyte)MathF.Round(from[i] * inverse, MidpointRounding.AwayFromZero);
    }
}
