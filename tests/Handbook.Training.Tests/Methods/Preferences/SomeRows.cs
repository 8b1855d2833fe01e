using Handbook.Data;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Tests.Methods.Preferences;

/// <summary>Makers of scored rows, and the plain way to evaluate them.</summary>
internal static class SomeRows
{
    /// <summary>Pairs with random log-probabilities, lengths 1 to 9, and a reference near the policy.</summary>
    public static List<ScoredRow> Pairs(int seed, int count, IPreferenceObjective objective)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(i =>
        {
            int chosen = random.Next(1, 10), rejected = random.Next(1, 10), prompt = random.Next(1, 6);
            return new ScoredRow
            {
                Row = i,
                PromptLength = prompt,
                Chosen = Answer(random, chosen, SegmentRole.Chosen, prompt, rejected, objective),
                Rejected = Answer(random, rejected, SegmentRole.Rejected, prompt, chosen, objective),
                PromptLogProbs = LogProbs(random, prompt - 1),
            };
        })];
    }

    /// <summary>Single answers, good and bad in turn, each with another row's answer.</summary>
    public static List<ScoredRow> Singles(int seed, int count, IPreferenceObjective objective)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(i =>
        {
            var answer = Answer(random, random.Next(1, 10), i % 2 == 0 ? SegmentRole.Chosen : SegmentRole.Rejected, 3, 0, objective);
            return new ScoredRow
            {
                Row = i,
                PromptLength = 3,
                Chosen = i % 2 == 0 ? answer : null,
                Rejected = i % 2 == 0 ? null : answer,
                Mismatched = Answer(random, random.Next(1, 10), SegmentRole.Mismatched, 3, 0, objective) with { Reference = -20 },
            };
        })];
    }

    /// <summary>A pair of one-token answers with these scores.</summary>
    public static ScoredRow Pair(double chosen, double rejected, double chosenReference = 0, double rejectedReference = 0) => new()
    {
        Row = 0,
        PromptLength = 1,
        Chosen = new() { LogProbs = new[] { chosen }, LogSquares = new double[2], Reference = chosenReference },
        Rejected = new() { LogProbs = new[] { rejected }, LogSquares = new double[2], Reference = rejectedReference },
    };

    public static GroupTotals Totals(IReadOnlyCollection<ScoredRow> rows) => new()
    {
        Rows = rows.Count,
        ChosenRows = rows.Count(row => row.Chosen is not null),
        RejectedRows = rows.Count(row => row.Rejected is not null),
        ChosenTokens = rows.Sum(row => row.Chosen?.LogProbs.Length ?? 0),
        PromptTokens = rows.Where(row => row.Chosen is not null).Sum(row => row.PromptLogProbs.Length),
    };

    private static AnswerScore Answer(Random random, int length, SegmentRole role, int prompt, int other, IPreferenceObjective objective)
    {
        var logProbs = LogProbs(random, length);
        var reference = Array.ConvertAll(logProbs, x => Math.Min(-0.01, x + random.NextDouble() - 0.5));
        return new()
        {
            LogProbs = logProbs,
            LogSquares = Enumerable.Range(0, length + 1).Select(_ => -random.NextDouble() * 4).ToArray(),
            Reference = objective.NeedsReference ? objective.Reduce(role, reference, prompt, other, reference: true) : 0,
        };
    }

    private static double[] LogProbs(Random random, int count) =>
        [.. Enumerable.Range(0, count).Select(_ => -0.02 - 4 * random.NextDouble())];
}
