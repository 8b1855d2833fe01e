using System.Text.Json;

namespace Handbook.Text.Tokenizers;

/// <summary>Reads a decimal number as the reference's JSON library does: not rounded correctly, up to one last bit off.</summary>
/// <remarks>
/// The digits become one integer, as many as fit into 64 bits, and that is multiplied or divided once by a power of ten. Correct rounding
/// would be better anywhere else; here sums of scores decide between pieces, and where they tie the last bit tells which the model knows.
/// </remarks>
internal static class DecimalScore
{
    private static readonly double[] Powers = [.. Enumerable.Range(0, 309).Select(exponent => double.Parse($"1e{exponent}"))];

    public static double Read(JsonElement number) => Parse(System.Runtime.InteropServices.JsonMarshal.GetRawUtf8Value(number));

    /// <param name="text">A JSON number.</param>
    public static double Parse(ReadOnlySpan<byte> text)
    {
        var at = text[0] == '-' ? 1 : 0;
        var significand = 0UL;
        long exponent = 0;
        var full = false;                       // once a digit does not fit, all that follow are left out
        for (; at < text.Length && char.IsAsciiDigit((char)text[at]); at++)
            if (full || !Append(ref significand, text[at]))
                (full, exponent) = (true, exponent + 1);
        // Where the whole part overflowed, digits after the point may fit again: the reference tries each from there.
        if (at < text.Length && text[at] == '.')
        {
            full = false;
            for (at++; at < text.Length && char.IsAsciiDigit((char)text[at]); at++)
                if (!full && Append(ref significand, text[at]))
                    exponent--;
                else
                    full = true;
        }
        if (at < text.Length)
            exponent += Math.Clamp(long.Parse(text[(at + 1)..]), -1_000_000, 1_000_000);
        var value = Scale(significand, exponent);
        return text[0] == '-' ? -value : value;
    }

    private static double Scale(double value, long exponent)
    {
        for (; exponent < -308 && value != 0; exponent += 308)
            value /= Powers[308];
        return value == 0 ? 0
            : exponent > 308 ? double.PositiveInfinity
            : exponent >= 0 ? value * Powers[exponent] : value / Powers[-exponent];
    }

    private static bool Append(ref ulong significand, byte digit)
    {
        var value = (ulong)(digit - '0');
        if (significand > (ulong.MaxValue - value) / 10)
            return false;
        significand = significand * 10 + value;
        return true;
    }
}
