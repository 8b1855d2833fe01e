namespace Handbook.Models.Gguf.Blocks;

/// <summary>256 elements in four or five bits each: eight groups of 32, each with a scale and a smallest value in six bits, and a scale for
/// the scales and one for the smallest values.</summary>
/// <remarks><code>
/// x ≈ d·s·q − d_min·m,   s, m in 0 … 63 of each group,   q in 0 … 2^b − 1
/// </code>
/// Bytes: d, d_min, 12 with the s and m, 32 with the fifth bits where there are any, 128 with four bits of each element, 64 elements in 32
/// of them.</remarks>
/// <param name="bits">b, 4 or 5.</param>
/// <param name="steps">The scales that are tried without importances, see <see cref="ScaleSearch.Affine"/>.</param>
internal sealed class AffineSuperBlocks(int code, string name, int bits, (float First, float Step, int Count) steps)
    : BlockedFormat(code, name, 256, 4 + 12 + (bits == 5 ? 32 : 0) + 128)
{
    private const int Groups = 8, Group = 32, Scales = 4, High = 16;

    private readonly int _low = bits == 5 ? High + 32 : High;
    private readonly int _limit = (1 << bits) - 1;

    protected override void DecodeBlock(ReadOnlySpan<byte> from, Span<float> to)
    {
        var (d, dMin) = (Halves.Read(from), Halves.Read(from[2..]));
        for (var g = 0; g < Groups; g++)
        {
            var (s, m) = Unpack(from.Slice(Scales, 12), g);
            var (scale, min) = (d * s, dMin * m);
            for (var i = 0; i < Group; i++)
                to[g * Group + i] = scale * CodeOf(from, g, i) - min;
        }
    }

    private int CodeOf(ReadOnlySpan<byte> from, int group, int i)
    {
        var half = from[_low + group / 2 * 32 + i];
        var low = group % 2 == 0 ? half & 15 : half >> 4;
        return bits == 5 ? low + (from[High + i] >> group & 1) * 16 : low;
    }

    protected override void EncodeBlock(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, float meanSquare, Span<byte> to)
    {
        to.Clear();
        Span<byte> codes = stackalloc byte[Size];
        Span<float> scales = stackalloc float[Groups], mins = stackalloc float[Groups], sums = stackalloc float[Groups];
        Span<float> weights = stackalloc float[Group];
        var all = importance.IsEmpty ? 0 : 2 * Squares(from) / Size;
        for (var g = 0; g < Groups; g++)
        {
            var x = from.Slice(g * Group, Group);
            var own = importance.IsEmpty ? MathF.Sqrt(Squares(x) / Group) : 0;
            sums[g] = 0;
            for (var i = 0; i < Group; i++)
            {
                weights[i] = importance.IsEmpty ? own + MathF.Abs(x[i]) : importance[g * Group + i] * MathF.Sqrt(all + x[i] * x[i]);
                sums[g] += weights[i];
            }
            (scales[g], mins[g]) = ScaleSearch.Affine(x, _limit, weights, codes.Slice(g * Group, Group),
                importance.IsEmpty ? steps : (-0.9f, 0.05f, 36));
        }
        Span<byte> s = stackalloc byte[Groups], m = stackalloc byte[Groups];
        var (d, dMin) = importance.IsEmpty ? (Largest(scales, s), Largest(mins, m))
            : (ScaleSearch.Positive(scales, 63, sums, s), ScaleSearch.Positive(mins, 63, sums, m));
        Halves.Write(to, d);
        Halves.Write(to[2..], dMin);
        for (var g = 0; g < Groups; g++)
            Pack(to.Slice(Scales, 12), g, s[g], m[g]);
        Recode(from, to, codes);
    }

    /// <summary>The codes that go with the scales as they were rounded.</summary>
    private void Recode(ReadOnlySpan<float> from, Span<byte> to, Span<byte> codes)
    {
        var (d, dMin) = (Halves.Read(to), Halves.Read(to[2..]));
        for (var g = 0; g < Groups; g++)
        {
            var (s, m) = Unpack(to.Slice(Scales, 12), g);
            var (scale, min) = (d * s, dMin * m);
            for (var i = 0; i < Group; i++)
            {
                var at = g * Group + i;
                if (scale != 0)
                    codes[at] = (byte)Math.Clamp(ScaleSearch.Nearest((from[at] + min) / scale), 0, _limit);
                to[_low + g / 2 * 32 + i] |= (byte)((codes[at] & 15) << (g % 2 * 4));
                if (bits == 5)
                    to[High + i] |= (byte)(codes[at] >> 4 << g);
            }
        }
    }

    private static float Squares(ReadOnlySpan<float> x)
    {
        var sum = 0f;
        foreach (var value in x)
            sum += value * value;
        return sum;
    }

    /// <summary>Codes with the largest at 63.</summary>
    private static float Largest(ReadOnlySpan<float> values, Span<byte> codes)
    {
        var max = 0f;
        foreach (var value in values)
            max = MathF.Max(max, value);
        var inverse = max > 0 ? 63 / max : 0;
        for (var g = 0; g < Groups; g++)
            codes[g] = (byte)Math.Min(63, ScaleSearch.Nearest(inverse * values[g]));
        return max / 63;
    }

    /// <summary>The first four groups have six bits of a byte each; the others four bits of one, and two above the first ones'.</summary>
    private static void Pack(Span<byte> packed, int group, byte s, byte m)
    {
        if (group < 4)
        {
            packed[group] |= s;
            packed[group + 4] |= m;
            return;
        }
        packed[group + 4] = (byte)(s & 15 | (m & 15) << 4);
        packed[group - 4] |= (byte)(s >> 4 << 6);
        packed[group] |= (byte)(m >> 4 << 6);
    }

    private static (int Scale, int Min) Unpack(ReadOnlySpan<byte> packed, int group) => group < 4
        ? (packed[group] & 63, packed[group + 4] & 63)
        : (packed[group + 4] & 15 | packed[group - 4] >> 6 << 4, packed[group + 4] >> 4 | packed[group] >> 6 << 4);
}
