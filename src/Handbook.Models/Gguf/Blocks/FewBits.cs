namespace Handbook.Models.Gguf.Blocks;

/// <summary>256 elements in two or three bits each, in sixteen groups of 16; read, and not written.</summary>
/// <remarks><code>
/// two bits:    x ≈ d·s·q − d_min·m,     s, m in 0 … 15,   q in 0 … 3      bytes: 16 with s and m, 64 codes, d, d_min
/// three bits:  x ≈ d·(s − 32)·(q − 4),  s in 0 … 63,      q in 0 … 7      bytes: 32 with the third bits, 64 codes, 12 with the s, d
/// </code></remarks>
internal sealed class FewBits(int code, string name, int bits) : BlockedFormat(code, name, 256, bits == 2 ? 84 : 110)
{
    protected override void DecodeBlock(ReadOnlySpan<byte> from, Span<float> to)
    {
        var codes = bits == 2 ? from.Slice(16, 64) : from.Slice(32, 64);
        var d = Halves.Read(from[(bits == 2 ? 80 : 108)..]);
        var dMin = bits == 2 ? Halves.Read(from[82..]) : 0;
        for (var i = 0; i < Size; i++)
        {
            var (half, within) = (i / 128, i % 128);
            var group = i / 16;
            var low = codes[half * 32 + within % 32] >> (within / 32 * 2) & 3;
            if (bits == 2)
            {
                to[i] = d * (from[group] & 15) * low - dMin * (from[group] >> 4);
                continue;
            }
            var high = from[within % 32] >> (half * 4 + within / 32) & 1;
            var scales = from.Slice(96, 12);
            var s = (group < 8 ? scales[group] & 15 : scales[group - 8] >> 4) | (scales[8 + group % 4] >> (group / 4 * 2) & 3) << 4;
            to[i] = d * (s - 32) * (low + high * 4 - 4);
        }
    }

    protected override void EncodeBlock(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, float meanSquare, Span<byte> to) =>
        throw new NotSupportedException($"{Name} is not written");
}
