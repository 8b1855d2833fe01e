using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Distributed;
using Handbook.Torch.Fused;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Grpo;

/// <summary>Log-probabilities of every token of sampled answers under a model, without gradients.</summary>
internal static class TokenScores
{
    /// <param name="rows">Prompts with answers.</param>
    /// <param name="temperature">What logits are divided by.</param>
    /// <param name="context">Who computes a part of every bin's tokens each; null for this process alone.</param>
    /// <returns>Per row, by its number, the log-probabilities of each answer.</returns>
    public static Dictionary<int, double[][]> Of(Decoder model, ITokenRows rows, int[] numbers, int maxTokens, double temperature,
        ContextGroup? context = null)
    {
        using var mode = GradMode.Disabled();
        var (parts, result) = (new GroupParts(rows, numbers, maxTokens), new Dictionary<int, double[][]>());
        foreach (var bin in BatchLoader.OwnBins(parts, parts.Of(numbers), maxTokens, context))
        {
            using var scope = TensorScope.Enter();
            var places = new AnswerPlaces(bin.Batch, withEnd: false);
            var statistics = new HeadStatistics(places.Count);
            TokenLogProbs.Of(model, bin, places.Places, places.Targets, statistics, temperature: temperature);
            foreach (var row in places.Rows)
                result[row.Row] = [.. row.Spans.Where(span => span.Role == SegmentRole.Sample)
                    .Select(span => statistics.LogProb.AsSpan(span.First, span.Count).ToArray())];
        }
        return numbers.ToDictionary(number => number, number => parts[number].SelectMany(part => result[part]).ToArray());
    }
}
