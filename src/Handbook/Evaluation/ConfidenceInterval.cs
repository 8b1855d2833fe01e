using Handbook.Base;

namespace Handbook.Evaluation;

/// <summary>A measured value with the interval that holds the true one in 95 of 100 samples.</summary>
/// <param name="Value">The metric.</param>
/// <param name="Low">Lower bound; NaN where one row tells nothing about others.</param>
/// <param name="High">Upper bound.</param>
/// <param name="Way">How the interval was found: <c>Wilson</c> or <c>bootstrap</c>.</param>
/// <param name="Count">Rows, or what else was counted.</param>
/// <param name="StandardError">That of the mean, or of a bootstrap the deviation of its values; NaN as the bounds.</param>
internal readonly record struct MeasuredValue(double Value, double Low, double High, string Way, int Count, double StandardError);

/// <summary>Intervals of 95 %.</summary>
internal static class ConfidenceInterval
{
    private const double Z = 1.959963984540054;

    private const int Resamples = 1000;

    /// <summary>A share of rows. Wilson 1927, Probable inference.</summary>
    /// <remarks><code>
    /// ( p + z²/2n ± z √( p(1−p)/n + z²/4n² ) ) / ( 1 + z²/n )
    /// standard error = √( p(1−p) / (n−1) )
    /// </code></remarks>
    public static MeasuredValue Wilson(int right, int count)
    {
        if (count == 0)
            return new(double.NaN, double.NaN, double.NaN, "Wilson", 0, double.NaN);
        double n = count, p = right / n, z2 = Z * Z;
        var middle = p + z2 / (2 * n);
        var half = Z * Math.Sqrt(p * (1 - p) / n + z2 / (4 * n * n));
        return new(p, Math.Max(0, (middle - half) / (1 + z2 / n)), Math.Min(1, (middle + half) / (1 + z2 / n)), "Wilson", count,
            count > 1 ? Math.Sqrt(p * (1 - p) / (n - 1)) : double.NaN);
    }

    /// <summary>Any function of the rows: percentiles of its values over rows drawn with replacement. Efron 1979.</summary>
    /// <param name="rows">What each row gave.</param>
    /// <param name="aggregate">From some rows, by number, to the metric.</param>
    /// <param name="seed">Of the draws.</param>
    public static MeasuredValue Bootstrap(int rows, Func<IReadOnlyList<int>, double> aggregate, long seed, int? count = null)
    {
        if (rows == 0)
            return new(double.NaN, double.NaN, double.NaN, "bootstrap", 0, double.NaN);
        var all = new int[rows];
        for (var i = 0; i < rows; i++)
            all[i] = i;
        var value = aggregate(all);
        if (rows == 1)
            return new(value, double.NaN, double.NaN, "bootstrap", count ?? 1, double.NaN);
        var random = new SplitMix((ulong)seed);
        var (values, drawn) = (new double[Resamples], new int[rows]);
        for (var b = 0; b < Resamples; b++)
        {
            for (var i = 0; i < rows; i++)
                drawn[i] = (int)(random.Next() % (ulong)rows);
            values[b] = aggregate(drawn);
        }
        Array.Sort(values);
        var mean = values.Average();
        return new(value, values[(int)(0.025 * Resamples)], values[(int)(0.975 * Resamples) - 1], "bootstrap", count ?? rows,
            Math.Sqrt(values.Sum(one => (one - mean) * (one - mean)) / (Resamples - 1)));
    }

    /// <summary>The mean: Wilson where every value is 0 or 1, otherwise bootstrap.</summary>
    public static MeasuredValue Mean(IReadOnlyList<double> values, long seed) => values.All(value => value is 0 or 1)
        ? Wilson(values.Count(value => value == 1), values.Count)
        : Bootstrap(values.Count, rows =>
        {
            var sum = 0.0;
            foreach (var row in rows)
                sum += values[row];
            return sum / rows.Count;
        }, seed);
}
