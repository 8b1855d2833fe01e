using Handbook.Text.Tokenizers.Patterns;

namespace Handbook.Text.Tokenizers;

/// <summary>A part of the text: a range of <see cref="PieceList.Text"/>, and the id where it is already an added token.</summary>
/// <param name="Id">Id of the added token; −1 for ordinary text.</param>
internal readonly record struct Piece(int Start, int End, int Id);

/// <summary>The text of one call, cut into pieces: first around added tokens, then by the pre-tokenizers.</summary>
internal sealed class PieceList
{
    public TextBuffer Text = new();
    public TextBuffer Spare = new();
    public List<Piece> Pieces = [];
    private List<Piece> _next = [];
    private readonly List<(int Start, int End, bool Match)> _matches = [];

    public void Clear(bool tracked)
    {
        Text.Clear(tracked);
        Pieces.Clear();
    }

    /// <summary>Replaces every ordinary piece by what <paramref name="cut"/> makes of it; empty pieces disappear.</summary>
    public void Cut(Cutter cut)
    {
        _next.Clear();
        foreach (var piece in Pieces)
            if (piece.Id >= 0)
                _next.Add(piece);
            else
                cut(Text.Points, piece.Start, piece.End, _next);
        (Pieces, _next) = (_next, Pieces);
    }

    /// <summary>Cuts every ordinary piece at the matches of a pattern.</summary>
    public void Split(IMatcher pattern, SplitBehavior behavior, bool invert)
    {
        if (pattern is SplitScanner scanner && (behavior == SplitBehavior.Isolated || (behavior == SplitBehavior.Removed && invert)))
        {
            Cut(scanner.Cut);               // its matches cover everything: no list of them is needed
            return;
        }
        _next.Clear();
        foreach (var piece in Pieces)
        {
            if (piece.Id >= 0)
            {
                _next.Add(piece);
                continue;
            }
            _matches.Clear();
            pattern.FindAll(Text.Points.AsSpan(piece.Start, piece.End - piece.Start), _matches);
            Splits.Apply(_matches, behavior, invert, piece.Start, _next);
        }
        (Pieces, _next) = (_next, Pieces);
    }

    /// <summary>Writes the text anew, piece by piece.</summary>
    public void Rewrite(Rewriter rewrite)
    {
        Spare.BeginFrom(Text);
        _next.Clear();
        foreach (var piece in Pieces)
        {
            var start = Spare.Count;
            if (piece.Id >= 0)
                Spare.Append(Text, piece.Start, piece.End);
            else
                rewrite(Text, piece.Start, piece.End, Spare);
            if (piece.Id >= 0 || Spare.Count > start)
                _next.Add(new(start, Spare.Count, piece.Id));
        }
        (Pieces, _next) = (_next, Pieces);
        (Text, Spare) = (Spare, Text);
    }

    public delegate void Cutter(int[] points, int start, int end, List<Piece> pieces);

    public delegate void Rewriter(TextBuffer from, int start, int end, TextBuffer to);
}
