using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Grpo;

/// <summary>Log-probabilities of every token of sampled answers under a model, without gradients.</summary>
internal static class TokenScores
{
    /// <param name="rows">Prompts with answers.</param>
    /// <param name="temperature">What logits are divided by.</param>
    /// <returns>Per row, by its number, the log-probabilities of each answer.</returns>
    public static Dictionary<int, double[][]> Of(Decoder model, ITokenRows rows, int[] numbers, int maxTokens, double temperature)
    {
        using var mode = GradMode.Disabled();
        var (parts, result) = (new GroupParts(rows, numbers, maxTokens), new Dictionary<int, double[][]>());
        foreach (var bin in BatchLoader.Bins(parts, parts.Of(numbers), maxTokens))
        {
            using var scope = TensorScope.Enter();
            var places = new AnswerPlaces(bin.Batch, withEnd: false);
            var statistics = new HeadStatistics(places.Count);
            LinearLogProb.LogProbs(RowSelect.Forward(model.Hidden(bin.Stream), places.Places), model.Head, places.Targets, Head(model, temperature), statistics);
            foreach (var row in places.Rows)
                result[row.Row] = [.. row.Spans.Where(span => span.Role == SegmentRole.Sample).Select(span => statistics.LogProb.AsSpan(span.First, span.Count).ToArray())];
        }
        return numbers.ToDictionary(number => number, number => parts[number].SelectMany(part => result[part]).ToArray());
    }

    /// <summary>The head as answers are drawn from it.</summary>
    public static HeadOptions Head(Decoder model, double temperature) => temperature == 1 ? model.HeadOptions
        : model.HeadOptions.SoftCap == 0 ? model.HeadOptions with { Scale = model.HeadOptions.Scale / temperature }
        : throw new InputException($"temperature is {temperature}, but this model caps its logits before a temperature would divide them", fix: "use temperature: 1.0");
}
