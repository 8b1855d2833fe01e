namespace Handbook.Text.Tokenizers.Patterns;

/// <summary>Finds a literal text; the empty one is never found.</summary>
internal sealed class LiteralMatcher(string literal) : IMatcher
{
    private readonly int[] _literal = CodePoints.Of(literal);

    public void FindAll(ReadOnlySpan<int> text, List<(int Start, int End, bool Match)> ranges)
    {
        var open = 0;
        while (_literal.Length > 0 && text[open..].IndexOf(_literal) is var found && found >= 0)
        {
            if (found > 0)
                ranges.Add((open, open + found, false));
            ranges.Add((open + found, open + found + _literal.Length, true));
            open += found + _literal.Length;
        }
        if (open < text.Length)
            ranges.Add((open, text.Length, false));
    }
}
