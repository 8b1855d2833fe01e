using System.Text;

namespace Handbook.Text.Tokenizers;

/// <summary>Words for sequences of code points.</summary>
internal static class CodePoints
{
    /// <summary>The code points of a string; lone surrogates become U+FFFD.</summary>
    public static int[] Of(string text)
    {
        var points = new List<int>(text.Length);
        foreach (var rune in text.EnumerateRunes())
            points.Add(rune.Value);
        return [.. points];
    }

    public static string ToText(ReadOnlySpan<int> points)
    {
        var text = new StringBuilder(points.Length);
        foreach (var point in points)
            text.Append(new Rune(point).ToString());
        return text.ToString();
    }

    /// <summary>Number of bytes of a code point in UTF-8.</summary>
    public static int Utf8Length(int point) => point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;

    /// <summary>Writes a code point as UTF-8 and returns the number of bytes.</summary>
    public static int ToUtf8(int point, Span<byte> bytes)
    {
        if (point < 0x80)
        {
            bytes[0] = (byte)point;
            return 1;
        }
        if (point < 0x800)
        {
            bytes[0] = (byte)(0xC0 | (point >> 6));
            bytes[1] = (byte)(0x80 | (point & 0x3F));
            return 2;
        }
        if (point < 0x10000)
        {
            bytes[0] = (byte)(0xE0 | (point >> 12));
            bytes[1] = (byte)(0x80 | ((point >> 6) & 0x3F));
            bytes[2] = (byte)(0x80 | (point & 0x3F));
            return 3;
        }
        bytes[0] = (byte)(0xF0 | (point >> 18));
        bytes[1] = (byte)(0x80 | ((point >> 12) & 0x3F));
        bytes[2] = (byte)(0x80 | ((point >> 6) & 0x3F));
        bytes[3] = (byte)(0x80 | (point & 0x3F));
        return 4;
    }
}
