using System.Globalization;
using System.Text;

namespace Handbook.Data.Inspection;

/// <summary>The scripts of texts, by blocks of Unicode: which alphabet it is says which languages it can be.</summary>
internal static class Scripts
{
    private static readonly (int From, int To, string Name)[] s_blocks =
    [
        (0x0041, 0x024F, "Latin"), (0x0370, 0x03FF, "Greek"), (0x0400, 0x052F, "Cyrillic"), (0x0530, 0x058F, "Armenian"),
        (0x0590, 0x05FF, "Hebrew"), (0x0600, 0x077F, "Arabic"), (0x0900, 0x097F, "Devanagari"), (0x0980, 0x0DFF, "other Indic"),
        (0x0E00, 0x0E7F, "Thai"), (0x0E80, 0x0FFF, "Lao and Tibetan"), (0x10A0, 0x10FF, "Georgian"), (0x1100, 0x11FF, "Hangul"),
        (0x1200, 0x139F, "Ethiopic"), (0x1E00, 0x1EFF, "Latin"), (0x1F00, 0x1FFF, "Greek"), (0x3040, 0x30FF, "Kana"),
        (0x3130, 0x318F, "Hangul"), (0x3400, 0x9FFF, "Han"), (0xAC00, 0xD7AF, "Hangul"), (0xF900, 0xFAFF, "Han"), (0x20000, 0x3FFFF, "Han"),
    ];

    /// <summary>The script in which most of a text's letters are; null where it has none. Kana beside Han is Kana: only Japanese mixes
    /// them.</summary>
    public static string? Of(string text)
    {
        var counts = new Dictionary<string, int>();
        foreach (var rune in text.EnumerateRunes())
            if (rune.IsAscii ? Rune.IsLetter(rune) : Rune.GetUnicodeCategory(rune) is >= UnicodeCategory.UppercaseLetter and <= UnicodeCategory.OtherLetter)
                System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(counts, rune.IsAscii ? "Latin" : Name(rune.Value), out _)++;
        if (counts.GetValueOrDefault("Kana") * 10 > counts.GetValueOrDefault("Han") && counts.Remove("Han", out var han))
            counts["Kana"] += han;
        return counts.Count == 0 ? null : counts.MaxBy(entry => entry.Value).Key;
    }

    private static string Name(int code)
    {
        foreach (var (from, to, name) in s_blocks)
            if (code >= from && code <= to)
                return name;
        return "another script";
    }
}
