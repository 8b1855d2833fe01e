using System.Text;

namespace Handbook.Data.Decontamination;

/// <summary>Texts as they are compared.</summary>
internal static class NormalText
{
    /// <summary>In lower case, with one blank for any white space, and none at the ends.</summary>
    public static string Of(string text)
    {
        var normal = new char[text.Length];
        var (length, gap) = (0, false);
        foreach (var c in text)
            if (IsSpace(c))
                gap = true;
            else
            {
                if (gap && length > 0)
                    normal[length++] = ' ';
                gap = false;
                normal[length++] = char.ToLowerInvariant(c);
            }
        return new(normal, 0, length);
    }

    /// <summary>The words alone, in lower case and one blank apart: runs of letters, marks and digits, and each character of a script
    /// that puts no blanks between words.</summary>
    /// <param name="starts">Is given where each begins.</param>
    public static string Words(string text, List<int> starts)
    {
        starts.Clear();
        var words = new StringBuilder(text.Length + 16);
        var inside = false;
        foreach (var c in text)
        {
            if (!IsOfWord(c))
            {
                inside = false;
                continue;
            }
            var alone = StandsAlone(c);
            if (!inside || alone)
            {
                if (words.Length > 0)
                    words.Append(' ');
                starts.Add(words.Length);
            }
            words.Append(char.ToLowerInvariant(c));
            inside = !alone;
        }
        return words.ToString();
    }

    // What Python's split() takes for white space: the separators of files, groups, records and units, too.
    private static bool IsSpace(char c) => char.IsWhiteSpace(c) || c is >= '\x1c' and <= '\x1f';

    private static bool IsOfWord(char c) => char.IsLetterOrDigit(c) || char.IsSurrogate(c)
        || char.GetUnicodeCategory(c) is System.Globalization.UnicodeCategory.NonSpacingMark or System.Globalization.UnicodeCategory.SpacingCombiningMark;

    // kana, Han, Thai and Lao
    private static bool StandsAlone(char c) => c is >= '\u3040' and <= '\u30ff' or >= '\u3400' and <= '\u9fff' or >= '\uf900' and <= '\ufaff'
        or >= '\u0e00' and <= '\u0eff';
}
