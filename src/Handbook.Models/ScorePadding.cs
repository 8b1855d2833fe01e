using Handbook.Text.Tokenizers;

namespace Handbook.Models;

/// <summary>Which token a reward model is padded with.</summary>
/// <remarks>
/// The Python library reads a score at the last token whose id is not <c>pad_token_id</c>. Where that is the end token, as many tokenizers
/// have it, it would read the score one token too early: so a saved reward model gets a padding token that ends no text.
/// </remarks>
internal static class ScorePadding
{
    // What publishers called a token that is there for padding, in the order of preference.
    private static readonly string[] _names = ["<pad>", "[PAD]", "<|pad|>", "<|padding|>", "<|finetune_right_pad_id|>"];

    /// <summary>The tokenizer itself where its padding token ends no text; otherwise a copy with one that does not.</summary>
    /// <param name="endIds">Ids that end an answer, besides the tokenizer's own end token.</param>
    public static Tokenizer WithToken(Tokenizer tokenizer, IReadOnlyList<int> endIds)
    {
        bool EndsNothing(int? id) => id is { } known && known != tokenizer.EosId && !endIds.Contains(known);
        if (EndsNothing(tokenizer.PadId))
            return tokenizer;
        IEnumerable<int?> candidates = [.. _names.Select(tokenizer.TokenToId), tokenizer.UnkId, tokenizer.BosId, .. Ordinary(tokenizer)];
        return candidates.FirstOrDefault(EndsNothing) is { } found && tokenizer.IdToToken(found) is { } token
            ? tokenizer.With(padToken: token) : tokenizer;
    }

    // Every answer ends with the end token, so that even a token of the vocabulary is never the last one of a row.
    private static IEnumerable<int?> Ordinary(Tokenizer tokenizer) => Enumerable.Range(0, tokenizer.VocabularySize).Select(id => (int?)id)
        .Where(id => tokenizer.IdToToken(id!.Value) is not null);
}
