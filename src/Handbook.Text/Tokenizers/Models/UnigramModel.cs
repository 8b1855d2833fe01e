using Handbook.Base;

namespace Handbook.Text.Tokenizers.Models;

/// <summary>The most probable segmentation under a unigram language model. Kudo 2018, arXiv:1804.10959.</summary>
/// <remarks>Ties keep the segmentation found first, from the left and short tokens before long, as in the Rust reference.</remarks>
internal sealed class UnigramModel : Model
{
    /// <summary>An unknown character scores so much less than the worst token.</summary>
    private const double UnknownPenalty = 10;

    private readonly (string Token, double Score)[] _tokens;
    private readonly Dictionary<(int Node, int Point), int> _children = [];
    private readonly List<int> _nodeIds = [-1];         // id of the token that ends at a node
    private readonly int? _unknown;
    private readonly bool _byteFallback;
    private readonly double _unknownScore;
    private readonly int[] _bytes = new int[256];

    public UnigramModel((string Token, double Score)[] tokens, int? unknown, bool byteFallback)
    {
        _tokens = tokens;
        _unknown = unknown;
        _byteFallback = byteFallback;
        _unknownScore = (tokens.Length == 0 ? 0 : tokens.Min(token => token.Score)) - UnknownPenalty;
        Vocabulary = new(StringComparer.Ordinal);
        for (var id = 0; id < tokens.Length; id++)
        {
            Vocabulary[tokens[id].Token] = id;
            var node = 0;
            foreach (var point in CodePoints.Of(tokens[id].Token))
            {
                if (!_children.TryGetValue((node, point), out var child))
                {
                    child = _nodeIds.Count;
                    _nodeIds.Add(-1);
                    _children.Add((node, point), child);
                }
                node = child;
            }
            if (node > 0)
                _nodeIds[node] = id;
        }
        for (var value = 0; value < 256; value++)
            _bytes[value] = Vocabulary.GetValueOrDefault($"<0x{value:X2}>", -1);
    }

    public override Dictionary<string, int> Vocabulary { get; }

    public override string? UnknownToken => _unknown is { } id ? _tokens[id].Token : null;

    public override bool UnknownKeepsText => true;

    public override int IdLimit => _tokens.Length;

    public override string? TokenOf(int id) => (uint)id < (uint)_tokens.Length ? _tokens[id].Token : null;

    public override void Encode(ReadOnlySpan<int> piece, EncodeScratch scratch, TokenSink sink)
    {
        sink.BeginPiece();
        var hash = piece.Length <= WordCache.MaxLength ? WordCache.Hash(piece) : 0;
        if (hash != 0 && scratch.Cache.TryGet(piece, hash, sink))
            return;
        var word = scratch.Merger;
        word.Clear();
        if (BestPath(piece, word, sink) && hash != 0)
            scratch.Cache.Add(piece, hash, word.Ids.AsSpan(0, word.Count), word.Lengths.AsSpan(0, word.Count));
    }

    /// <summary>Adds the tokens to the sink, and to the word as well; false where byte tokens share ranges and the
    /// word cannot be kept.</summary>
    private bool BestPath(ReadOnlySpan<int> piece, Merger word, TokenSink sink)
    {
        var ends = new (double Score, int Start, int Id)[piece.Length + 1];
        for (var i = 1; i < ends.Length; i++)
            ends[i].Start = -1;
        for (var start = 0; start < piece.Length; start++)
        {
            var here = ends[start].Score;
            var single = false;
            var node = 0;
            for (var end = start; end < piece.Length && _children.TryGetValue((node, piece[end]), out node); end++)
            {
                var id = _nodeIds[node];
                if (id < 0)
                    continue;
                single |= end == start;
                Offer(ref ends[end + 1], here + _tokens[id].Score, start, id);
            }
            if (!single)
                Offer(ref ends[start + 1], here + _unknownScore, start, -1);
        }
        var cuts = new List<(int Start, int End, int Id)>();
        for (var end = piece.Length; end > 0; end = ends[end].Start)
            cuts.Add((ends[end].Start, end, ends[end].Id));
        cuts.Reverse();
        return Add(piece, cuts, word, sink);
    }

    private bool Add(ReadOnlySpan<int> piece, List<(int Start, int End, int Id)> cuts, Merger word, TokenSink sink)
    {
        var plain = true;
        var position = 0;                       // in bytes
        for (var i = 0; i < cuts.Count; i++)
        {
            var (start, end, id) = cuts[i];
            if (id < 0 || id == _unknown)
            {
                if (_unknown is null)
                    throw new InputException($"tokenizer: \"{CodePoints.ToText(piece[start..end])}\" is not in the vocabulary, and the "
                        + "model has no unk_id", "text outside the vocabulary has no id", "set model.unk_id");
                while (i + 1 < cuts.Count && (cuts[i + 1].Id < 0 || cuts[i + 1].Id == _unknown))
                    end = cuts[++i].End;        // unknown characters side by side are one token
                id = Vocabulary.GetValueOrDefault(CodePoints.ToText(piece[start..end]), -1);
            }
            var length = 0;
            foreach (var point in piece[start..end])
                length += CodePoints.Utf8Length(point);
            if (id < 0 && _byteFallback && AddBytes(piece[start..end], position, length, sink))
                plain = false;
            else
            {
                sink.AddRange(id < 0 ? _unknown!.Value : id, position, position + length);
                word.Add(id < 0 ? _unknown!.Value : id, length);
            }
            position += length;
        }
        return plain;
    }

    private bool AddBytes(ReadOnlySpan<int> text, int position, int length, TokenSink sink)
    {
        var bytes = System.Text.Encoding.UTF8.GetBytes(CodePoints.ToText(text));
        if (Array.Exists(bytes, value => _bytes[value] < 0))
            return false;
        foreach (var value in bytes)
            sink.AddRange(_bytes[value], position, position + length);
        return true;
    }

    private static void Offer(ref (double Score, int Start, int Id) end, double score, int start, int id)
    {
        if (end.Start < 0 || score > end.Score)
            end = (score, start, id);
    }
}
