using Handbook.Base;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Training;

namespace Handbook.Text.Tests.Tokenizers;

public sealed class WordPieceTrainerTests
{
    // By hand: hug ×3, pug ×2, hugs ×2. Characters g h p s u have the ids 5 … 9, ##g ##s ##u follow. The pair (##u, ##g) stands 7 times,
    // then (h, ##ug) 5, and of those that stand twice (hug, ##s) and (p, ##ug) the second has the lower first id.
    [Fact]
    public void Pairs_are_merged_by_frequency_and_continuations_lose_their_mark()
    {
        var tokenizer = WordPieceTrainer.Train(["hug hug hug pug pug hugs Hugs"], new() { VocabularySize = 17 });
        Assert.Equal(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "g", "h", "p", "s", "u", "##g", "##s", "##u", "##ug", "hug", "pug", "hugs"],
            Enumerable.Range(0, tokenizer.VocabularySize).Select(tokenizer.IdToToken));
        Assert.Equal(["[CLS]", "hugs", "pug", "[UNK]", "[SEP]"], tokenizer.Encode("hugs pug q").Select(tokenizer.IdToToken));
        Assert.Equal("hugs pug", tokenizer.Decode(tokenizer.Encode("hugs pug"), skipSpecialTokens: true));
    }

    [Fact]
    public void Rare_characters_beyond_the_limit_are_unknown()
    {
        var tokenizer = WordPieceTrainer.Train(["aa aa ab ac"], new() { VocabularySize = 20, LimitAlphabet = 1 });
        Assert.Null(tokenizer.TokenToId("b"));
        Assert.Equal("[UNK]", tokenizer.IdToToken(tokenizer.Encode("b", addSpecialTokens: false)[0]));
    }

    [Fact]
    public void The_order_of_texts_does_not_matter()
    {
        var texts = Enumerable.Range(0, 200).Select(seed => Some.Text(seed, 60)).ToArray();
        var options = new WordPieceTrainerOptions { VocabularySize = 300 };
        Assert.Equal(WordPieceTrainer.Train(texts, options).Fingerprint, WordPieceTrainer.Train(texts.Reverse(), options).Fingerprint);
    }

    [Fact]
    public void A_trained_tokenizer_is_saved_and_gives_the_ids_of_the_oracle()
    {
        using var folder = new TemporaryFolder();
        var texts = Enumerable.Range(0, 200).Select(seed => Some.Text(seed, 60)).ToArray();
        WordPieceTrainer.Train(texts, new() { VocabularySize = 300 }).Save(folder.Path);
        var tokenizer = Tokenizer.Load(folder.Path);
        using var oracle = new Oracle(File.ReadAllBytes(folder["tokenizer.json"]));
        foreach (var text in texts)
            Assert.Equal(oracle.Encode(text), tokenizer.Encode(text));
    }

    [Fact]
    public void A_vocabulary_too_small_for_the_characters_is_refused() => Assert.Contains("is too small",
        Assert.Throws<InputException>(() => WordPieceTrainer.Train(["abcdefgh"], new() { VocabularySize = 9 })).Message);
}
