using System.Text;
using System.Text.RegularExpressions;

namespace Handbook.Hub;

/// <summary>Names as shells have them: <c>*</c> is any text, folders included, <c>?</c> one character, <c>[…]</c> one of several; a folder
/// with a slash behind it stands for what is below.</summary>
internal sealed class FilePatterns
{
    private readonly Regex[] _include;
    private readonly Regex[] _exclude;

    /// <param name="include">What is wanted; none for all.</param>
    /// <param name="exclude">What of it is not.</param>
    public FilePatterns(IEnumerable<string> include, IEnumerable<string> exclude)
    {
        _include = [.. include.Select(pattern => Regex(pattern))];
        _exclude = [.. exclude.Select(pattern => Regex(pattern))];
    }

    /// <summary>Whether a path is meant.</summary>
    public bool Take(string path) => (_include.Length == 0 || Array.Exists(_include, regex => regex.IsMatch(path)))
        && !Array.Exists(_exclude, regex => regex.IsMatch(path));

    private static Regex Regex(string pattern) => new($@"\A{Translate(pattern.EndsWith('/') ? pattern + "*" : pattern, crosses: true)}\z",
        RegexOptions.CultureInvariant | RegexOptions.NonBacktracking | RegexOptions.Singleline);

    /// <summary>A pattern as a regular expression.</summary>
    /// <param name="crosses">Whether <c>*</c> and <c>?</c> stand for slashes, too; else <c>**</c> alone does.</param>
    public static string Translate(string pattern, bool crosses)
    {
        var text = new StringBuilder();
        var (any, one) = crosses ? (".*", ".") : ("[^/]*", "[^/]");
        for (var i = 0; i < pattern.Length; i++)
            switch (pattern[i])
            {
                case '*' when !crosses && pattern.AsSpan(i).StartsWith("**/"):
                    text.Append("(?:.*/)?");
                    i += 2;
                    break;
                case '*' when !crosses && pattern.AsSpan(i) is "**":
                    text.Append(".*");
                    i++;
                    break;
                case '*':
                    text.Append(any);
                    break;
                case '?':
                    text.Append(one);
                    break;
                case '[' when pattern.IndexOf(']', Math.Min(i + 2, pattern.Length)) is > 0 and var end:
                    var set = pattern[(i + 1)..end];
                    var negates = set[0] is '!' or '^';
                    text.Append('[').Append(negates ? "^" : "").Append((negates ? set[1..] : set).Replace(@"\", @"\\",
                        StringComparison.Ordinal)
                        .Replace("[", @"\[", StringComparison.Ordinal)).Append(']');
                    i = end;
                    break;
                case '\\' when i + 1 < pattern.Length:
                    text.Append(System.Text.RegularExpressions.Regex.Escape(pattern[++i].ToString()));
                    break;
                case var c:
                    text.Append(System.Text.RegularExpressions.Regex.Escape(c.ToString()));
                    break;
            }
        return text.ToString();
    }
}
