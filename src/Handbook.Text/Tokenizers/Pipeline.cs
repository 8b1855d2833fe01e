using System.Collections.Concurrent;
using Handbook.Text.Tokenizers.Decoders;
using Handbook.Text.Tokenizers.Models;
using Handbook.Text.Tokenizers.Normalizers;
using Handbook.Text.Tokenizers.PostProcessors;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tokenizers;

/// <summary>What tokenizer.json describes: text → added tokens, normalizer, pre-tokenizer, model, post-processor →
/// ids, and the way back.</summary>
internal sealed class Pipeline
{
    private readonly ConcurrentBag<EncodeScratch> _scratch = [];
    private readonly Lazy<DecodePlan?> _plan;

    public Pipeline() => _plan = new(() => DecodePlan.Of(Decoder!, TokenOf, id => TokenOf(id) is { } token && Added!.IsSpecial(token),
        Math.Max(Model!.IdLimit, Added!.Tokens.Select(token => token.Id + 1).DefaultIfEmpty(0).Max())));

    public required Normalizer? Normalizer { get; init; }

    public required PreTokenizer? PreTokenizer { get; init; }

    public required Model Model { get; init; }

    public required PostProcessor? PostProcessor { get; init; }

    public required TokenDecoder Decoder { get; init; }

    public required AddedVocabulary Added { get; init; }

    /// <summary>What makes other ids than tokenizer.json alone, for a fingerprint; empty where nothing does.</summary>
    public byte[] Changes { get; init; } = [];

    /// <summary>The bytes that an id adds to a text; null where there are none.</summary>
    public byte[]? BytesOf(int id) => (_plan.Value ?? throw new Base.InputException("the tokenizer's decoder looks at several tokens at once",
        why: "what one token adds to a text is then not known", fix: "ask for a text in a free form")).BytesOf(id);

    /// <summary>Ids of a text, without offsets: the fast way.</summary>
    /// <param name="once">Whether what the text itself begins or ends with is not added again.</param>
    /// <param name="open">Whether the text goes on, so that nothing is added behind it.</param>
    public int[] Encode(string text, bool addSpecialTokens, bool once = false, bool open = false)
    {
        var scratch = Rent();
        try
        {
            Run(text, scratch, tracked: false, (_, _) => { });
            var ids = scratch.Sink.Ids.AsSpan(0, scratch.Sink.Count);
            if (!addSpecialTokens || PostProcessor is null)
                return ids.ToArray();
            var (before, after) = PostProcessor.Frame;
            if (once && ids.StartsWith(before))
                before = [];
            if (open || (once && ids.EndsWith(after)))
                after = [];
            return [.. before, .. ids, .. after];
        }
        finally
        {
            _scratch.Add(scratch);
        }
    }

    /// <summary>Everything about a text or a pair of texts.</summary>
    public EncodedPart EncodeFully(string text, string? pair, bool addSpecialTokens)
    {
        List<EncodedPart> parts = [EncodePart(text, 0)];
        if (pair is not null)
            parts.Add(EncodePart(pair, 1));
        if (PostProcessor is not null)
            parts = PostProcessor.Process(parts, addSpecialTokens);
        for (var i = 1; i < parts.Count; i++)
            parts[0].Add(parts[i]);
        return parts.Count == 0 ? EncodedPart.Empty() : parts[0];
    }

    public string? TokenOf(int id) => Added.ContentOf(id) ?? Model.TokenOf(id);

    public int? IdOf(string token) => Added.IdOf(token) ?? (Model.Vocabulary.TryGetValue(token, out var id) ? id : null);

