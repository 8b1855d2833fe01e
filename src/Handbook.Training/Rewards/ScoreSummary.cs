namespace Handbook.Training.Rewards;

/// <summary>What became of the rows that were to be scored.</summary>
internal sealed class ScoreSummary
{
    /// <summary>Rows of the data set that are done.</summary>
    public long Rows { get; set; }

    /// <summary>Rows with their scores.</summary>
    public long Scored { get; set; }

    /// <summary>Scored rows that are pairs.</summary>
    public long Pairs { get; set; }

    /// <summary>Pairs whose chosen answer scores higher than the rejected one.</summary>
    public long Right { get; set; }

    /// <summary>Sum over pairs of the chosen answer's score less the rejected one's.</summary>
    public double MarginSum { get; set; }

    public long Scores { get; set; }

    public double ScoreSum { get; set; }

    public double Least { get; set; } = double.MaxValue;

    public double Greatest { get; set; } = double.MinValue;

    /// <summary>How often a classifier chose each label.</summary>
    public SortedDictionary<string, long> Labels { get; init; } = new(StringComparer.Ordinal);

    /// <summary>Why rows have no score, with their number and the place of the first.</summary>
    public SortedDictionary<string, Unscored> Left { get; init; } = new(StringComparer.Ordinal);

    /// <summary>Rows without a score.</summary>
    /// <param name="First">The first of them, and what is wrong with it.</param>
    public sealed record Unscored(long Count, string First);

    public double Accuracy => Pairs == 0 ? 0 : (double)Right / Pairs;

    internal void AddPair(double chosen, double rejected)
    {
        Add(chosen);
        Add(rejected);
        Scored++;
        Pairs++;
        Right += chosen > rejected ? 1 : 0;
        MarginSum += chosen - rejected;
    }

    internal void AddSingle(double score)
    {
        Add(score);
        Scored++;
    }

    /// <param name="chosen">The labels of each answer of a row.</param>
    internal void AddLabels(IEnumerable<string> chosen)
    {
        Scored++;
        foreach (var label in chosen)
            Labels[label] = Labels.GetValueOrDefault(label) + 1;
    }

    internal void Leave(string reason, string example) =>
        Left[reason] = Left.TryGetValue(reason, out var known) ? known with { Count = known.Count + 1 } : new(1, example);

    private void Add(double score)
    {
        Scores++;
        ScoreSum += score;
        (Least, Greatest) = (Math.Min(Least, score), Math.Max(Greatest, score));
    }
}
