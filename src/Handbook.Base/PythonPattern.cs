using System.Text.RegularExpressions;

namespace Handbook.Base;

/// <summary>Regular expressions that were written for Python's module <c>re</c>, in the words that they have here.</summary>
internal static partial class PythonPattern
{
    /// <summary>An expression: named groups, references to them, and the end of the text.</summary>
    public static string Of(string pattern) => Differences().Replace(pattern, found => found.Groups["group"] is { Success: true } group
        ? $"(?<{group.Value}>" : found.Groups["back"] is { Success: true } back ? $@"\k<{back.Value}>" : found.Value == @"\Z" ? @"\z" : found.Value);

    /// <summary>What <c>re.sub</c> puts in the place of a match: <c>\1</c> and <c>\g&lt;name&gt;</c> are groups, a dollar is itself.</summary>
    public static string Replacement(string text) => References().Replace(text, found => found.Value switch
    {
        "$" => "$$",
        @"\\" => @"\",
        @"\n" => "\n",
        @"\t" => "\t",
        @"\r" => "\r",
        _ => $"${{{found.Groups["group"].Value}}}",
    });

    // A backslash and what it stands before come as one, so that neither half begins another.
    [GeneratedRegex(@"\\.|\(\?P<(?<group>\w+)>|\(\?P=(?<back>\w+)\)", RegexOptions.Singleline)]
    private static partial Regex Differences();

    [GeneratedRegex(@"\$|\\[\\ntr]|\\(?<group>[0-9]{1,2})|\\g<(?<group>\w+)>")]
    private static partial Regex References();
}