    /// <param name="normalized">Whether added tokens appear in their normalized form, as version 0.23 of the reference has it; a special
    /// token that changes so is then not skipped.</param>
    public string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens, bool normalized = false)
    {
        if (!normalized && _plan.Value is { } plan)
            return plan.Decode(ids, skipSpecialTokens);
        var tokens = new List<string>(ids.Length);
        foreach (var id in ids)
        {
            var token = normalized && Normalizer is not null && Added.Find(id) is { Normalized: true } added
                ? Normalizer.Apply(added.Content) : TokenOf(id);
            if (token is not null && !(skipSpecialTokens && Added.IsSpecial(token)))
                tokens.Add(token);
        }
        return string.Concat(Decoder.Apply(tokens));
    }

    private EncodedPart EncodePart(string text, int typeId)
    {
        var scratch = Rent();
        try
        {
            var part = EncodedPart.Empty();
            var first = 0;
            Run(text, scratch, tracked: true, (piece, word) =>
            {
                AddOffsets(scratch, piece, first, part, word, typeId);
                first = scratch.Sink.Count;
            });
            return part;
        }
        finally
        {
            _scratch.Add(scratch);
        }
    }

    /// <summary>Encodes piece by piece and reports each piece, with its number, once its tokens are in the sink.</summary>
    private void Run(string text, EncodeScratch scratch, bool tracked, Action<Piece, int> done)
    {
        scratch.Sink.Clear(tracked);
        scratch.Raw.Load(text, tracked || PreTokenizer is { NeedsPlaces: true });
        Added.Cut(scratch.Raw, Normalizer, scratch);
        PreTokenizer?.Apply(scratch.Pieces);
        var points = scratch.Pieces.Text.Points;
        var word = 0;
        foreach (var piece in scratch.Pieces.Pieces)
        {
            if (piece.Id >= 0)
            {
                scratch.Sink.BeginPiece();
                scratch.Sink.Add(piece.Id, 0);
            }
            else
                Model.Encode(points.AsSpan(piece.Start, piece.End - piece.Start), scratch, scratch.Sink);
            if (tracked)
                done(piece, word);
            word++;
        }
    }

    /// <summary>Turns byte ranges within a piece into ranges of the original text.</summary>
    private void AddOffsets(EncodeScratch scratch, Piece piece, int first, EncodedPart part, int word, int typeId)
    {
        var (text, sink) = (scratch.Pieces.Text, scratch.Sink);
        var count = piece.Id >= 0 ? 0 : MapBytes(scratch, piece);
        for (var i = first; i < sink.Count; i++)
        {
            var (start, end) = sink.Ranges[i];
            (int, int) offsets;
            if (piece.Id >= 0)
                offsets = (text.Starts[piece.Start], text.Ends[piece.End - 1]);
            else if (start >= end || start >= count)
                offsets = (text.Starts[piece.Start], text.Starts[piece.Start]);
            else
                offsets = (text.Starts[scratch.ByteToPoint[start]], text.Ends[scratch.ByteToPoint[Math.Min(end, count) - 1]]);
            part.Ids.Add(sink.Ids[i]);
            part.Tokens.Add(TextOf(scratch, piece, sink.Ids[i], start, Math.Min(end, count)));
            part.Offsets.Add(offsets);
            part.TypeIds.Add(typeId);
            part.Special.Add(false);
            part.Words.Add(word);
        }
    }

    /// <summary>A token as the reference shows it: added tokens, and in some models unknown ones, as the text they stand for.</summary>
    private string TextOf(EncodeScratch scratch, Piece piece, int id, int start, int end)
    {
        if (piece.Id >= 0)
            return CodePoints.ToText(scratch.Pieces.Text.Text[piece.Start..piece.End]);
        var token = Model.TokenOf(id) ?? "";
        return Model.UnknownKeepsText && token == Model.UnknownToken && end > start
            ? CodePoints.ToText(scratch.Pieces.Text.Text[scratch.ByteToPoint[start]..(scratch.ByteToPoint[end - 1] + 1)]) : token;
    }

    private static int MapBytes(EncodeScratch scratch, Piece piece)
    {
        var text = scratch.Pieces.Text;
        if (scratch.ByteToPoint.Length < (piece.End - piece.Start) * 4)
            scratch.ByteToPoint = new int[(piece.End - piece.Start) * 8];
        var count = 0;
        for (var i = piece.Start; i < piece.End; i++)
            for (var more = CodePoints.Utf8Length(text.Points[i]); more > 0; more--)
                scratch.ByteToPoint[count++] = i;
        return count;
    }

    private EncodeScratch Rent() => _scratch.TryTake(out var scratch) ? scratch : new();
}
