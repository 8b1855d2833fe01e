using Handbook.Base;

namespace Handbook.Text.Tokenizers.Models;

/// <summary>A model over a plain dictionary, with one token for everything unknown.</summary>
internal abstract class DictionaryModel : Model
{
    private readonly string?[] _tokens;

    protected DictionaryModel(Dictionary<string, int> vocabulary, string unknown)
    {
        Vocabulary = vocabulary;
        UnknownToken = unknown;
        _tokens = new string?[vocabulary.Count == 0 ? 0 : vocabulary.Values.Max() + 1];
        foreach (var (token, id) in vocabulary)
            _tokens[id] = token;
    }

    public override Dictionary<string, int> Vocabulary { get; }

    public override string UnknownToken { get; }

    public override int IdLimit => _tokens.Length;

    public override string? TokenOf(int id) => (uint)id < (uint)_tokens.Length ? _tokens[id] : null;

    protected int UnknownId(ReadOnlySpan<int> piece) => Vocabulary.TryGetValue(UnknownToken, out var id) ? id
        : throw new InputException($"tokenizer: \"{CodePoints.ToText(piece)}\" is not in the vocabulary, and neither is the model's "
            + $"unk_token \"{UnknownToken}\"",
            "text outside the vocabulary has no id", "add the token to the vocabulary, or set unk_token to one that is there");

    protected static int Bytes(ReadOnlySpan<int> points)
    {
        var bytes = 0;
        foreach (var point in points)
            bytes += CodePoints.Utf8Length(point);
        return bytes;
    }
}

/// <summary>One token a piece.</summary>
internal sealed class WordLevelModel(Dictionary<string, int> vocabulary, string unknown) : DictionaryModel(vocabulary, unknown)
{
    public override void Encode(ReadOnlySpan<int> piece, EncodeScratch scratch, TokenSink sink)
    {
        sink.BeginPiece();
        sink.Add(Vocabulary.TryGetValue(CodePoints.ToText(piece), out var id) ? id : UnknownId(piece), Bytes(piece));
    }
}

/// <summary>The longest known beginning, then the longest known continuation, and so on. Wu et al. 2016, arXiv:1609.08144, §4.1.</summary>
internal sealed class WordPieceModel(Dictionary<string, int> vocabulary, string unknown, string prefix, int maxCharacters)
    : DictionaryModel(vocabulary, unknown)
{
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _find =
        vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();

    public override void Encode(ReadOnlySpan<int> piece, EncodeScratch scratch, TokenSink sink)
    {
        sink.BeginPiece();
        var hash = piece.Length <= WordCache.MaxLength ? WordCache.Hash(piece) : 0;
        if (hash != 0 && scratch.Cache.TryGet(piece, hash, sink))
            return;
        var word = scratch.Merger;
        word.Clear();
        if (piece.Length > maxCharacters || !Cut(piece, word))
        {
            word.Clear();
            word.Add(UnknownId(piece), Bytes(piece));
        }
        if (hash != 0)
            scratch.Cache.Add(piece, hash, word.Ids.AsSpan(0, word.Count), word.Lengths.AsSpan(0, word.Count));
        sink.Add(word.Ids.AsSpan(0, word.Count), word.Lengths.AsSpan(0, word.Count));
    }

    private bool Cut(ReadOnlySpan<int> piece, Merger word)
    {
        var text = prefix + CodePoints.ToText(piece);
        Span<char> buffer = text.ToCharArray();
        var at = prefix.Length;                 // in UTF-16 units, behind a copy of the prefix
        while (at < buffer.Length)
        {
            var end = buffer.Length;
            var id = -1;
            for (; end > at; end -= char.IsLowSurrogate(buffer[end - 1]) ? 2 : 1)
            {
                // A continuation carries the prefix: it is written over the text just before, which is done with.
                var first = at == prefix.Length;
                if (!first)
                    prefix.CopyTo(buffer[(at - prefix.Length)..]);
                if (_find.TryGetValue(buffer[(first ? at : at - prefix.Length)..end], out id))
                    break;
                id = -1;
            }
            if (id < 0)
                return false;
            word.Add(id, System.Text.Encoding.UTF8.GetByteCount(buffer[at..end]));
            at = end;
        }
        return true;
    }
}
