using System.Text.RegularExpressions;

namespace Handbook.Base;

/// <summary>What is wrong with a regular expression, in words for whoever mends it.</summary>
internal static class RegexMistake
{
    /// <summary>The first mistake of an expression that a user wrote; null where it has none.</summary>
    public static string? Of(string pattern, RegexOptions options = RegexOptions.None)
    {
        try
        {
            _ = new Regex(pattern, options);
            return null;
        }
        catch (RegexParseException failure)
        {
            var what = failure.Error switch
            {
                RegexParseError.InsufficientClosingParentheses => "a bracket ( is not closed",
                RegexParseError.InsufficientOpeningParentheses => "a bracket ) is closed that was not opened",
                RegexParseError.UnterminatedBracket => "a set [ is not closed",
                RegexParseError.QuantifierAfterNothing => "a mark of repetition (*, + or ?) has nothing before it",
                RegexParseError.NestedQuantifiersNotParenthesized => "a mark of repetition stands behind another",
                RegexParseError.UnescapedEndingBackslash => "it ends with a lone backslash",
                RegexParseError.ReversedCharacterRange => "a range of characters runs backwards",
                RegexParseError.ReversedQuantifierRange => "a range of repetitions runs backwards",
                RegexParseError.UnrecognizedEscape or RegexParseError.UnrecognizedControlCharacter or RegexParseError.MissingControlCharacter
                    or RegexParseError.InsufficientOrInvalidHexDigits or RegexParseError.UnrecognizedUnicodeProperty
                    or RegexParseError.InvalidUnicodePropertyEscape or RegexParseError.MalformedUnicodePropertyEscape =>
                    "a backslash stands before something that has no meaning there",
                RegexParseError.UndefinedNumberedReference or RegexParseError.UndefinedNamedReference
                    or RegexParseError.AlternationHasUndefinedReference => "it refers to a group that it does not have",
                RegexParseError.InvalidGroupingConstruct or RegexParseError.CaptureGroupNameInvalid => "a group (?… is of no known kind",
                _ => "it cannot be read from here on",
            };
            return $"at character {Math.Min(failure.Offset, pattern.Length)} {what}";
        }
        catch (ArgumentException)
        {
            return "it is too large";
        }
    }
}
