using System.Text;

namespace Handbook.Text.Templates;

/// <summary>Breaks a line into lines of at most a width, as Python's <c>textwrap.wrap</c> does for one line.</summary>
internal static class WordWrap
{
    public static List<string> Lines(string line, int width, bool breakLongWords, bool breakOnHyphens)
    {
        var chunks = new Stack<string>(Chunks(line, breakOnHyphens).AsEnumerable().Reverse());
        var lines = new List<string>();
        while (chunks.Count > 0)
        {
            var current = new List<string>();
            var length = 0;
            if (lines.Count > 0 && string.IsNullOrWhiteSpace(chunks.Peek()))
                chunks.Pop();
            while (chunks.TryPeek(out var next) && length + PyText.Length(next) <= width)
            {
                current.Add(chunks.Pop());
                length += PyText.Length(next);
            }
            if (chunks.TryPeek(out var tooLong) && PyText.Length(tooLong) > width)
            {
                chunks.Pop();
                if (!breakLongWords)
                {
                    if (current.Count == 0)
                        current.Add(tooLong);
                    else
                        chunks.Push(tooLong);
                }
                else
                {
                    var room = Math.Max(1, width - length);
                    var cut = PyText.Offset(tooLong, room);
                    var hyphen = breakOnHyphens && PyText.Length(tooLong) > room ? tooLong.LastIndexOf('-', Math.Max(0, cut - 1)) : -1;
                    if (hyphen > 0 && tooLong[..hyphen].Any(letter => letter != '-'))
                        cut = hyphen + 1;
                    current.Add(tooLong[..cut]);
                    chunks.Push(tooLong[cut..]);
                }
            }
            if (current.Count > 0 && string.IsNullOrWhiteSpace(current[^1]))
                current.RemoveAt(current.Count - 1);
            if (current.Count > 0)
                lines.Add(string.Concat(current));
            Budget.Spend(1 + current.Count);
        }
        return lines;
    }

    /// <summary>Words and the blanks between them; hyphenated words in parts that keep their hyphen.</summary>
    private static List<string> Chunks(string line, bool breakOnHyphens)
    {
        var chunks = new List<string>();
        var word = new StringBuilder();
        for (var i = 0; i < line.Length;)
        {
            var start = i;
            var blank = IsBlank(line[i]);
            while (i < line.Length && IsBlank(line[i]) == blank)
                i++;
            var part = line[start..i];
            if (blank || !breakOnHyphens)
            {
                chunks.Add(part);
                continue;
            }
            word.Clear();
            for (var k = 0; k < part.Length; k++)
            {
                word.Append(part[k]);
                // A hyphen between letters may end a line: at least two before it, a letter after it.
                if (part[k] == '-' && k >= 2 && char.IsLetter(part[k - 1]) && (char.IsLetterOrDigit(part[k - 2]) || part[k - 2] == '_')
                    && k + 1 < part.Length && char.IsLetter(part[k + 1]))
                {
                    chunks.Add(word.ToString());
                    word.Clear();
                }
            }
            if (word.Length > 0)
                chunks.Add(word.ToString());
        }
        return chunks;

        static bool IsBlank(char letter) => letter is ' ' or '\t' or '\n' or '\v' or '\f' or '\r';
    }
}
