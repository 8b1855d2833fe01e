namespace Handbook.Text.Tokenizers.Unicode;

/// <summary>Extended grapheme clusters: what a reader takes for one character. Unicode Standard Annex 29, rules GB3 to GB13.</summary>
/// <remarks>Not .NET's text elements: those follow the runtime's version of Unicode and leave rule GB9c out.</remarks>
internal static class GraphemeClusters
{
    private enum Kind : byte
    {
        Any, CarriageReturn, LineFeed, Control, Extend, Joiner, Regional, Prepend, SpacingMark, L, V, T, Lv, Lvt, Pictograph,
    }

    /// <summary>The part of a conjunct, in the bits above the kind.</summary>
    private const byte Consonant = 0x20, Linker = 0x40, Extender = 0x80, KindBits = 0x1F;

    private static readonly CharacterClass Pictographs = UnicodeTables.Property("extendedpictographic")!;
    private static readonly byte[]?[] Pages = new byte[0x1100][];

    /// <summary>The end of the cluster that begins at a place of a text.</summary>
    public static int Next(ReadOnlySpan<int> text, int start)
    {
        var at = start + 1;
        // By far the most text: nothing below U+0300 but a line end and the soft hyphen joins or parts anything.
        if (at == text.Length || (text[start] < 0x300 && text[at] < 0x300 && text[start] != '\r'))
            return at;
        var here = Look(text[start]);
        var left = (Kind)(here & KindBits);
        var regionals = left == Kind.Regional ? 1 : 0;
        var pictograph = left == Kind.Pictograph;          // a pictograph, then only extenders so far
        var conjunct = (here & Consonant) != 0;
        var linked = false;                                 // a consonant with a linker behind it
        for (; at < text.Length; at++)
        {
            var next = Look(text[at]);
            var right = (Kind)(next & KindBits);
            var consonant = (next & Consonant) != 0;
            if (!Joins(left, right, regionals, pictograph) && !(conjunct && linked && consonant))
                break;
            regionals = right == Kind.Regional ? regionals + 1 : 0;
            pictograph = right == Kind.Pictograph || (pictograph && right is Kind.Extend or Kind.Joiner && left != Kind.Joiner);
            if (consonant)
                (conjunct, linked) = (true, false);
            else if ((next & Linker) != 0)
                linked = conjunct;
            else if ((next & Extender) == 0)
                conjunct = false;
            left = right;
        }
        return at;
    }

    private static bool Joins(Kind left, Kind right, int regionals, bool pictograph) => (left, right) switch
    {
        (Kind.CarriageReturn, Kind.LineFeed) => true,
        (Kind.CarriageReturn or Kind.LineFeed or Kind.Control, _) or (_, Kind.CarriageReturn or Kind.LineFeed or Kind.Control) => false,
        (Kind.L, Kind.L or Kind.V or Kind.Lv or Kind.Lvt) or (Kind.Lv or Kind.V, Kind.V or Kind.T) or (Kind.Lvt or Kind.T, Kind.T) => true,
        (_, Kind.Extend or Kind.Joiner or Kind.SpacingMark) or (Kind.Prepend, _) => true,
        (Kind.Joiner, Kind.Pictograph) => pictograph,
        (Kind.Regional, Kind.Regional) => regionals % 2 == 1,
        _ => false,
    };

    private static byte Look(int point) => (Pages[point >> 8] ?? Fill(point >> 8))[point & 0xFF];

    private static byte[] Fill(int number)
    {
        var page = new byte[256];
        for (var i = 0; i < page.Length; i++)
        {
            var point = (number << 8) + i;
            page[i] = (byte)((byte)KindOf(point) | ConjunctOf(point));
        }
        return Pages[number] = page;        // two threads may fill the same page; both write the same bytes
    }

    private static byte ConjunctOf(int point) => UnicodeTables.Conjunct(point, UnicodeVersions.Patterns) switch
    {
        "Consonant" => Consonant,
        "Linker" => Linker,
        "Extend" => Extender,
        _ => 0,
    };

    private static Kind KindOf(int point) => UnicodeTables.Break(point, UnicodeVersions.Patterns) switch
    {
        null => Pictographs.Contains(point) ? Kind.Pictograph : Kind.Any,
        "CR" => Kind.CarriageReturn,
        "LF" => Kind.LineFeed,
        "Control" => Kind.Control,
        "Extend" => Kind.Extend,
        "ZWJ" => Kind.Joiner,
        "Regional_Indicator" => Kind.Regional,
        "Prepend" => Kind.Prepend,
        "SpacingMark" => Kind.SpacingMark,
        "L" => Kind.L,
        "V" => Kind.V,
        "T" => Kind.T,
        "LV" => Kind.Lv,
        _ => Kind.Lvt,
    };
}
