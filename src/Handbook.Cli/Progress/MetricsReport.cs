using System.Globalization;
using Handbook.Training.Metrics;

namespace Handbook.Cli.Progress;

/// <summary>The block that ends a phase: <c>***** train metrics *****</c>, one name per line, as the Python trainer prints it.</summary>
internal static class MetricsReport
{
    /// <param name="split"><c>train</c>, <c>eval</c>, ….</param>
    /// <param name="metrics">Names with their values.</param>
    public static string Format(string split, MetricSet metrics)
    {
        var rows = metrics.OrderBy(pair => pair.Key, StringComparer.Ordinal)
            .Select(pair => (pair.Key, Text: Show(pair.Key, pair.Value))).ToList();
        var names = rows.Select(row => row.Key.Length).DefaultIfEmpty().Max();
        var values = rows.Select(row => row.Text.Length).DefaultIfEmpty().Max();
        return $"***** {split} metrics *****\n"
            + string.Concat(rows.Select(row => $"  {row.Key.PadRight(names)} = {row.Text.PadLeft(values)}\n"));
    }

    private static string Show(string name, MetricValue metric)
    {
        if (!double.IsFinite(metric.Value))
            return metric.Value.ToString(CultureInfo.InvariantCulture).ToLowerInvariant();
        if (name.Contains("_mem_", StringComparison.Ordinal))
            return $"{(long)metric.Value >> 20}MB";
        if (name.Contains("_runtime", StringComparison.Ordinal))
            return Duration(metric.Value);
        if (name == "total_flos")
            return $"{(long)(metric.Value / (1L << 30))}GF";
        return metric.IsCount ? metric.ToJson() : PythonJson.Number(Math.Round(metric.Value, 4));
    }

    // h:mm:ss.cc, with days before it where there are any; the hundredths are cut, not rounded.
    private static string Duration(double seconds)
    {
        var whole = TimeSpan.FromSeconds(Math.Truncate(Math.Abs(seconds)));
        var hundredths = (int)((Math.Abs(seconds) - Math.Truncate(Math.Abs(seconds))) * 100);
        var days = whole.Days == 0 ? "" : whole.Days == 1 ? "1 day, " : $"{whole.Days} days, ";
        return $"{days}{whole.Hours}:{whole.Minutes:00}:{whole.Seconds:00}.{hundredths:00}";
    }
}
