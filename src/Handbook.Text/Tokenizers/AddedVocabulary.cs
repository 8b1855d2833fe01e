using Handbook.Text.Tokenizers.Models;
using Handbook.Text.Tokenizers.Normalizers;

namespace Handbook.Text.Tokenizers;

/// <summary>All added tokens of a tokenizer, and the two passes that cut them out of a text.</summary>
/// <remarks>Tokens with <c>normalized: false</c> are cut out of the raw text; what remains is normalized, and the others are cut out of
/// that, by their own normalized content.</remarks>
internal sealed class AddedVocabulary
{
    private readonly Dictionary<string, AddedToken> _byContent = new(StringComparer.Ordinal);
    private readonly Dictionary<int, AddedToken> _byId = [];
    private readonly HashSet<string> _special = new(StringComparer.Ordinal);
    private readonly AddedTokenMatcher _raw;
    private readonly AddedTokenMatcher _normalized;

    /// <param name="listed">Tokens in the order in which they are added; of two with the same content the later one's flags count.</param>
    /// <param name="own">How many of them tokenizer.json lists itself; null for all.</param>
    /// <param name="splitsSpecial">Whether special tokens in a text are left to the model: <c>split_special_tokens</c>.</param>
    public AddedVocabulary(IReadOnlyList<AddedToken> listed, Model model, Normalizer? normalizer, int? own = null,
        bool splitsSpecial = false)
    {
        var tokens = Ids(listed, content => model.Vocabulary.TryGetValue(content, out var id) ? id : null, model.Vocabulary.Count, own);
        foreach (var token in tokens)
        {
            _byContent[token.Content] = token;
            _byId[token.Id] = token;
            if (token.Special)
                _special.Add(token.Content);
        }
        // Special tokens stand before ordinary ones: the first of two equal texts wins.
        var cut = tokens.OrderBy(token => token.Special ? 0 : 1)
            .Select(token => token with { Ignored = splitsSpecial && token.Special }).ToArray();
        _raw = new(cut.Where(token => !token.Normalized).Select(token => (token, token.Content)));
        _normalized = new(cut.Where(token => token.Normalized)
            .Select(token => (token, normalizer is null ? token.Content : normalizer.Apply(token.Content))));
    }

    /// <summary>Every token once, with its id as the reference gives it, whatever the file says: that of the vocabulary, else the next one
    /// from the vocabulary's end on, even where ids with gaps have taken it. Tokens of other files go on behind the last of all.</summary>
    /// <param name="idOf">The id within the model's vocabulary; null where the token is not in it.</param>
    /// <param name="size">Number of tokens of the model's vocabulary.</param>
    /// <param name="own">How many of them tokenizer.json lists itself; null for all.</param>
    public static List<AddedToken> Ids(IReadOnlyList<AddedToken> listed, Func<string, int?> idOf, int size, int? own = null)
    {
        var tokens = new List<AddedToken>(listed.Count);
        var places = new Dictionary<string, int>(StringComparer.Ordinal);
        var next = size;
        foreach (var (i, token) in listed.Index())
        {
            if (i == own)
                next = Math.Max(size, tokens.Select(one => one.Id).DefaultIfEmpty(-1).Max() + 1);
            if (token.Content.Length == 0)
                continue;
            if (places.TryGetValue(token.Content, out var place))
            {
                tokens[place] = token with { Id = tokens[place].Id, Special = token.Special || tokens[place].Special };
                continue;
            }
            places[token.Content] = tokens.Count;
            tokens.Add(token with { Id = idOf(token.Content) ?? next++ });
        }
        return tokens;
    }

    public IEnumerable<AddedToken> Tokens => _byId.OrderBy(pair => pair.Key).Select(pair => pair.Value);

    public int? IdOf(string content) => _byContent.TryGetValue(content, out var token) ? token.Id : null;

    public string? ContentOf(int id) => _byId.TryGetValue(id, out var token) ? token.Content : null;

    public AddedToken? Find(int id) => _byId.GetValueOrDefault(id);

    public bool IsSpecial(string content) => _special.Contains(content);

    /// <summary>Cuts added tokens out of the raw text and the normalized rest, and fills the pieces with both.</summary>
    public void Cut(TextBuffer raw, Normalizer? normalizer, EncodeScratch scratch)
    {
        var pieces = scratch.Pieces;
        pieces.Clear(raw.Tracked);
        scratch.RawMatches.Clear();
        if (_raw.IsEmpty)
            scratch.RawMatches.Add(new(0, raw.Count, -1));
        else
            _raw.Find(raw.Text, scratch.RawMatches);
        foreach (var part in scratch.RawMatches)
        {
            if (part.Id >= 0)
            {
                AppendPiece(pieces, raw, part.Start, part.End, part.Id);
                continue;
            }
            var text = raw;
            var (start, end) = (part.Start, part.End);
            if (normalizer is not null && end > start)
            {
                text = Slice(raw, start, end, scratch.Normal);
                text = normalizer.Apply(text, scratch.Spare);
                (start, end) = (0, text.Count);
            }
            AppendText(pieces, text, start, end, scratch.NormalMatches);
        }
    }

    private void AppendText(PieceList pieces, TextBuffer text, int start, int end, List<AddedMatch> matches)
    {
        if (_normalized.IsEmpty)
        {
            AppendPiece(pieces, text, start, end, -1);
            return;
        }
        matches.Clear();
        _normalized.Find(text.Points.AsSpan(start, end - start), matches);
        foreach (var match in matches)
            AppendPiece(pieces, text, start + match.Start, start + match.End, match.Id);
    }

    private static void AppendPiece(PieceList pieces, TextBuffer from, int start, int end, int id)
    {
        if (end <= start)
            return;
        var at = pieces.Text.Count;
        pieces.Text.Append(from, start, end);
        pieces.Pieces.Add(new(at, pieces.Text.Count, id));
    }

    private static TextBuffer Slice(TextBuffer from, int start, int end, TextBuffer to)
    {
        to.Clear(from.Tracked);
        to.Append(from, start, end);
        if (from.Tracked)
            to.Origin = from.Starts[start];
        return to;
    }
}
