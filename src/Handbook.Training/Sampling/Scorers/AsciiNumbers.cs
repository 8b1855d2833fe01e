using System.Globalization;
using System.Text;

namespace Handbook.Training.Sampling.Scorers;

/// <summary>Numbers as people write them, in the characters that a parser reads.</summary>
internal static class AsciiNumbers
{
    /// <summary>The text with the decimal digits of every script as 0–9, and their signs, points and commas as <c>- + . ,</c>; all
    /// else stays as it is.</summary>
    public static string In(string text)
    {
        var first = 0;
        while (first < text.Length && char.IsAscii(text[first]))
            first++;
        if (first == text.Length)
            return text;
        var written = new StringBuilder(text.Length).Append(text, 0, first);
        for (var i = first; i < text.Length; i++)
        {
            if (CharUnicodeInfo.GetDecimalDigitValue(text, i) is >= 0 and var digit)
            {
                written.Append((char)('0' + digit));
                i += char.IsSurrogatePair(text, i) ? 1 : 0;
                continue;
            }
            written.Append(text[i] switch
            {
                '−' or '－' or '﹣' => '-',
                '＋' => '+',
                '．' or '٫' => '.',
                '，' or '٬' => ',',
                '／' => '/',
                var other => other,
            });
        }
        return written.ToString();
    }
}
