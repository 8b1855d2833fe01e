using System.Globalization;
using System.Text.Unicode;

namespace Handbook.Text.Tokenizers;

/// <summary>What makes the text of a JSON file no Unicode: bytes that are no UTF-8, or an escape that is half a character.</summary>
/// <param name="Line">Line of the file, from 1.</param>
/// <param name="What">The mistake.</param>
internal sealed record UnicodeMistake(int Line, string What)
{
    private const int EscapeLength = 6;

    /// <summary>The first mistake; null where there is none.</summary>
    public static UnicodeMistake? Find(ReadOnlySpan<byte> json)
    {
        if (!Utf8.IsValid(json))
        {
            var valid = 0;
            while (valid < json.Length && System.Text.Rune.DecodeFromUtf8(json[valid..], out _, out var length)
                == System.Buffers.OperationStatus.Done)
                valid += length;
            return new(LineOf(json, valid), $"byte 0x{json[Math.Min(valid, json.Length - 1)]:X2} is not UTF-8");
        }
        for (var at = 0; json[at..].IndexOf("\\u"u8) is >= 0 and var next;)
        {
            at += next;
            if (IsEscaped(json, at) || Escape(json, at) is not { } first)
            {
                at += 2;
                continue;
            }
            var isPair = char.IsHighSurrogate(first) && Escape(json, at + EscapeLength) is { } second && char.IsLowSurrogate(second);
            if (char.IsSurrogate(first) && !isPair)
                return new(LineOf(json, at), $"\\u{(int)first:x4} is half of a surrogate pair, and the other half is not beside it");
            at += isPair ? 2 * EscapeLength : EscapeLength;
        }
        return null;
    }

    /// <summary>Whether the backslash is the second of two.</summary>
    private static bool IsEscaped(ReadOnlySpan<byte> json, int at)
    {
        var count = 0;
        while (at > count && json[at - count - 1] == '\\')
            count++;
        return count % 2 == 1;
    }

    /// <summary>What an escape stands for; null where it is none, which the parser tells of.</summary>
    private static char? Escape(ReadOnlySpan<byte> json, int at) => at + EscapeLength <= json.Length && json[at..].StartsWith("\\u"u8)
        && ushort.TryParse(json.Slice(at + 2, EscapeLength - 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var unit)
            ? (char)unit : null;

    private static int LineOf(ReadOnlySpan<byte> json, int at) => json[..at].Count((byte)'\n') + 1;
}
