using System.Text.Json;

namespace Handbook.Base;

/// <summary>What is wrong with a text that is not JSON, in words for whoever mends it.</summary>
internal static class JsonMistake
{
    /// <summary>Parts of the parser's sentences, each with what it means; the first that fits counts.</summary>
    private static readonly (string Part, string Meaning)[] s_meanings =
    [
        ("does not contain any JSON tokens", "there is nothing here"),
        ("after a single JSON value", "something stands behind the end of the value"),
        ("Expected depth to be zero", "it ends before every bracket is closed"),
        ("reached end of data", "it ends in the middle of a value"),
        ("Expected end of string", "a text is not closed: a quote is missing"),
        ("within a JSON string", "a text holds a line break or another control character, which JSON writes as \\n, \\t or \\u…"),
        ("invalid escapable character", "a backslash stands before a character that it cannot escape; a backslash itself is written \\\\"),
        ("not a hex digit", "behind \\u four hexadecimal digits are needed"),
        ("trailing comma", "a comma stands before the closing bracket"),
        ("start of a property name", "a name in double quotes is expected"),
        ("after a property name", "a colon is missing behind a name"),
        ("invalid after a value", "a comma or a closing bracket is missing before this"),
        ("without matching open", "a bracket is closed that was not opened"),
        ("invalid JSON literal", "a word stands here without quotes; only true, false and null have none"),
        ("leading zeros", "a number begins with a zero"),
        ("invalid within a number", "a number is not written as JSON writes numbers"),
        ("end of a number", "a number is not written as JSON writes numbers"),
        ("digit", "a number is not written as JSON writes numbers"),
        ("start of a value", "no value begins like this"),
        ("maximum configured depth", "lists and objects are nested too deeply"),
        ("uplicate propert", "a name stands twice in one object"),
    ];

    /// <summary>The mistake as a part of a sentence; its place is the exception's.</summary>
    public static string Of(JsonException failure) =>
        s_meanings.FirstOrDefault(known => failure.Message.Contains(known.Part, StringComparison.Ordinal)).Meaning ?? "it is not JSON";
}
