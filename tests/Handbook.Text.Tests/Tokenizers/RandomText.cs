using CsCheck;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Random text of the kinds that tokenizers treat apart.</summary>
internal static class RandomText
{
    private static readonly string[] Atoms =
    [
        "a", "B", "z", "the", " the", "The", "ing", "'s", "'LL", "’s", "'", "n't", "0", "7", "42", "1234567", "½", "Ⅳ", "②", "٣", "१", "𝟘",
        " ", "  ", "    ", "\n", "\n\n", "\r", "\r\n", "\t", "\u000B", "\u0085", "\u00A0", "\u2003", "\u2028", "\u3000", "\u200B",
        "\uFEFF", "\u00AD", "\0", "\u0007", "\u007F",
        ".", ",", "!?", "...", "…", "-", "--", "_", "(", ")", "$", "+", "=", "~", "^", "`", "|", "<", ">", "«", "。", "、", "：", "／", "•",
        "©",
        "é", "e\u0301", "ё", "ß", "ſ", "İ", "ı", "K", "Å", "ǆ", "ﬀ", "ﬃ", "Σ", "ς", "ΑΣ", "΅", "\u0344", "\u1FED", "\u0327\u0301",
        "\u0301\u0327", "\u0345\u0313", "ḍ\u0307", "q\u0307\u0323",
        "中", "文字", "ア", "ー", "ｱﾞ", "ぱ", "は\u309A", "한", "\u1112\u1161\u11AB", "\u1100\u1161", "กำ", "न\u093F", "क\u094Dष", "த\u0BBF",
        "ب", "שלום", "ﷺ", "ﷲ", "豈", "𠮷", "龜", "㍿", "㏒",
        "😀", "👍🏽", "👩\u200D👩\u200D👧", "🇩🇪", "🇩", "1\uFE0F\u20E3", "♥\uFE0F", "\u200D", "\u200C", "\u20E3", "\uFFFD", "\uFFFF", "\uE000",
        "𝔉", "𝒶", "\U0001F16C", "\u32FF", "\uA7F2", "\U00011938",
        "▁", "▁▁", "Ġ", "Ċ", "Ã", "<s>", "</s>", "<unk>", "<|endoftext|>", "<0x0A>", "<0xE2>", "[MASK]", "[UNK]", "##ing", "<pad>",
    ];

    /// <summary>Any code point but surrogates, those of common blocks more often.</summary>
    private static readonly Gen<string> Point = Gen.OneOf(
        Gen.Int[0x20, 0x7E], Gen.Int[0, 0x24F], Gen.Int[0x300, 0x36F], Gen.Int[0x370, 0x1FFF], Gen.Int[0x2000, 0x33FF],
        Gen.Int[0xA000, 0xD7FF], Gen.Int[0xE000, 0xFFFF],
        Gen.Int[0x10000, 0x1FFFF], Gen.Int[0x20000, 0x10FFFF]).Select(char.ConvertFromUtf32);

    /// <param name="own">Texts of the tokenizer's own: its added tokens and some of its vocabulary.</param>
    /// <param name="atoms">The largest number of atoms of a text.</param>
    public static Gen<string> With(IReadOnlyList<string> own, int atoms = 12)
    {
        var atom = Gen.Frequency((6, Gen.Int[0, Atoms.Length - 1].Select(i => Atoms[i])), (3, Point),
            (own.Count == 0 ? 0 : 3, Gen.Int[0, Math.Max(0, own.Count - 1)].Select(i => own.Count == 0 ? "" : own[i])));
        return atom.Array[0, atoms].Select(string.Concat);
    }

    /// <summary>A text as code points, for a message.</summary>
    public static string Show(string text) =>
        $"{System.Text.Json.JsonSerializer.Serialize(text)} ({string.Join(' ', text.EnumerateRunes().Select(rune => $"{rune.Value:X4}"))})";
}
