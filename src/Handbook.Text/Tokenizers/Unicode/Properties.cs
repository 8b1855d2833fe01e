using System.Globalization;
using static System.Globalization.UnicodeCategory;

namespace Handbook.Text.Tokenizers.Unicode;

/// <summary>Properties of code points as the regular expressions and pre-tokenizers of tokenizer files mean them.</summary>
internal static class Properties
{
    /// <summary>The category as regular expressions have it.</summary>
    public static UnicodeCategory Category(int point) => UnicodeTables.Category(point, UnicodeVersions.Patterns);

    private static readonly CharacterClass Letters = new(p => Category(p) <= OtherLetter);
    private static readonly CharacterClass Numbers = new(p => IsNumber(Category(p)));
    private static readonly CharacterClass Numeric = new(p => IsNumber(UnicodeTables.Category(p, UnicodeVersions.Characters)));
    private static readonly CharacterClass Marks = new(p => UnicodeTables.Category(p, UnicodeVersions.Normalization)
        is NonSpacingMark or SpacingCombiningMark or EnclosingMark);

    private static readonly CharacterClass Words = new(p => Category(p) is <= DecimalDigitNumber or LetterNumber or ConnectorPunctuation
        || IsCircledLetter(p) || p is 0x200C or 0x200D);

    private static readonly CharacterClass Punctuation = new(p => OldCategory(p) is >= ConnectorPunctuation and <= OtherPunctuation
        || p is '$' or '+' or '<' or '=' or '>' or '^' or '`' or '|' or '~');

    private static readonly CharacterClass Accents = new(p => OldCategory(p) == NonSpacingMark);
    private static readonly CharacterClass Others = new(p => OldCategory(p) is Control or Format or PrivateUse or Surrogate);

    /// <summary>\p{L}.</summary>
    public static bool IsLetter(int point) => Letters.Contains(point);

    /// <summary>\p{N}: decimal digits, letter numbers and others such as ½, Ⅳ and ②.</summary>
    public static bool IsNumber(int point) => Numbers.Contains(point);

    /// <summary>As <see cref="IsNumber(int)"/>, by Rust's own newer table.</summary>
    public static bool IsNumeric(int point) => Numeric.Contains(point);

    /// <summary>White_Space.</summary>
    public static bool IsWhiteSpace(int point) => point switch
    {
        <= 0x20 => point is 0x20 or (>= 9 and <= 13),
        < 0x1680 => point is 0x85 or 0xA0,
        _ => point is 0x1680 or (>= 0x2000 and <= 0x200A) or 0x2028 or 0x2029 or 0x202F or 0x205F or 0x3000,
    };

    /// <summary>A word character as around added tokens: alphabetic, marks, decimal digits, connectors, joiners.</summary>
    public static bool IsWord(int point) => Words.Contains(point);

    /// <summary>Symbols that count as alphabetic.</summary>
    public static bool IsCircledLetter(int point) =>
        point is (>= 0x24B6 and <= 0x24E9) or (>= 0x1F130 and <= 0x1F149) or (>= 0x1F150 and <= 0x1F169) or (>= 0x1F170 and <= 0x1F189);

    /// <summary>A combining mark, for those that strip accents.</summary>
    public static bool IsMark(int point) => Marks.Contains(point);

    /// <summary>An accent as BERT strips it.</summary>
    public static bool IsAccent(int point) => Accents.Contains(point);

    /// <summary>What BERT's clean-up removes: control, format, private use.</summary>
    public static bool IsOther(int point) => Others.Contains(point);

    /// <summary>Punctuation, with the ASCII symbols that programmers call so.</summary>
    public static bool IsPunctuation(int point) => Punctuation.Contains(point);

    private static bool IsNumber(UnicodeCategory category) => category is DecimalDigitNumber or LetterNumber or OtherNumber;

    private static UnicodeCategory OldCategory(int point) => UnicodeTables.Category(point, UnicodeVersions.Categories);
}
