namespace Handbook.Training.Metrics;

/// <summary>The last entry of a run's log, as the Python trainer writes it: what was measured of the training as a whole.</summary>
internal static class ClosingEntry
{
    private static readonly string[] s_names =
        ["train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss"];

    /// <summary>Whether a number is of a whole training, not of a step.</summary>
    public static bool Has(string name) => s_names.Contains(name);

    /// <param name="results">What <c>train_results.json</c> holds.</param>
    public static MetricSet Of(MetricSet results) => new(s_names.Select(name => KeyValuePair.Create(name, results[name])));

    /// <summary>Whether an entry of the log has it.</summary>
    public static bool IsIn(MetricSet entry) => entry.Any(pair => Has(pair.Key));

    /// <summary>An entry of the log without it.</summary>
    public static MetricSet Without(MetricSet entry) => new(entry.Where(pair => !Has(pair.Key)));
}
