using System.Globalization;
using System.Text;

namespace Handbook.Text.Templates;

/// <summary>Python's text is a row of code points, .NET's a row of UTF-16 units: what differs, and what Python's methods mean.</summary>
internal static class PyText
{
    public static string? Of(object? value) => value as string ?? (value as Markup)?.Text;

    public static bool HasPairs(string text) => text.AsSpan().IndexOfAnyInRange('\uD800', '\uDFFF') >= 0;

    /// <summary>Length in code points.</summary>
    public static int Length(ReadOnlySpan<char> text)
    {
        var first = text.IndexOfAnyInRange('\uD800', '\uDFFF');
        if (first < 0)
            return text.Length;
        var length = text.Length;
        for (var i = first; i + 1 < text.Length; i++)
            if (char.IsSurrogatePair(text[i], text[i + 1]))
            {
                length--;
                i++;
            }
        return length;
    }

    /// <summary>The text's code points, each as its own text.</summary>
    public static IEnumerable<string> Letters(string text)
    {
        for (var i = 0; i < text.Length; i++)
            yield return char.IsSurrogatePair(text, i) ? text.Substring(i++, 2) : Letter(text[i]);
    }

    private static readonly string[] _ascii = [.. Enumerable.Range(0, 128).Select(i => ((char)i).ToString())];

    public static string Letter(char letter) => letter < 128 ? _ascii[letter] : letter.ToString();

    /// <summary>UTF-16 index of a code point index; the text's length where it is beyond the end.</summary>
    public static int Offset(string text, int index)
    {
        if (!HasPairs(text))
            return Math.Min(index, text.Length);
        var at = 0;
        while (index-- > 0 && at < text.Length)
            at += char.IsSurrogatePair(text, at) ? 2 : 1;
        return at;
    }

    public static string Slice(string text, PySlice slice)
    {
        var (first, count, step) = slice.Resolve(Length(text));
        if (count == 0)
            return "";
        if (step == 1)
        {
            var start = Offset(text, first);
            return HasPairs(text) ? text[start..(start + Offset(text[start..], count))] : text.Substring(start, count);
        }
        var letters = Letters(text).ToArray();
        var result = new StringBuilder(count);
        for (var i = 0; i < count; i++)
            result.Append(letters[first + (i * step)]);
        return result.ToString();
    }

    public static string Reverse(string text) => Slice(text, new PySlice(null, null, -1L));

    /// <summary>Order by code points; UTF-16 order differs above U+FFFF.</summary>
    public static int Compare(string left, string right)
    {
        var same = left.AsSpan().CommonPrefixLength(right);
        if (same == left.Length || same == right.Length)
            return left.Length.CompareTo(right.Length);
        char a = left[same], b = right[same];
        return char.IsSurrogate(a) != char.IsSurrogate(b) ? (char.IsSurrogate(a) ? 1 : -1) : a.CompareTo(b);
    }

    public static bool IsSpace(char letter) => letter is >= '\u001c' and <= '\u001f' || char.IsWhiteSpace(letter);

    public static bool IsLineEnd(char letter) =>
        letter is (>= '\n' and <= '\r') or (>= '\u001c' and <= '\u001e') or '\u0085' or '\u2028' or '\u2029';

