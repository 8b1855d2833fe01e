using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers;

/// <summary>A token that is cut out of the text before the model sees it.</summary>
internal sealed record AddedToken(int Id, string Content, bool SingleWord, bool LeftStrip, bool RightStrip, bool Normalized, bool Special)
{
    /// <summary>Whether the token is left to the model where it stands in a text.</summary>
    public bool Ignored { get; init; }
}

/// <summary>A part of a text: an added token, or text (id −1) between them.</summary>
internal readonly record struct AddedMatch(int Start, int End, int Id);

/// <summary>Finds a set of added tokens: leftmost first, the longest of those.</summary>
internal sealed class AddedTokenMatcher
{
    private readonly Node _root = new();
    private readonly bool[] _firsts = new bool[0x400];          // whether a token begins with that character
    private readonly bool _otherFirsts;

    /// <param name="tokens">Tokens with the text that stands for each (its content, normalized or not).</param>
    public AddedTokenMatcher(IEnumerable<(AddedToken Token, string Text)> tokens)
    {
        foreach (var (token, text) in tokens)
        {
            var points = CodePoints.Of(text);
            if (points.Length == 0)
                continue;
            if (points[0] < _firsts.Length)
                _firsts[points[0]] = true;
            else
                _otherFirsts = true;
            var node = _root;
            foreach (var point in points)
            {
                node.Children ??= [];
                if (!node.Children.TryGetValue(point, out var child))
                    node.Children.Add(point, child = new());
                node = child;
            }
            node.Token ??= token;                               // the first of equal texts wins
        }
    }

    public bool IsEmpty => _root.Children is null;

    /// <summary>Cuts the text; appends nothing where it is empty.</summary>
    public void Find(ReadOnlySpan<int> text, List<AddedMatch> matches)
    {
        var open = 0;
        for (var i = 0; i < text.Length;)
        {
            var (token, length) = MayBegin(text[i]) ? Longest(text[i..]) : default;
            if (token is null)
            {
                i++;
                continue;
            }
            int start = i, stop = i + length;
            i = stop;
            if (token.Ignored)
                continue;
            if (token.SingleWord
                && ((start > 0 && Properties.IsWord(text[start - 1])) || (stop < text.Length && Properties.IsWord(text[stop]))))
                continue;
            if (token.LeftStrip)
            {
                var left = start;
                while (left > 0 && Properties.IsWhiteSpace(text[left - 1]))
                    left--;
                start = Math.Max(left, open);
            }
            if (token.RightStrip)
                while (stop < text.Length && Properties.IsWhiteSpace(text[stop]))
                    stop++;
            if (open < start)
                matches.Add(new(open, start, -1));
            matches.Add(new(start, stop, token.Id));
            open = stop;
        }
        if (open < text.Length)
            matches.Add(new(open, text.Length, -1));
    }

    private bool MayBegin(int point) => point < _firsts.Length ? _firsts[point] : _otherFirsts;

    private (AddedToken? Token, int Length) Longest(ReadOnlySpan<int> text)
    {
        (AddedToken?, int) found = default;
        var node = _root;
        for (var i = 0; i < text.Length && node.Children is not null && node.Children.TryGetValue(text[i], out node); i++)
            if (node.Token is not null)
                found = (node.Token, i + 1);
        return found;
    }

    private sealed class Node
    {
        public Dictionary<int, Node>? Children;
        public AddedToken? Token;
    }
}
