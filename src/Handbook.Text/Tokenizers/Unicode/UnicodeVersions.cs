namespace Handbook.Text.Tokenizers.Unicode;

/// <summary>The versions of Unicode that the parts of the reference (tokenizers 0.22 and 0.23) have, in tenths: 160 is 16.0.</summary>
/// <remarks>
/// One table, of the newest of them, serves all: a part of an older version does not know the code points that are younger
/// (<see cref="UnicodeTables.Age"/>), and the few whose properties have changed since are listed where they matter. Ids depend on it: a
/// text in a script that a part does not know yet is cut elsewhere. Each version was found by asking the reference about every code point.
/// </remarks>
internal static class UnicodeVersions
{
    /// <summary>unicode_categories 0.1: punctuation, and what BERT's clean-up removes.</summary>
    public const byte Categories = 80;

    /// <summary>unicode-normalization-alignments 0.1: the four forms, combining marks. Also the reference's own table of scripts.</summary>
    public const byte Normalization = 90;

    /// <summary>Oniguruma 6.9.10, regex-syntax 0.8 and unicode-segmentation 1.12: regular expressions, words, grapheme clusters.</summary>
    public const byte Patterns = 160;

    /// <summary>Rust's own characters: lower case, numbers, white space.</summary>
    public const byte Characters = 170;
}
