namespace Handbook.Text.Tokenizers.Unicode;

/// <summary>Extended grapheme clusters: what a reader takes for one character. Unicode Standard Annex 29, rules GB3 to GB13.</summary>
/// <remarks>Not .NET's text elements: those follow the runtime's version of Unicode and leave rule GB9c out.</remarks>
internal static class GraphemeClusters
{
    private enum Kind : byte
    {
        Any, CarriageReturn, LineFeed, Control, Extend, Joiner, Regional, Prepend, SpacingMark, L, V, T, Lv, Lvt, Pictograph,
    }

    private static readonly CharacterClass Pictographs = UnicodeTables.Property("extendedpictographic")!;

    /// <summary>The end of the cluster that begins at a place of a text.</summary>
    public static int Next(ReadOnlySpan<int> text, int start)
    {
        var at = start + 1;
        // By far the most text: nothing below U+0300 but a line end and the soft hyphen joins or parts anything.
        if (at == text.Length || (text[start] < 0x300 && text[at] < 0x300 && text[start] != '\r'))
            return at;
        var left = KindOf(text[start]);
        var regionals = left == Kind.Regional ? 1 : 0;
        var pictograph = left == Kind.Pictograph;          // a pictograph, then only extenders so far
        var conjunct = IsConjunct(text[start], "Consonant");
        var linked = false;                                 // a consonant with a linker behind it
        for (; at < text.Length; at++)
        {
            var right = KindOf(text[at]);
            var consonant = right == Kind.Any && IsConjunct(text[at], "Consonant");
            if (!Joins(left, right, regionals, pictograph) && !(conjunct && linked && consonant))
                break;
            regionals = right == Kind.Regional ? regionals + 1 : 0;
            pictograph = right == Kind.Pictograph || (pictograph && right is Kind.Extend or Kind.Joiner && left != Kind.Joiner);
            if (consonant)
                (conjunct, linked) = (true, false);
            else if (conjunct && IsConjunct(text[at], "Linker"))
                linked = true;
            else if (!IsConjunct(text[at], "Extend"))
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

    private static bool IsConjunct(int point, string part) => point >= 0x300 && UnicodeTables.Conjunct(point, UnicodeVersions.Patterns) == part;

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
