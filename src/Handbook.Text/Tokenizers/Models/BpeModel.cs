using Handbook.Base;

namespace Handbook.Text.Tokenizers.Models;

/// <summary>The switches of a BPE model as tokenizer.json names them.</summary>
internal sealed record BpeOptions
{
    public string? UnkToken { get; init; }
    public string ContinuingSubwordPrefix { get; init; } = "";
    public string EndOfWordSuffix { get; init; } = "";
    public bool FuseUnk { get; init; }
    public bool ByteFallback { get; init; }
    public bool IgnoreMerges { get; init; }
}

/// <summary>Byte pair encoding. Sennrich et al. 2016, arXiv:1508.07909, in the form of the Hugging Face library.</summary>
internal sealed class BpeModel : Model
{
    private const int DirectSymbols = 0x400;

    /// <summary>▁, which stands for a space in sentencepiece vocabularies.</summary>
    private const int Space = 0x2581;

    private readonly BpeOptions _options;
    private readonly string?[] _tokens;
    private readonly MergeTable _merges;
    private readonly int[] _direct = new int[DirectSymbols];        // id of a single character, −1 for none
    private readonly Dictionary<int, int> _others = [];
    private readonly int[] _bytes = new int[256];                   // ids of <0x00> … <0xFF>, −1 for none
    private readonly int _unknown;
    private readonly bool _decorated;                               // symbols carry a prefix or suffix
    private readonly bool _cutsAtSpaces;                            // no merge reaches over the beginning of a ▁ word
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _find;

    public BpeModel(Dictionary<string, int> vocabulary, MergeTable merges, BpeOptions options)
    {
        Vocabulary = vocabulary;
        _merges = merges;
        _options = options;
        _tokens = new string?[vocabulary.Count == 0 ? 0 : vocabulary.Values.Max() + 1];
        Array.Fill(_direct, -1);
        foreach (var (token, id) in vocabulary)
        {
            _tokens[id] = token;
            if (token.Length == 1 || (token.Length == 2 && char.IsSurrogatePair(token, 0)))
                SetSymbol(char.ConvertToUtf32(token, 0), id);
        }
        for (var value = 0; value < 256; value++)
            _bytes[value] = vocabulary.GetValueOrDefault($"<0x{value:X2}>", -1);
        _unknown = options.UnkToken is null ? -1 : vocabulary.GetValueOrDefault(options.UnkToken, -1);
        _decorated = options.ContinuingSubwordPrefix.Length + options.EndOfWordSuffix.Length > 0;
        _find = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        _cutsAtSpaces = !_decorated && !options.IgnoreMerges && Symbol(Space) >= 0 && !vocabulary.Keys.Any(HoldsWordStart);
    }

    /// <summary>Whether a token has a ▁ behind another character.</summary>
    private static bool HoldsWordStart(string token)
    {
        for (var i = 1; i < token.Length; i++)
            if (token[i] == Space && token[i - 1] != Space)
                return true;
        return false;
    }

    public override Dictionary<string, int> Vocabulary { get; }

    public override string? UnknownToken => _options.UnkToken;

    public override int IdLimit => _tokens.Length;

    public override string? TokenOf(int id) => (uint)id < (uint)_tokens.Length ? _tokens[id] : null;

    public override void Encode(ReadOnlySpan<int> piece, EncodeScratch scratch, TokenSink sink)
    {
        sink.BeginPiece();
        if (!_cutsAtSpaces)
        {
            EncodeWord(piece, scratch, sink);
            return;
        }
        // A whole text without pre-tokenizer: where no token holds the beginning of a word, words can be encoded one by one.
        var start = 0;
        for (var i = 1; i < piece.Length; i++)
            if (piece[i] == Space && piece[i - 1] != Space)
            {
                EncodeWord(piece[start..i], scratch, sink);
                start = i;
            }
        EncodeWord(piece[start..], scratch, sink);
    }

