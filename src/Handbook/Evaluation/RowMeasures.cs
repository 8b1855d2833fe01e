using System.Text;
using System.Text.RegularExpressions;

namespace Handbook.Evaluation;

/// <summary>What one row gave for one metric under one filter.</summary>
/// <param name="Metric">The metric's name.</param>
/// <param name="Filter">The filter's name; <c>none</c> where nothing was filtered.</param>
/// <param name="Values">Values to be averaged; of a perplexity Σ log p and the count that it is divided by.</param>
internal sealed record RowMeasure(string Metric, string Filter, IReadOnlyList<double> Values)
{
    /// <summary>As the harness's files name it.</summary>
    public string Key => $"{Metric},{Filter}";
}

/// <summary>What a row gave, from what the model said of it.</summary>
internal static partial class RowMeasures
{
    /// <summary>Of measures without a filter.</summary>
    public const string Unfiltered = "none";

    /// <summary>Choice by likelihood; the first of equal ones is taken.</summary>
    /// <remarks><code>
    /// acc       argmax log p(choice)
    /// acc_norm  argmax log p(choice) / characters of the choice; acc_bytes: / its bytes in UTF-8
    /// mc2       Σ p(right) / Σ p(all)        TruthfulQA, Lin et al. 2022, arXiv:2109.07958
    /// </code></remarks>
    public static IEnumerable<RowMeasure> Choice(IReadOnlyList<TaskMetric> metrics, TaskQuestion question, ContinuationScore[] scores)
    {
        foreach (var metric in metrics)
            yield return new(metric.Name, Unfiltered, [metric.Name switch
            {
                "acc_norm" => Best(i => scores[i].LogProb / Math.Max(1, question.Choices[i].EnumerateRunes().Count())),
                "acc_bytes" => Best(i => scores[i].LogProb / Math.Max(1, Encoding.UTF8.GetByteCount(question.Choices[i]))),
                "mc2" => Share(question.Right, scores),
                _ => Best(i => scores[i].LogProb),
            }]);

        double Best(Func<int, double> of) =>
            question.Right.Contains(Enumerable.Range(0, scores.Length).MaxBy(of)) ? 1 : 0;
    }

    private static double Share(IReadOnlyList<int> right, ContinuationScore[] scores)
    {
        var most = scores.Max(score => score.LogProb);
        var all = scores.Select(score => Math.Exp(score.LogProb - most)).ToArray();
        return right.Distinct().Sum(index => all[index]) / all.Sum();
    }

    /// <summary>One answer's likelihood.</summary>
    public static IEnumerable<RowMeasure> Likelihood(IReadOnlyList<TaskMetric> metrics, ContinuationScore score) =>
        metrics.Select(metric => new RowMeasure(metric.Name, Unfiltered,
            metric.Name == "acc" ? [score.IsGreedy ? 1 : 0] : [score.LogProb, 1]));

    /// <summary>A whole text's likelihood, per word, byte or bit.</summary>
    public static IEnumerable<RowMeasure> Rolling(IReadOnlyList<TaskMetric> metrics, string text, double logProb) =>
        metrics.Select(metric => new RowMeasure(metric.Name, Unfiltered, [logProb,
            metric.Name == "word_perplexity" ? Blanks().Count(text) + 1 : Encoding.UTF8.GetByteCount(text)]));

    /// <summary>Whether an answer is a right one, letter for letter after what the metric ignores.</summary>
    public static bool Equal(TaskMetric metric, string answer, string target) => Plain(metric, answer) == Plain(metric, target);

    private static string Plain(TaskMetric metric, string text)
    {
        foreach (var ignored in metric.Ignored)
            text = ignored.Replace(text, "");
        if (metric.IgnoreCase)
            text = text.ToLowerInvariant();
        if (metric.IgnorePunctuation)
            text = string.Concat(text.Where(letter => !char.IsAscii(letter) || !(char.IsPunctuation(letter) || char.IsSymbol(letter))));
        return metric.IgnoreNumbers ? string.Concat(text.Where(letter => !char.IsAsciiDigit(letter))) : text;
    }

    /// <summary>The chance that at least one of k answers is right, from c right ones among n. Chen et al. 2021, arXiv:2107.03374, eq.
    /// 1.</summary>
    /// <remarks><code>1 − C(n−c, k) / C(n, k) = 1 − ∏ (1 − k/i),  i = n−c+1 … n</code></remarks>
    public static double PassAt(int k, int n, int c)
    {
        if (n - c < k)
            return 1;
        var none = 1.0;
        for (var i = n - c + 1; i <= n; i++)
            none *= 1 - (double)k / i;
        return 1 - none;
    }

    /// <summary>The metric over some rows.</summary>
    /// <param name="metric">Its name.</param>
    /// <param name="rows">What each row gave.</param>
    /// <param name="which">Rows that count.</param>
    public static double Aggregate(string metric, IReadOnlyList<IReadOnlyList<double>> rows, IReadOnlyList<int> which)
    {
        var (sum, count) = (0.0, 0.0);
        var isRatio = IsRatio(metric);
        foreach (var row in which)
        {
            var values = rows[row];
            if (isRatio)
                (sum, count) = (sum + values[0], count + values[1]);
            else
                foreach (var value in values)
                    (sum, count) = (sum + value, count + 1);
        }
        return metric == "bits_per_byte" ? -sum / count / Math.Log(2) : isRatio ? Math.Exp(-sum / count) : sum / count;
    }

    /// <summary>A metric with its interval of 95 %.</summary>
    public static MeasuredValue Measure(string metric, IReadOnlyList<IReadOnlyList<double>> rows, long seed)
    {
        if (!IsRatio(metric) && rows.All(values => values.Count == 1))
            return ConfidenceInterval.Mean([.. rows.Select(values => values[0])], seed);
        return ConfidenceInterval.Bootstrap(rows.Count, which => Aggregate(metric, rows, which), seed);
    }

    private static bool IsRatio(string metric) => metric == "bits_per_byte" || metric.EndsWith("perplexity", StringComparison.Ordinal);

    [GeneratedRegex(@"\s+")]
    private static partial Regex Blanks();
}