    public static bool IsPrintable(Rune rune) =>
        rune.Value == ' ' || Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.Control or UnicodeCategory.Format
        or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned
        or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.SpaceSeparator);

    /// <param name="letters">What to strip; null strips whitespace.</param>
    public static string Strip(string text, string? letters = null, bool left = true, bool right = true)
    {
        int start = 0, end = text.Length;
        if (letters is null)
        {
            while (left && start < end && IsSpace(text[start]))
                start++;
            while (right && end > start && IsSpace(text[end - 1]))
                end--;
        }
        else
        {
            while (left && start < end && letters.Contains(text[start]) && Rune.TryGetRuneAt(text, start, out var rune)
                && letters.Contains(rune.ToString(), StringComparison.Ordinal))
                start += rune.Utf16SequenceLength;
            while (right && end > start && letters.Contains(text[end - 1]))
            {
                var from = end - (end - start > 1 && char.IsSurrogatePair(text[end - 2], text[end - 1]) ? 2 : 1);
                if (!letters.Contains(text[from..end], StringComparison.Ordinal))
                    break;
                end = from;
            }
        }
        return start == 0 && end == text.Length ? text : text[start..end];
    }

    public static List<string> SplitLines(string text, bool keepEnds = false)
    {
        var lines = new List<string>();
        for (var start = 0; start < text.Length;)
        {
            var end = start;
            while (end < text.Length && !IsLineEnd(text[end]))
                end++;
            var next = end < text.Length ? end + (text[end] == '\r' && end + 1 < text.Length && text[end + 1] == '\n' ? 2 : 1) : end;
            lines.Add(text[start..(keepEnds ? next : end)]);
            start = next;
        }
        return lines;
    }

    /// <param name="separator">Null splits at runs of whitespace and drops what is empty.</param>
    /// <param name="most">Most splits; negative for all.</param>
    public static List<string> Split(string text, string? separator, long most, bool fromRight)
    {
        if (separator is null)
            return SplitSpaces(text, most, fromRight);
        if (separator.Length == 0)
            throw JinjaException.Value("empty separator");
        var parts = new List<string>();
        if (fromRight)
        {
            var end = text.Length;
            while (most-- != 0 && end >= separator.Length
                && text.LastIndexOf(separator, end - 1, end, StringComparison.Ordinal) is var at and >= 0)
            {
                parts.Add(text[(at + separator.Length)..end]);
                end = at;
            }
            parts.Add(text[..end]);
            parts.Reverse();
            return parts;
        }
        var start = 0;
        while (most-- != 0 && text.IndexOf(separator, start, StringComparison.Ordinal) is var at and >= 0)
        {
            parts.Add(text[start..at]);
            start = at + separator.Length;
        }
        parts.Add(text[start..]);
        return parts;
    }

    private static List<string> SplitSpaces(string text, long most, bool fromRight)
    {
        var parts = new List<string>();
        if (fromRight)
        {
            var end = text.Length;
            while (true)
            {
                while (end > 0 && IsSpace(text[end - 1]))
                    end--;
                if (end == 0)
                    break;
                if (most-- == 0)
                {
                    parts.Add(text[..end]);
                    break;
                }
                var start = end;
                while (start > 0 && !IsSpace(text[start - 1]))
                    start--;
                parts.Add(text[start..end]);
                end = start;
            }
            parts.Reverse();
            return parts;
        }
        for (var at = 0; ;)
        {
            while (at < text.Length && IsSpace(text[at]))
                at++;
            if (at == text.Length)
                return parts;
            if (most-- == 0)
            {
                parts.Add(text[at..]);
                return parts;
            }
            var end = at;
            while (end < text.Length && !IsSpace(text[end]))
                end++;
            parts.Add(text[at..end]);
            at = end;
        }
    }

    public static string Replace(string text, string old, string replacement, long most)
    {
        Budget.Text(text.Length);
        if (most == 0 || (old.Length > 0 && !text.Contains(old, StringComparison.Ordinal)))
            return text;
        var result = new StringBuilder();
        if (old.Length == 0)
        {
            foreach (var letter in Letters(text))
            {
                if (most-- != 0)
                    result.Append(replacement);
                else
                    most = 0;
                result.Append(letter);
                Budget.CheckLength(result.Length);
            }
            return (most != 0 ? result.Append(replacement) : result).ToString();
        }
        var start = 0;
        while (most-- != 0 && text.IndexOf(old, start, StringComparison.Ordinal) is var at and >= 0)
        {
            result.Append(text, start, at - start).Append(replacement);
            Budget.CheckLength(result.Length);
            start = at + old.Length;
        }
        return result.Append(text, start, text.Length - start).ToString();
    }

    public static string Repeat(string text, long count)
    {
        if (count <= 0 || text.Length == 0)
            return "";
        Budget.CheckLength(count);
        Budget.Text(text.Length * count);
        return new StringBuilder(text.Length * (int)count).Insert(0, text, (int)count).ToString();
    }

    /// <summary>Pads to a width in code points; <paramref name="share"/> of the padding, in halves, goes left: 0
    /// none, 1 half, 2 all.</summary>
    public static string Pad(string text, long width, string fill, int share)
    {
        var length = Length(text);
        var padding = width - length;
        if (padding <= 0)
            return text;
        Budget.Text(width);
        // Python's center puts the odd one left only where the width is odd as well.
        var left = share switch { 0 => 0, 1 => (padding / 2) + (padding & width & 1), _ => padding };
        return Repeat(fill, left) + text + Repeat(fill, padding - left);
    }

    public static string Upper(string text)
    {
        Budget.Text(text.Length);
        return Ascii.IsValid(text) ? text.ToUpperInvariant() : Map(text, UpperRune);
    }

    public static string Lower(string text)
    {
        Budget.Text(text.Length);
        if (Ascii.IsValid(text))
            return text.ToLowerInvariant();
        var runes = text.EnumerateRunes().ToArray();
        var result = new StringBuilder(text.Length);
        for (var i = 0; i < runes.Length; i++)
            result.Append(LowerRune(runes, i));
        return result.ToString();
    }

    public static string Fold(string text)
    {
        Budget.Text(text.Length);
        return Map(text, rune => CaseTables.Fold.TryGetValue(rune.Value, out var special) ? special : SimpleLower(rune));
    }

    public static string Title(string text)
    {
        Budget.Text(text.Length);
        var runes = text.EnumerateRunes().ToArray();
        var result = new StringBuilder(text.Length);
        var inWord = false;
        for (var i = 0; i < runes.Length; i++)
        {
            result.Append(inWord ? LowerRune(runes, i) : TitleRune(runes[i]));
            inWord = IsCased(runes[i]);
        }
        return result.ToString();
    }

    public static string Capitalize(string text)
    {
        Budget.Text(text.Length);
        var runes = text.EnumerateRunes().ToArray();
        var result = new StringBuilder(text.Length);
        for (var i = 0; i < runes.Length; i++)
            result.Append(i == 0 ? TitleRune(runes[i]) : LowerRune(runes, i));
        return result.ToString();
    }

    public static string SwapCase(string text)
    {
        Budget.Text(text.Length);
        var runes = text.EnumerateRunes().ToArray();
        var result = new StringBuilder(text.Length);
        for (var i = 0; i < runes.Length; i++)
            result.Append(IsUpper(runes[i]) ? LowerRune(runes, i) : IsLower(runes[i]) ? UpperRune(runes[i]) : runes[i].ToString());
        return result.ToString();
    }

    public static bool IsUpper(Rune rune) => Rune.GetUnicodeCategory(rune) == UnicodeCategory.UppercaseLetter
        || rune.Value is (>= 0x2160 and <= 0x216F) or (>= 0x24B6 and <= 0x24CF);

    public static bool IsLower(Rune rune) => Rune.GetUnicodeCategory(rune) == UnicodeCategory.LowercaseLetter
        || rune.Value is 0xAA or 0xBA or (>= 0x2B0 and <= 0x2B8) or 0x2C0 or 0x2C1 or (>= 0x2E0 and <= 0x2E4) or (>= 0x2170 and
            <= 0x217F) or (>= 0x24D0 and <= 0x24E9);

    public static bool IsCased(Rune rune) => IsUpper(rune) || IsLower(rune)
        || Rune.GetUnicodeCategory(rune) == UnicodeCategory.TitlecaseLetter;

    private static string Map(string text, Func<Rune, string> map)
    {
        var result = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes())
            result.Append(map(rune));
        return result.ToString();
    }

    private static string UpperRune(Rune rune) => CaseTables.Upper.TryGetValue(rune.Value, out var special) ? special
        : Rune.ToUpperInvariant(rune).ToString();

    private static string TitleRune(Rune rune) => CaseTables.Title.TryGetValue(rune.Value, out var special) ? special
        : rune.Value is >= 0x10D0 and <= 0x10FF ? rune.ToString() // Georgian has no title case of its own
        : UpperRune(rune);

    private static string SimpleLower(Rune rune) => rune.Value == 0x130 ? "i\u0307" : Rune.ToLowerInvariant(rune).ToString();

    private static string LowerRune(Rune[] runes, int at)
    {
        if (runes[at].Value != 0x3A3)
            return SimpleLower(runes[at]);
        // Sigma at the end of a word: a cased letter before it and none after, letting pass what does not count.
        var before = at - 1;
        while (before >= 0 && IsCaseIgnorable(runes[before]))
            before--;
        var after = at + 1;
        while (after < runes.Length && IsCaseIgnorable(runes[after]))
            after++;
        return before >= 0 && IsCased(runes[before]) && !(after < runes.Length && IsCased(runes[after])) ? "\u03C2" : "\u03C3";
    }

    private static bool IsCaseIgnorable(Rune rune) => rune.Value is '\'' or '.' or ':' or '^' or '`' or 0xB7 or 0x2019
        || Rune.GetUnicodeCategory(rune)
            is UnicodeCategory.NonSpacingMark or UnicodeCategory.EnclosingMark or UnicodeCategory.Format or UnicodeCategory.ModifierLetter or UnicodeCategory.ModifierSymbol;
}
