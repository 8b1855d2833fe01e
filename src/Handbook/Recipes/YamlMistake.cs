using System.Text.RegularExpressions;

namespace Handbook.Recipes;

/// <summary>What is wrong with a text that is not YAML, in words for whoever mends it.</summary>
internal static partial class YamlMistake
{
    private const string Line = "write `key: value`, with a space behind the colon; put quotes around text with : # { [ in it";

    /// <summary>Parts of the parser's sentences, each with what it means and what to do; the first that fits counts.</summary>
    private static readonly (string Part, string What, string Fix)[] s_known =
    [
        ("flow sequence", "a list is opened with [ and not closed, or a comma is missing in it", "write [first, second]"),
        ("flow mapping", "a map is opened with { and not closed, or a comma is missing in it", "write {first: 1, second: 2}"),
        ("escape", "a backslash in double quotes stands before something that it cannot escape",
            "use single quotes, which keep backslashes as they are"),
        ("quoted scalar", "a quote is opened here and not closed", "close it, or leave both quotes out"),
        ("block sequence", "this line is no entry of the list above it", "begin each entry with `- `, all at the same indentation"),
        ("cannot start any token", "no value begins with this character", "put quotes around the text"),
        ("block scalar", "the text behind | or > is not indented as it must be",
            "indent each of its lines by two spaces more than the key"),
        ("directive", "a line that begins with % is none of a recipe", "put quotes around the text"),
        ("tag", "a value begins with !, which names a type in YAML", "put quotes around the text"),
        ("anchor", "a name is missing behind & or *", "put quotes around the text"),
        ("alias", "a name is missing behind & or *", "put quotes around the text"),
    ];

    /// <param name="message">The parser's own sentence; empty where it had none.</param>
    /// <param name="line">The line that it blames.</param>
    /// <param name="before">The line before it.</param>
    /// <returns>What is wrong, as the end of a sentence, and what to do.</returns>
    public static (string What, string Fix) Of(string message, string line, string before)
    {
        if (OfValue(line) is { } seen)
            return seen;
        foreach (var (part, what, fix) in s_known)
            if (message.Contains(part, StringComparison.Ordinal))
                return (what, fix);
        if (line.Trim() is var text && text.Length > 0 && !text.Contains(": ", StringComparison.Ordinal) && !text.EndsWith(':')
            && message.Length > 0)
            return (text.IndexOf(':') is > 0 and var colon && char.IsLetter(text[0])
                ? $"no space stands behind the colon of `{text[..colon]}`" : "this line is not `key: value`", Line);
        if (Indentation(line) > Indentation(before) && !before.TrimEnd().EndsWith(':') && message.Length > 0)
            return ("this line is indented, but the line above it has its value already", "begin the line where the one above begins");
        return message.Contains("mapping", StringComparison.Ordinal) && Colons().Count(line) > 1
            ? ("a second colon with a space behind it stands in the line", "put quotes around the value, as in key: 'a: b'")
            : ("something is missing or not closed behind this", Line);
    }

    /// <summary>What is wrong with the beginning of a line's value; null where nothing is to be seen in it.</summary>
    /// <remarks>The parser blames whatever stands behind the place where it took the value to have ended.</remarks>
    public static (string What, string Fix)? OfValue(string line)
    {
        if (Value().Match(line) is not { Success: true } match)
            return null;
        var (key, value) = (match.Groups["key"].Value, match.Groups["value"].Value.TrimEnd());
        var quoted = $"put single quotes around the value, with each ' in it doubled, or write `{key}: |` and the text below it, indented";
        if (value.StartsWith("{{", StringComparison.Ordinal) || value.StartsWith("{%", StringComparison.Ordinal)
            || value.StartsWith("{#", StringComparison.Ordinal))
            return ("a value that begins with { is a map in YAML, and this is a template", quoted);
        switch (value[0])
        {
            case '\'' or '"' when End(value) is > 0 and var end && Rest(value, end) is { Length: > 0 } rest:
                return ($"the quote that opens the value is closed before {rest}", value[0] == '\''
                    ? "double a ' that belongs to the text, as in 'it''s', or use double quotes around it"
                    : "write \\\" for a \" that belongs to the text, or use single quotes around it");
            case '[' when Closed(value, '[', ']') is > 0 and var end && Rest(value, end).Length > 0:
                return ("a value that begins with [ is a list in YAML, and a text stands behind this one", quoted);
            case '{' when Closed(value, '{', '}') is > 0 and var end && Rest(value, end).Length > 0:
                return ("a value that begins with { is a map in YAML, and a text stands behind this one", quoted);
            default:
                return null;
        }
    }

    /// <summary>Where the quote that opens a value is closed; -1 where it is not.</summary>
    private static int End(string value)
    {
        for (var i = 1; i < value.Length; i++)
            if (value[0] == '"' && value[i] == '\\' || value[0] == '\'' && value[i] == '\'' && i + 1 < value.Length && value[i + 1] == '\'')
                i++;
            else if (value[i] == value[0])
                return i;
        return -1;
    }

    /// <summary>Where the bracket that opens a value is closed; -1 where it is not.</summary>
    private static int Closed(string value, char opening, char closing)
    {
        var depth = 0;
        for (var i = 0; i < value.Length; i++)
            if ((depth += value[i] == opening ? 1 : value[i] == closing ? -1 : 0) == 0)
                return i;
        return -1;
    }

    /// <summary>What stands behind the end of a value, comments aside.</summary>
    private static string Rest(string value, int end) => value[(end + 1)..].Trim() is var rest && rest.StartsWith('#') ? "" : rest;

    [GeneratedRegex(@"^\s*(?:- +)?(?<key>[A-Za-z_][\w.-]*)\s*:\s+(?<value>\S.*)$")]
    private static partial Regex Value();

    [GeneratedRegex(@":(?:\s|$)")]
    private static partial Regex Colons();

    private static int Indentation(string line) => line.Length - line.TrimStart(' ').Length;
}
