namespace Handbook.Text.Tokenizers.PreTokenizers;

/// <summary>Cuts at the matches of a pattern.</summary>
internal sealed class Split(IMatcher pattern, SplitBehavior behavior, bool invert = false) : PreTokenizer
{
    public override void Apply(PieceList pieces) => pieces.Split(pattern, behavior, invert);
}

/// <summary>Matches single code points by a predicate.</summary>
internal sealed class PointMatcher(Func<int, bool> matches) : IMatcher
{
    public void FindAll(ReadOnlySpan<int> text, List<(int Start, int End, bool Match)> ranges)
    {
        var open = 0;
        for (var i = 0; i < text.Length; i++)
        {
            if (!matches(text[i]))
                continue;
            if (open < i)
                ranges.Add((open, i, false));
            ranges.Add((i, i + 1, true));
            open = i + 1;
        }
        if (open < text.Length)
            ranges.Add((open, text.Length, false));
    }
}
