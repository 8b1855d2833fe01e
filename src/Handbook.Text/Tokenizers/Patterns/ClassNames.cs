using System.Globalization;
using Handbook.Text.Tokenizers.Unicode;
using static System.Globalization.UnicodeCategory;

namespace Handbook.Text.Tokenizers.Patterns;

/// <summary>The sets of code points that regular expressions name: \d, \p{Lu}, \p{Han}, [:alpha:] ….</summary>
internal static class ClassNames
{
    private static readonly Dictionary<string, UnicodeCategory[]> Categories = BuildCategories();

    public static readonly CharacterClass Digit = Of(DecimalDigitNumber);
    public static readonly CharacterClass Space = new(Properties.IsWhiteSpace);

    /// <summary>\w and \b outside brackets: there Oniguruma counts the superscripts and fractions of Latin-1 as word characters.</summary>
    public static readonly CharacterClass Word = new(point => IsWord(point) || point is 0xB2 or 0xB3 or 0xB9 or 0xBC or 0xBD or 0xBE);

    public static readonly CharacterClass WordInClass = new(IsWord);
    public static readonly CharacterClass HexDigit = new(point => point < 0x80 && char.IsAsciiHexDigit((char)point));
    public static readonly CharacterClass Any = new(_ => true);
    public static readonly CharacterClass NotNewline = new(point => point != '\n');

    /// <summary>The set of a \p{…} or [:…:] name; null where it is unknown.</summary>
    public static CharacterClass? Find(string name)
    {
        var key = UnicodeTables.Normalize(name);
        foreach (var prefix in new[] { "script=", "sc=", "generalcategory=", "gc=" })
            if (key.StartsWith(prefix, StringComparison.Ordinal))
                key = key[prefix.Length..];
        return Categories.TryGetValue(key, out var categories) ? Of(categories) : key switch
        {
            "alpha" => UnicodeTables.Property("alphabetic"),
            "upper" => UnicodeTables.Property("uppercase"),
            "lower" or "lowercase" => Lower(),
            "digit" => Digit,
            "alnum" => Alnum(),
            "space" or "whitespace" => Space,
            "word" => WordInClass,
            "xdigit" => HexDigit,
            "blank" => new(point => point == '\t' || Properties.Category(point) == SpaceSeparator),
            "cntrl" => Of(Control),
            // Oniguruma counts the symbols of all scripts since 6.9.10, as it always did those of ASCII.
            "punct" => new(point => Properties.Category(point) is >= ConnectorPunctuation and <= OtherSymbol),
            "graph" => new(point =>
                !Properties.IsWhiteSpace(point) && Properties.Category(point) is not (Control or OtherNotAssigned or Surrogate)),
            "print" => new(point => Properties.Category(point) == SpaceSeparator
                || (!Properties.IsWhiteSpace(point) && Properties.Category(point) is not (Control or OtherNotAssigned or Surrogate))),
            "ascii" => new(point => point < 0x80),
            "any" => Any,
            "assigned" => new(point => Properties.Category(point) != OtherNotAssigned),
            _ => UnicodeTables.Property(key),
        };
    }

    private static bool IsWord(int point)
    {
        var category = Properties.Category(point);
        return category is <= DecimalDigitNumber or LetterNumber or ConnectorPunctuation || Properties.IsCircledLetter(point);
    }

    /// <summary>Lowercase; U+0295 lost it after Oniguruma's version of Unicode.</summary>
    private static CharacterClass Lower()
    {
        var lowercase = UnicodeTables.Property("lowercase")!;
        return new(point => lowercase.Contains(point) || point == 0x295);
    }

    private static CharacterClass Alnum()
    {
        var alphabetic = UnicodeTables.Property("alphabetic")!;
        return new(point => alphabetic.Contains(point) || Digit.Contains(point));
    }

    private static CharacterClass Of(params UnicodeCategory[] categories)
    {
        var mask = 0;
        foreach (var category in categories)
            mask |= 1 << (int)category;
        return new(point => (mask >> (int)Properties.Category(point) & 1) != 0);
    }

    private static Dictionary<string, UnicodeCategory[]> BuildCategories()
    {
        var names = new Dictionary<string, UnicodeCategory[]>();
        Add("Lu Uppercase_Letter", UppercaseLetter);
        Add("Ll Lowercase_Letter", LowercaseLetter);
        Add("Lt Titlecase_Letter", TitlecaseLetter);
        Add("LC Cased_Letter", UppercaseLetter, LowercaseLetter, TitlecaseLetter);
        Add("Lm Modifier_Letter", ModifierLetter);
        Add("Lo Other_Letter", OtherLetter);
        Add("L Letter", UppercaseLetter, LowercaseLetter, TitlecaseLetter, ModifierLetter, OtherLetter);
        Add("Mn Nonspacing_Mark", NonSpacingMark);
        Add("Mc Spacing_Mark", SpacingCombiningMark);
        Add("Me Enclosing_Mark", EnclosingMark);
        Add("M Mark Combining_Mark", NonSpacingMark, SpacingCombiningMark, EnclosingMark);
        Add("Nd Decimal_Number", DecimalDigitNumber);
        Add("Nl Letter_Number", LetterNumber);
        Add("No Other_Number", OtherNumber);
        Add("N Number", DecimalDigitNumber, LetterNumber, OtherNumber);
        Add("Pc Connector_Punctuation", ConnectorPunctuation);
        Add("Pd Dash_Punctuation", DashPunctuation);
        Add("Ps Open_Punctuation", OpenPunctuation);
        Add("Pe Close_Punctuation", ClosePunctuation);
        Add("Pi Initial_Punctuation", InitialQuotePunctuation);
        Add("Pf Final_Punctuation", FinalQuotePunctuation);
        Add("Po Other_Punctuation", OtherPunctuation);
        Add("P Punctuation", ConnectorPunctuation, DashPunctuation, OpenPunctuation, ClosePunctuation, InitialQuotePunctuation,
            FinalQuotePunctuation, OtherPunctuation);
        Add("Sm Math_Symbol", MathSymbol);
        Add("Sc Currency_Symbol", CurrencySymbol);
        Add("Sk Modifier_Symbol", ModifierSymbol);
        Add("So Other_Symbol", OtherSymbol);
        Add("S Symbol", MathSymbol, CurrencySymbol, ModifierSymbol, OtherSymbol);
        Add("Zs Space_Separator", SpaceSeparator);
        Add("Zl Line_Separator", LineSeparator);
        Add("Zp Paragraph_Separator", ParagraphSeparator);
        Add("Z Separator", SpaceSeparator, LineSeparator, ParagraphSeparator);
        Add("Cc Control", Control);
        Add("Cf Format", Format);
        Add("Cs Surrogate", Surrogate);
        Add("Co Private_Use", PrivateUse);
        Add("Cn Unassigned", OtherNotAssigned);
        Add("C Other", Control, Format, Surrogate, PrivateUse, OtherNotAssigned);
        return names;

        void Add(string list, params UnicodeCategory[] categories)
        {
            foreach (var name in list.Split(' '))
                names[UnicodeTables.Normalize(name)] = categories;
        }
    }
}
