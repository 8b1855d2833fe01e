using System.Diagnostics;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Training;

namespace Handbook.Text.Tests.Tokenizers;

public sealed class TokenizerBehaviourTests
{
    [Fact]
    public void Any_text_comes_back_from_its_ids()
    {
        var tokenizer = BpeTrainer.Train(Enumerable.Range(0, 50).Select(seed => Some.Text(seed, 40)), new() { VocabularySize = 400 });
        for (var seed = 100; seed < 400; seed++)
        {
            var text = Some.Text(seed, 30);
            Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
        }
    }

    [Fact]
    public void Offsets_cover_the_text_in_code_points()
    {
        // by hand: 𝔉 is one code point, two UTF-16 units, four bytes; every byte token of it covers the whole character
        var encoding = Some.ByteTokenizer().EncodeWithOffsets("a𝔉b");
        Assert.Equal([(0, 1), (1, 2), (1, 2), (1, 2), (1, 2), (2, 3)], encoding.Offsets);
    }

    [Fact]
    public void Half_a_surrogate_pair_becomes_the_replacement_character()
    {
        var tokenizer = Some.ByteTokenizer();
        Assert.Equal(tokenizer.Encode("a\uFFFDb"), tokenizer.Encode("a\uD835b"));
    }

    [Fact]
    public void A_stream_never_hands_out_half_a_character()
    {
        var tokenizer = Some.ByteTokenizer();
        var stream = tokenizer.CreateStreamDecoder();
        Assert.Equal(["", "é", "", "", "", "𝔉", "!"], tokenizer.Encode("é𝔉!").Select(stream.Append));
    }

    [Fact]
    public void Broken_bytes_at_the_end_of_a_stream_are_flushed()
    {
        var tokenizer = Some.ByteTokenizer();
        var stream = tokenizer.CreateStreamDecoder();
        Assert.Equal("", stream.Append(tokenizer.Encode("é")[0]));
        Assert.Equal("\uFFFD", stream.Flush());
    }

    [Fact]
    public void Encoding_many_texts_gives_what_encoding_each_gives()
    {
        var tokenizer = BpeTrainer.Train(Enumerable.Range(0, 50).Select(seed => Some.Text(seed, 40)), new() { VocabularySize = 400 });
        var texts = Enumerable.Range(0, 500).Select(seed => Some.Text(seed, 50)).ToArray();
        Assert.Equal(texts.Select(text => tokenizer.Encode(text)), tokenizer.EncodeAll(texts));
    }

    [Fact] // the short way searches all pairs after each merge, the long way keeps a heap: 24 symbols is where one ends
    public void Long_words_merge_as_short_ones_do()
    {
        var tokenizer = BpeTrainer.Train([new string('a', 64), "abababab abab ab"], new() { VocabularySize = 270, MinFrequency = 1 });
        for (var length = 1; length < 60; length++)
        {
            var word = string.Concat(Enumerable.Range(0, length).Select(i => i % 7 == 3 ? 'b' : 'a'));
            Assert.Equal(MergedByDefinition(tokenizer, word), tokenizer.Encode(word).Select(id => tokenizer.IdToToken(id)!));
        }
    }

    [Fact] // quadratic time would need minutes
    public void A_word_of_a_million_letters_takes_seconds_at_most()
    {
        var tokenizer = BpeTrainer.Train(["aaaa aaaa abab abab"], new() { VocabularySize = 262 });
        var clock = Stopwatch.StartNew();
        var ids = tokenizer.Encode(new string('a', 1_000_000));
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(30), $"took {clock.Elapsed}");
        Assert.Equal(1_000_000, tokenizer.Decode(ids).Length);
    }

    /// <summary>The definition: again and again the pair whose merge was learned first, leftmost first.</summary>
    private static List<string> MergedByDefinition(Tokenizer tokenizer, string word)
    {
        var parts = word.Select(letter => letter.ToString()).ToList();
        while (true)
        {
            var best = Enumerable.Range(0, Math.Max(0, parts.Count - 1))
                .Select(i => (Id: tokenizer.TokenToId(parts[i] + parts[i + 1]) ?? int.MaxValue, Index: i)).OrderBy(pair => pair)
                .FirstOrDefault((Id: int.MaxValue, Index: 0));
            if (best.Id == int.MaxValue)
                return parts;
            parts[best.Index] += parts[best.Index + 1];
            parts.RemoveAt(best.Index + 1);
        }
    }
}
