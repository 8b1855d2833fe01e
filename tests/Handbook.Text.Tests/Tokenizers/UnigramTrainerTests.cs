using System.Text.Json;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Training;

namespace Handbook.Text.Tests.Tokenizers;

public sealed class UnigramTrainerTests
{
    /// <summary>What the Rust library made of sixty lines, which is small enough that nothing is pruned: pieces, and scores to the last
    /// digits. (It gives characters that no word needs scores in the order in which it meets them; they are all near the least.)</summary>
    [Fact]
    public void Pieces_and_scores_are_those_of_the_reference()
    {
        using var golden = JsonDocument.Parse(File.ReadAllBytes(
            Path.Combine(SharedFiles.Repository, "tests", "golden", "tokenizers", "unigram-trained.json")));
        var texts = golden.RootElement.GetProperty("texts").EnumerateArray().Select(text => text.GetString()!);
        var expected = golden.RootElement.GetProperty("pieces").EnumerateArray()
            .ToDictionary(piece => piece[0].GetString()!, piece => piece[1].GetDouble());
        var trained = Pieces(UnigramTrainer.Train(texts, new() { VocabularySize = 8001 })).Where(piece => piece.Key != "<unk>").ToArray();
        Assert.Equal(expected.Keys.Order(StringComparer.Ordinal), trained.Select(piece => piece.Key).Order(StringComparer.Ordinal));
        var least = trained.Where(piece => piece.Key.Length > 1).Min(piece => piece.Value);
        foreach (var (piece, score) in trained)
            Assert.Equal(expected[piece], score, piece.Length == 1 && score <= least + 0.02 ? 0.02 : 1e-9);
    }

    [Fact]
    public void Substrings_are_those_that_are_not_always_followed_by_the_same()
    {
        // "abc" and "abd": "ab" is followed by c and by d. "bc" occurs twice, but always ends its word.
        var (text, found) = RepeatedSubstrings.Of([.. new[] { "abc", "abd", "xbc" }.Select(CodePoints.Of)], maxLength: 16);
        Assert.Equal(["ab"], found.Select(one => CodePoints.ToText(text.AsSpan(one.Start, one.Length))));
        Assert.Equal(2, found[0].Count);
    }

    [Fact]
    public void Expected_counts_of_two_ways_are_their_probabilities()
    {
        // "ab" as one piece has e⁻¹, as two e⁻¹·e⁻¹ = e⁻²: shares 1/(1+e⁻¹) and e⁻¹/(1+e⁻¹).
        var lattice = new UnigramLattice([([], double.NaN), ([1, 2], -1), ([1], -1), ([2], -1)]);
        var expected = new double[4];
        lattice.AddExpected([1, 2], 10, expected);
        var share = 1 / (1 + Math.Exp(-1));
        Assert.Equal(10 * share, expected[1], 1e-12);
        Assert.Equal(10 * (1 - share), expected[2], 1e-12);
        Assert.Equal(10 * (1 - share), expected[3], 1e-12);
        Assert.Equal([1], lattice.Best([1, 2]));
        Assert.Equal([2, 3], lattice.Best([1, 2], without: 1));
        Assert.Equal([0, 3], lattice.Best([9, 2]));
    }

    [Fact]
    public void Pieces_are_pruned_to_the_size_and_texts_come_back()
    {
        var texts = Enumerable.Range(0, 300).Select(seed => Some.Text(seed, 60)).ToArray();
        var options = new UnigramTrainerOptions { VocabularySize = 400, BosToken = "<s>", EosToken = "</s>" };
        var tokenizer = UnigramTrainer.Train(texts, options);
        Assert.Equal((400, 0, 1, 2), (tokenizer.VocabularySize, tokenizer.UnkId, tokenizer.BosId, tokenizer.EosId));
        Assert.Equal(tokenizer.Fingerprint, UnigramTrainer.Train(texts.Reverse(), options).Fingerprint);
        Assert.Equal("a B 中", tokenizer.Decode(tokenizer.Encode("a B 中"), skipSpecialTokens: true));
        Assert.Equal(1, tokenizer.Encode("a")[0]);
    }

    [Fact]
    public void A_vocabulary_too_small_for_the_characters_is_refused() => Assert.Contains("is too small",
        Assert.Throws<InputException>(() => UnigramTrainer.Train(["abcdefgh"], new() { VocabularySize = 5 })).Message);

    private static Dictionary<string, double> Pieces(Tokenizer tokenizer)
    {
        using var folder = new TemporaryFolder();
        tokenizer.Save(folder.Path);
        using var json = JsonDocument.Parse(File.ReadAllBytes(folder["tokenizer.json"]));
        return json.RootElement.GetProperty("model").GetProperty("vocab").EnumerateArray()
            .ToDictionary(piece => piece[0].GetString()!, piece => piece[1].GetDouble());
    }
}
