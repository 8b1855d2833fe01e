using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers.PreTokenizers;

/// <summary><c>\w+|[^\w\s]+</c>: words and runs of punctuation.</summary>
internal sealed class WhitespaceMatcher : IMatcher
{
    public void FindAll(ReadOnlySpan<int> text, List<(int Start, int End, bool Match)> ranges)
    {
        for (var i = 0; i < text.Length;)
        {
            var kind = Kind(text[i]);
            var end = i + 1;
            while (end < text.Length && Kind(text[end]) == kind)
                end++;
            ranges.Add((i, end, kind > 0));
            i = end;
        }
    }

    private static int Kind(int point) => Properties.IsWord(point) ? 1 : Properties.IsWhiteSpace(point) ? 0 : 2;
}

/// <summary>White space removed, each punctuation mark by itself.</summary>
internal sealed class BertPreTokenizer : PreTokenizer
{
    private static readonly PointMatcher Space = new(Properties.IsWhiteSpace);
    private static readonly PointMatcher Punctuation = new(Properties.IsPunctuation);

    public override void Apply(PieceList pieces)
    {
        pieces.Split(Space, SplitBehavior.Removed, invert: false);
        pieces.Split(Punctuation, SplitBehavior.Isolated, invert: false);
    }
}

/// <summary>Pieces of a fixed number of code points.</summary>
internal sealed class FixedLength(int length) : PreTokenizer
{
    public override void Apply(PieceList pieces) => pieces.Cut((_, start, end, result) =>
    {
        for (var at = start; at < end; at += length)
            result.Add(new(at, Math.Min(at + length, end), -1));
    });
}

/// <summary>Cuts where the script changes; Hiragana and Katakana count as Han, and spaces go with what stands before them.</summary>
internal sealed class UnicodeScripts : PreTokenizer
{
    public override void Apply(PieceList pieces) => pieces.Cut((points, start, end, result) =>
    {
        string? last = null;
        var open = -1;                  // text before the first letter of any script belongs to no piece
        for (var at = start; at < end; at++)
        {
            var script = ScriptOf(points[at]);
            if (script is null)
                continue;
            if (script != last)
            {
                if (open >= 0)
                    result.Add(new(open, at, -1));
                open = at;
            }
            last = script;
        }
        if (open >= 0)
            result.Add(new(open, end, -1));
    });

    /// <summary>The script; null for those that join any other.</summary>
    private static string? ScriptOf(int point) => point switch
    {
        0x30FC => "Han",
        0x589 or 0x61C => "Common",         // as in Unicode 9.0; Armenian and Arabic since
        ' ' => null,
        _ => UnicodeTables.Script(point, UnicodeVersions.Normalization) switch
        {
            "Hiragana" or "Katakana" => "Han",
            var script => script,
        },
    };
}
