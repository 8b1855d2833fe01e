using System.Text;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Text.Tokenizers.Formats;
using Handbook.Text.Tokenizers.Normalizers;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tokenizers.Training;

/// <summary>What a new WordPiece tokenizer of BERT's kind should be: special tokens, characters, and pieces.</summary>
public sealed record WordPieceTrainerOptions : TrainerOptions
{
    /// <summary>A pair must occur so often to become a token.</summary>
    public int MinFrequency { get; init; } = 2;

    /// <summary>So many characters get ids, the most frequent ones; others are unknown.</summary>
    public int LimitAlphabet { get; init; } = 1000;

    /// <summary>Whether texts are written in lower case and without accents.</summary>
    public bool Lowercase { get; init; } = true;

    /// <inheritdoc/>
    public override Tokenizer Train(IEnumerable<string> texts) => WordPieceTrainer.Train(texts, this);

    internal override IEnumerable<(string Role, string? Token)> Names =>
    [
        ("pad_token", PadToken ?? "[PAD]"), ("unk_token", WordPieceTrainer.Unknown), ("cls_token", WordPieceTrainer.Begin),
        ("sep_token", WordPieceTrainer.End), ("mask_token", "[MASK]"), ("bos_token", BosToken), ("eos_token", EosToken),
    ];
}

/// <summary>Learns a WordPiece tokenizer as the Rust library does: by merging the most frequent pair of characters and pieces again and
/// again, where all but the first of a word carry ##. (Schuster and Nakajima 2012 choose by likelihood; published tools do not.)</summary>
/// <remarks>Deterministic: characters have their ids in the order of their code points, and of equally frequent pairs the one with the lower
/// ids is merged first. The library numbers ##-characters in the order in which it meets words, which is another one in each run.</remarks>
public static class WordPieceTrainer
{
    internal const string Unknown = "[UNK]", Begin = "[CLS]", End = "[SEP]";

    private const string Prefix = "##";

    /// <summary>Learns from texts.</summary>
    /// <exception cref="InputException">The options cannot be met.</exception>
    public static Tokenizer Train(IEnumerable<string> texts, WordPieceTrainerOptions options)
    {
        BpeTrainerOptions.RequireFrequency(options.MinFrequency);
        if (options.LimitAlphabet < 1)
            throw new InputException($"limit alphabet is {options.LimitAlphabet}, but must be at least 1", fix: "use 1000");
        var words = WordCounts.Of(texts, new BertNormalizer(cleanText: true, handleChinese: true, stripAccents: null, options.Lowercase),
            new BertPreTokenizer());
        var alphabet = Alphabet(words, options.LimitAlphabet);
        options.Validate("characters", alphabet.Count);
        var learner = new PairLearner(Prefix);
        foreach (var token in options.AllSpecialTokens)
            learner.Add(token);
        foreach (var character in alphabet)
            learner.Add(character.ToString());
        var within = words.SelectMany(word => word.Key.EnumerateRunes().Skip(1)).Where(alphabet.Contains).ToHashSet();
        foreach (var character in alphabet.Where(within.Contains))
            learner.Add(Prefix + character);
        learner.Learn(words.Select(word => (Symbols(word.Key), word.Value)), options.VocabularySize, options.MinFrequency);
        return TrainedTokenizer.Create(Json(learner.Tokens, options), options);

        int[] Symbols(string word) => [.. word.EnumerateRunes().Select((character, index) => (Character: character, Index: index))
            .Where(one => alphabet.Contains(one.Character)).Select(one => learner.Add((one.Index == 0 ? "" : Prefix) + one.Character))];
    }

    /// <summary>The most frequent characters, in the order of their code points.</summary>
    private static SortedSet<Rune> Alphabet(IReadOnlyList<KeyValuePair<string, long>> words, int limit)
    {
        var counts = new Dictionary<Rune, long>();
        foreach (var (word, count) in words)
            foreach (var character in word.EnumerateRunes())
                counts[character] = counts.GetValueOrDefault(character) + count;
        return [.. counts.OrderByDescending(pair => pair.Value).ThenBy(pair => pair.Key).Take(limit).Select(pair => pair.Key)];
    }

    private static TokenizerJson Json(List<string> tokens, WordPieceTrainerOptions options)
    {
        int IdOf(string token) => tokens.IndexOf(token);
        return new()
        {
            AddedTokens = TrainedTokenizer.Added(options),
            Normalizer = new()
            {
                ["type"] = "BertNormalizer",
                ["clean_text"] = true,
                ["handle_chinese_chars"] = true,
                ["strip_accents"] = null,
                ["lowercase"] = options.Lowercase,
            },
            PreTokenizer = new() { ["type"] = "BertPreTokenizer" },
            PostProcessor = TokenizerJson.Template([Begin, "$A", End], [(Begin, 0), ("$A", 0), (End, 0), ("$B", 1), (End, 1)], IdOf),
            Decoder = new() { ["type"] = "WordPiece", ["prefix"] = Prefix, ["cleanup"] = true },
            Model = TokenizerJson.WordPiece(TokenizerJson.Vocabulary(tokens), Unknown, Prefix),
        };
    }
}
