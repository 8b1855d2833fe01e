namespace Handbook.Recipes;

/// <summary>What is wrong with a text that is not YAML, in words for whoever mends it.</summary>
internal static class YamlMistake
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
        foreach (var (part, what, fix) in s_known)
            if (message.Contains(part, StringComparison.Ordinal))
                return (what, fix);
        if (line.Trim() is var text && text.Length > 0 && !text.Contains(": ", StringComparison.Ordinal) && !text.EndsWith(':')
            && message.Length > 0)
            return (text.IndexOf(':') is > 0 and var colon && char.IsLetter(text[0])
                ? $"no space stands behind the colon of `{text[..colon]}`" : "this line is not `key: value`", Line);
        if (Indentation(line) > Indentation(before) && !before.TrimEnd().EndsWith(':') && message.Length > 0)
            return ("this line is indented, but the line above it has its value already", "begin the line where the one above begins");
        return message.Contains("mapping", StringComparison.Ordinal)
            ? ("a second colon with a space behind it stands in the line", "put quotes around the value, as in key: 'a: b'")
            : ("something is missing or not closed behind this", Line);
    }

    private static int Indentation(string line) => line.Length - line.TrimStart(' ').Length;
}
