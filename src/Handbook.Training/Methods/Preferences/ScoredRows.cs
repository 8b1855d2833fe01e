using Handbook.Training.Distributed;

namespace Handbook.Training.Methods.Preferences;

/// <summary>The scored rows of a group whose losses depend on one another, from every worker that has some of them.</summary>
internal static class ScoredRows
{
    /// <returns>All rows, by their number, however they were shared out, and where this worker's own stand among them.</returns>
    public static (IReadOnlyList<ScoredRow> All, int[] Own) Gather(IReadOnlyList<ScoredRow> mine, Workers workers)
    {
        var (all, own) = workers.Groups == 1 ? (mine, 0) : Everyones(mine, workers);
        int[] order = [.. Enumerable.Range(0, all.Count).OrderBy(i => all[i].Row)];
        var places = new int[all.Count];
        for (var i = 0; i < order.Length; i++)
            places[order[i]] = i;
        return ([.. order.Select(i => all[i])], places[own..(own + mine.Count)]);
    }

    // Group by group, and where this worker's begin.
    private static (IReadOnlyList<ScoredRow> All, int Own) Everyones(IReadOnlyList<ScoredRow> mine, Workers workers)
    {
        var numbers = new List<double>();
        foreach (var row in mine)
            Write(row, numbers);
        var (all, own) = (new List<ScoredRow>(), 0);
        foreach (var (group, part) in workers.GatherGroups([.. numbers]).Index())
        {
            if (group == workers.Group)
                own = all.Count;
            var rest = new Queue<double>(part);
            while (rest.Count > 0)
                all.Add(Read(rest));
        }
        return (all, own);
    }

    private static void Write(ScoredRow row, List<double> numbers)
    {
        numbers.Add(row.Row);
        numbers.Add(row.PromptLength);
        Write(row.PromptLogProbs, numbers);
        foreach (var score in (AnswerScore?[])[row.Chosen, row.Rejected, row.Mismatched])
        {
            numbers.Add(score is null ? 0 : 1);
            if (score is null)
                continue;
            numbers.Add(score.Reference);
            Write(score.LogProbs, numbers);
            Write(score.LogSquares, numbers);
        }
    }

    private static void Write(ReadOnlyMemory<double> values, List<double> numbers)
    {
        numbers.Add(values.Length);
        foreach (var value in values.Span)
            numbers.Add(value);
    }

    private static ScoredRow Read(Queue<double> numbers) => new()
    {
        Row = (int)numbers.Dequeue(),
        PromptLength = (int)numbers.Dequeue(),
        PromptLogProbs = Values(numbers),
        Chosen = Score(numbers),
        Rejected = Score(numbers),
        Mismatched = Score(numbers),
    };

    private static AnswerScore? Score(Queue<double> numbers) =>
        numbers.Dequeue() == 0 ? null : new() { Reference = numbers.Dequeue(), LogProbs = Values(numbers), LogSquares = Values(numbers) };

    private static double[] Values(Queue<double> numbers)
    {
        var values = new double[(int)numbers.Dequeue()];
        for (var i = 0; i < values.Length; i++)
            values[i] = numbers.Dequeue();
        return values;
    }
}
