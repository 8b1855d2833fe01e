namespace Handbook.Text.Tokenizers.Training;

/// <summary>All ways to put a text together from pieces, and what is asked of them in training. Kudo 2018, arXiv:1804.10959, §3.2.</summary>
internal sealed class UnigramLattice
{
    /// <summary>An unknown character scores so much less than the worst piece.</summary>
    private const double UnknownPenalty = 10;

    private readonly Dictionary<(int Node, int Point), int> _children = [];
    private readonly List<int> _nodePieces = [-1];
    private readonly double[] _scores;
    private readonly double _unknown;
    private readonly List<(int Start, int End, int Piece, double Score)> _nodes = [];
    private double[] _forward = new double[64];
    private double[] _backward = new double[64];

    /// <param name="pieces">Pieces with their scores; the first is for unknown characters, and its score is not read.</param>
    public UnigramLattice(IReadOnlyList<(int[] Points, double Score)> pieces)
    {
        _scores = [.. pieces.Select(piece => piece.Score)];
        _unknown = (pieces.Count < 2 ? 0 : pieces.Skip(1).Min(piece => piece.Score)) - UnknownPenalty;
        for (var id = 1; id < pieces.Count; id++)
        {
            var node = 0;
            foreach (var point in pieces[id].Points)
            {
                if (!_children.TryGetValue((node, point), out var child))
                {
                    child = _nodePieces.Count;
                    _nodePieces.Add(-1);
                    _children.Add((node, point), child);
                }
                node = child;
            }
            _nodePieces[node] = id;
        }
    }

    /// <summary>Adds to each piece how often it is expected in a text that occurs <paramref name="count"/> times.</summary>
    /// <remarks><code>p(piece at i..j) = exp( α(i) + score + β(j) − α(n) ), α and β the log sums over all ways before and after</code></remarks>
    public void AddExpected(ReadOnlySpan<int> text, double count, double[] expected)
    {
        Fill(text, without: -1);
        var size = text.Length + 1;
        if (_forward.Length < size)
            (_forward, _backward) = (new double[size * 2], new double[size * 2]);
        var forward = _forward.AsSpan(0, size);
        var backward = _backward.AsSpan(0, size);
        forward.Fill(double.NegativeInfinity);
        backward.Fill(double.NegativeInfinity);
        (forward[0], backward[^1]) = (0, 0);
        // Nodes stand in the order of their starts, and so do all that end where another begins.
        foreach (var (start, end, _, score) in _nodes)
            forward[end] = LogSum(forward[end], forward[start] + score);
        for (var i = _nodes.Count - 1; i >= 0; i--)
            backward[_nodes[i].Start] = LogSum(backward[_nodes[i].Start], backward[_nodes[i].End] + _nodes[i].Score);
        foreach (var (start, end, piece, score) in _nodes)
            expected[piece] += count * Math.Exp(forward[start] + score + backward[end] - forward[^1]);
    }

    /// <summary>The pieces of the best way, 0 for unknown characters; empty where there is none.</summary>
    /// <param name="without">A piece that must not be used; −1 for none.</param>
    public List<int> Best(ReadOnlySpan<int> text, int without = -1)
    {
        Fill(text, without);
        var ends = new (double Score, int Start, int Piece)[text.Length + 1];
        Array.Fill(ends, (double.NegativeInfinity, -1, -1));
        ends[0].Score = 0;
        foreach (var (start, end, piece, score) in _nodes)
            if (ends[start].Score + score > ends[end].Score)
                ends[end] = (ends[start].Score + score, start, piece);
        var path = new List<int>();
        if (ends[^1].Start < 0)
            return path;
        for (var at = text.Length; at > 0; at = ends[at].Start)
            path.Add(ends[at].Piece);
        path.Reverse();
        return path;
    }

    private void Fill(ReadOnlySpan<int> text, int without)
    {
        _nodes.Clear();
        for (var start = 0; start < text.Length; start++)
        {
            var single = false;
            var node = 0;
            for (var end = start; end < text.Length && _children.TryGetValue((node, text[end]), out node); end++)
                if (_nodePieces[node] is >= 0 and var piece && piece != without)
                {
                    single |= end == start;
                    _nodes.Add((start, end + 1, piece, _scores[piece]));
                }
            if (!single)
                _nodes.Add((start, start + 1, 0, _unknown));
        }
    }

    private static double LogSum(double a, double b)
    {
        var (small, large) = (Math.Min(a, b), Math.Max(a, b));
        return double.IsNegativeInfinity(small) ? large : large + Math.Log(1 + Math.Exp(small - large));
    }
}
