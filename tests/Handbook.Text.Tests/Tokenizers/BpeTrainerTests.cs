using System.Text.Json;
using Handbook.Testing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Training;

namespace Handbook.Text.Tests.Tokenizers;

public sealed class BpeTrainerTests
{
    [Fact] // by hand: "abab" ×3, "ab" ×1, "cb" ×2 — (a,b) 7 times; then (ab,ab) 3 times; then (c,b) 2 times
    public void Merges_follow_the_frequency_of_pairs()
    {
        var tokenizer = BpeTrainer.Train(["abab", "abab", "abab", "ab", "cb", "cb"], new() { VocabularySize = 300 });
        Assert.Equal(["ab", "abab", "cb"], Learned(tokenizer));
    }

    [Fact] // by hand: all pairs twice; the one with the lower ids comes first: (a,b) before (c,d)
    public void Equally_frequent_pairs_are_merged_in_the_order_of_their_ids()
    {
        var tokenizer = BpeTrainer.Train(["cd", "cd", "ab", "ab"], new() { VocabularySize = 300 });
        Assert.Equal(["ab", "cd"], Learned(tokenizer));
    }

    [Fact]
    public void Counts_kept_up_to_date_give_the_same_as_counting_anew()
    {
        for (var seed = 0; seed < 20; seed++)
        {
            var random = new Random(seed);
            var words = Enumerable.Range(0, 30)
                .Select(_ => new string([.. Enumerable.Range(0, 1 + random.Next(12)).Select(_ => "aab"[random.Next(3)])])).ToArray();
            var tokenizer = BpeTrainer.Train(words, new() { VocabularySize = 276 });
            Assert.Equal(LearnedByDefinition(words, 20), Learned(tokenizer));
        }
    }

    [Fact]
    public void The_order_of_texts_does_not_matter()
    {
        var texts = Enumerable.Range(0, 200).Select(seed => Some.Text(seed, 60)).ToArray();
        var options = new BpeTrainerOptions { VocabularySize = 500, SpecialTokens = ["<s>"] };
        Assert.Equal(BpeTrainer.Train(texts, options).Fingerprint, BpeTrainer.Train(texts.Reverse(), options).Fingerprint);
    }

    [Theory, InlineData(SplitPattern.Gpt2), InlineData(SplitPattern.Llama3), InlineData(SplitPattern.Qwen2)]
    public void A_trained_tokenizer_is_saved_in_the_published_layout(SplitPattern pattern)
    {
        using var folder = new TemporaryFolder();
        var trained = BpeTrainer.Train(Enumerable.Range(0, 50).Select(seed => Some.Text(seed, 60)), new()
        {
            VocabularySize = 320,
            Pattern = pattern,
            SpecialTokens = ["<pad>", "<|user|>"],
            BosToken = "<s>",
            EosToken = "</s>",
            PadToken = "<pad>",
            ChatTemplate = "{{ bos_token }}",
            ModelMaxLength = 512,
        });
        trained.Save(folder.Path);
        var tokenizer = Tokenizer.Load(folder.Path);
        Assert.Equal((0, 2, 3), (tokenizer.PadId, tokenizer.BosId, tokenizer.EosId));
        Assert.Equal((320, 512, "{{ bos_token }}"), (tokenizer.VocabularySize, tokenizer.ModelMaxLength, tokenizer.ChatTemplate));
        Assert.Equal(trained.Encode("It's 12345 <|user|>!"), tokenizer.Encode("It's 12345 <|user|>!"));
        Assert.Equal(2, tokenizer.Encode("x")[0]);
        using var json = JsonDocument.Parse(File.ReadAllBytes(folder["tokenizer.json"]));
        Assert.Equal(["version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder",
            "model"], json.RootElement.EnumerateObject().Select(member => member.Name));
    }

    [Fact]
    public void Rare_pairs_are_left_apart() =>
        Assert.Empty(Learned(BpeTrainer.Train(["ab", "cd"], new() { VocabularySize = 300, MinFrequency = 2 })));

    private static IEnumerable<string> Learned(Tokenizer tokenizer) =>
        Enumerable.Range(256, tokenizer.VocabularySize - 256).Select(id => tokenizer.IdToToken(id)!);

    /// <summary>Counts every pair anew before each merge.</summary>
    private static List<string> LearnedByDefinition(string[] texts, int merges)
    {
        var words = texts.Select(text => text.Select(letter => letter.ToString()).ToList()).ToArray();
        List<string> order = ["a", "b"], learned = [];
        while (learned.Count < merges)
        {
            var pairs = words.SelectMany(word => word.Zip(word.Skip(1))).GroupBy(pair => pair)
                .Select(group => (Count: group.Count(), Pair: group.Key)).Where(pair => pair.Count >= 2).ToArray();
            if (pairs.Length == 0)
                break;
            var best = pairs.OrderByDescending(pair => pair.Count).ThenBy(pair => order.IndexOf(pair.Pair.First))
                .ThenBy(pair => order.IndexOf(pair.Pair.Second)).First().Pair;
            var token = best.First + best.Second;
            if (!order.Contains(token))
            {
                order.Add(token);
                learned.Add(token);
            }
            foreach (var word in words)
                for (var i = 0; i + 1 < word.Count; i++)
                    if (word[i] == best.First && word[i + 1] == best.Second)
                    {
                        word[i] = token;
                        word.RemoveAt(i + 1);
                    }
        }
        return learned;
    }
}
