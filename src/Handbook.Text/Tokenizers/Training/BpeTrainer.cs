using Handbook.Base;
using Handbook.Text.Tokenizers.Patterns;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tokenizers.Training;

/// <summary>Learns a byte-level BPE tokenizer. Sennrich et al. 2016, arXiv:1508.07909; bytes as in Radford et al. 2019 (GPT-2).</summary>
/// <remarks>Deterministic, whatever the number of threads or the order of texts: words are counted, and of equally frequent pairs the one
/// with the lower ids is merged first.</remarks>
public static class BpeTrainer
{
    /// <summary>Learns from texts; each is cut into words by itself.</summary>
    /// <exception cref="InputException">The options cannot be met.</exception>
    public static Tokenizer Train(IEnumerable<string> texts, BpeTrainerOptions options)
    {
        options.Validate();
        var learner = new PairLearner();
        foreach (var token in options.AllSpecialTokens)
            learner.Add(token);
        foreach (var point in Enumerable.Range(0, 256).Select(value => ByteAlphabet.PointOf((byte)value)).Order())
            learner.Add(((char)point).ToString());
        var scanner = options.Pattern switch
        {
            SplitPattern.Llama3 => SplitScanner.Llama3,
            SplitPattern.Qwen2 => SplitScanner.Qwen2,
            _ => SplitScanner.Gpt2,
        };
        var words = WordCounts.Of(texts, normalizer: null, new SequencePreTokenizer([new Split(scanner, SplitBehavior.Isolated),
            new ByteLevel(addPrefixSpace: false, useRegex: false)]));
        learner.Learn(words.Select(word => (word.Key.Select(character => learner.Add(character.ToString())).ToArray(), word.Value)),
            options.VocabularySize, options.MinFrequency);
        return TrainedTokenizer.Create(learner.Tokens, learner.Merges, options);
    }
}