    private void EncodeWord(ReadOnlySpan<int> piece, EncodeScratch scratch, TokenSink sink)
    {
        if (piece.Length <= WordCache.MaxLength)
        {
            var hash = WordCache.Hash(piece);
            if (scratch.Cache.TryGet(piece, hash, sink))
                return;
            EncodeAnew(piece, scratch.Merger);
            scratch.Cache.Add(piece, hash, scratch.Merger.Ids.AsSpan(0, scratch.Merger.Count),
                scratch.Merger.Lengths.AsSpan(0, scratch.Merger.Count));
        }
        else
            EncodeAnew(piece, scratch.Merger);
        sink.Add(scratch.Merger.Ids.AsSpan(0, scratch.Merger.Count), scratch.Merger.Lengths.AsSpan(0, scratch.Merger.Count));
    }

    private void EncodeAnew(ReadOnlySpan<int> piece, Merger word)
    {
        word.Clear();
        if (_options.IgnoreMerges && TryFind(piece, out var whole))
        {
            var length = 0;
            foreach (var point in piece)
                length += CodePoints.Utf8Length(point);
            word.Add(whole, length);
            return;
        }
        int unknown = 0;                 // bytes of unknown text that wait for their token; 0: none
        for (var i = 0; i < piece.Length; i++)
        {
            var length = CodePoints.Utf8Length(piece[i]);
            var id = _decorated ? Decorated(piece, i) : Symbol(piece[i]);
            if (id >= 0)
            {
                FlushUnknown(word, ref unknown);
                word.Add(id, length);
                continue;
            }
            if (_options.ByteFallback && AddBytes(piece, i, word))
                continue;                // unknown text before stays waiting, as in the reference
            if (_options.UnkToken is null)
                continue;
            if (_unknown < 0)
                throw new InputException($"tokenizer: the model's unk_token \"{_options.UnkToken}\" is not in its vocabulary, "
                    + $"and {Show(piece[i])} needs it",
                    "text outside the vocabulary has no id", "add the token to the vocabulary, or set unk_token to one that is there");
            if (!_options.FuseUnk)
                FlushUnknown(word, ref unknown);
            unknown += length;
        }
        FlushUnknown(word, ref unknown);
        word.Merge(_merges);
    }

    private bool TryFind(ReadOnlySpan<int> piece, out int id)
    {
        if (piece.Length > WordCache.MaxLength)
            return Vocabulary.TryGetValue(CodePoints.ToText(piece), out id);
        Span<char> text = stackalloc char[WordCache.MaxLength * 2];
        var length = 0;
        foreach (var point in piece)
            length += new System.Text.Rune(point).EncodeToUtf16(text[length..]);
        return _find.TryGetValue(text[..length], out id);
    }

    private void FlushUnknown(Merger word, ref int unknown)
    {
        if (unknown > 0)
            word.Add(_unknown, unknown);
        unknown = 0;
    }

    private bool AddBytes(ReadOnlySpan<int> piece, int index, Merger word)
    {
        var text = _decorated ? DecoratedText(piece, index) : CodePoints.ToText(piece.Slice(index, 1));
        Span<byte> bytes = stackalloc byte[text.Length * 3];
        bytes = bytes[..System.Text.Encoding.UTF8.GetBytes(text, bytes)];
        foreach (var value in bytes)
            if (_bytes[value] < 0)
                return false;
        foreach (var value in bytes)
            word.Add(_bytes[value], 1);
        return true;
    }

    private int Decorated(ReadOnlySpan<int> piece, int index) => Vocabulary.GetValueOrDefault(DecoratedText(piece, index), -1);

    private string DecoratedText(ReadOnlySpan<int> piece, int index) =>
        (index > 0 ? _options.ContinuingSubwordPrefix : "") + CodePoints.ToText(piece.Slice(index, 1))
            + (index == piece.Length - 1 ? _options.EndOfWordSuffix : "");

    private int Symbol(int point) => point < DirectSymbols ? _direct[point] : _others.GetValueOrDefault(point, -1);

    private void SetSymbol(int point, int id)
    {
        if (point < DirectSymbols)
            _direct[point] = id;
        else
            _others[point] = id;
    }

    private static string Show(int point) => $"U+{point:X4}";
}
