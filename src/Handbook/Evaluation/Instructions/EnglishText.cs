using System.Text.RegularExpressions;

namespace Handbook.Evaluation.Instructions;

/// <summary>Words and sentences of English, as the checks of instructions count them.</summary>
/// <remarks>
/// Words are runs of letters, digits and underscores. Sentences end with <c>. ? !</c>, where what follows does not go on: neither an
/// abbreviation, an initial nor a number's point ends one. The published checks take a statistical splitter (Kiss and Strunk 2006) whose
/// learned abbreviations are not part of this program: on rare abbreviations a count may differ by one.
/// </remarks>
internal static partial class EnglishText
{
    private static readonly HashSet<string> s_abbreviations = new(StringComparer.OrdinalIgnoreCase)
    {
        "mr", "mrs", "ms", "dr", "prof", "sr", "jr", "st", "mt", "gen", "rep", "sen", "gov", "capt", "col", "lt", "sgt", "hon", "rev", "vs",
        "etc", "e.g", "i.e", "u.s", "u.k", "u.n", "a.m", "p.m", "inc", "ltd", "co", "corp", "no", "jan", "feb", "mar", "apr", "aug", "sept",
        "sep", "oct", "nov", "dec", "ph.d", "m.d", "b.a", "m.a", "d.c", "vol", "fig", "cf", "al", "approx", "dept", "est",
    };

    // Behind these a capital letter begins a sentence; behind a title it does not.
    private static readonly HashSet<string> s_mayEnd = new(StringComparer.OrdinalIgnoreCase)
    {
        "etc", "inc", "ltd", "co", "corp", "jr", "sr", "a.m", "p.m", "u.s", "u.k", "u.n", "ph.d", "m.d", "b.a", "m.a", "d.c", "al", "no",
    };

    public static int Words(string text) => Word().Count(text);

    /// <summary>How many sentences a text has; a rest without an end is one, too.</summary>
    public static int Sentences(string text)
    {
        var (count, start) = (0, 0);
        foreach (var end in End().Matches(text).Cast<Match>())
        {
            if (end.Index + end.Length < text.Length && !Ends(text, end))
                continue;
            if (text[start..(end.Index + end.Length)].Trim().Length > 0)
                count++;
            start = end.Index + end.Length;
        }
        return count + (text[start..].Trim().Length > 0 ? 1 : 0);
    }

    // A mark, perhaps closing quotes or brackets, and a blank behind.
    private static bool Ends(string text, Match end)
    {
        var next = text.AsSpan(end.Index + end.Length).TrimStart();
        if (next.Length == 0)
            return true;
        var opened = next.TrimStart("\"'“‘([*_");
        var goesOn = opened.Length > 0 && char.IsLower(opened[0]);
        if (end.Value[0] != '.')
            return true;
        if (goesOn)
            return false;
        var before = Last().Match(text[..end.Index]).Value;
        if (before.Length == 1 && char.IsUpper(before[0]))
            return false;        // an initial
        return !s_abbreviations.Contains(before) || s_mayEnd.Contains(before) && opened.Length > 0 && char.IsUpper(opened[0]);
    }

    /// <summary>Words with their hyphens and apostrophes, and marks by themselves.</summary>
    public static IEnumerable<string> Tokens(string text) => Token().Matches(text).Select(match => match.Value);

    /// <summary>Whether there is a letter with a case, and each such letter is a capital.</summary>
    public static bool IsUpper(string text) => text.Any(char.IsUpper) && !text.Any(char.IsLower);

    /// <summary>Whether there is a letter with a case, and none is a capital.</summary>
    public static bool IsLower(string text) => text.Any(char.IsLower) && !text.Any(char.IsUpper);

    [GeneratedRegex(@"\w+")]
    private static partial Regex Word();

    [GeneratedRegex(@"[.?!]+[""'”’)\]*]*(?=\s|$)")]
    private static partial Regex End();

    [GeneratedRegex(@"[\w.]*\w\z")]
    private static partial Regex Last();

    [GeneratedRegex(@"[\w]+(?:[-.][\w]+)*\.?|[^\s\w]")]
    private static partial Regex Token();

    [GeneratedRegex(@"\s+")]
    public static partial Regex Blanks();
}
