using System.Globalization;
using System.Text;
using Handbook.Base.Files;
using Handbook.Training.Metrics;
using Handbook.Training.Progress;

namespace Handbook.Training.Reports;

/// <summary>What a run logs as a table, <c>metrics.csv</c> in its folder: a row for each step of <c>metrics.jsonl</c>, a column for each
/// number. It is written whole at each checkpoint and when the run ends or stops, since a number that is logged late has a column,
/// too.</summary>
internal sealed class CsvReport : IRunReport
{
    /// <summary>Its name in the run folder.</summary>
    public const string FileName = "metrics.csv";

    private string? _folder;

    public string Name => ReportTargets.Csv;

    public IReadOnlyDictionary<string, string> Begin(ReportStart start)
    {
        _folder = start.Folder;
        return new Dictionary<string, string> { ["file"] = FileName };
    }

    public void Saved(string checkpoint) => Write();

    public void Dispose() => Write();

    private void Write()
    {
        if (_folder is not null)
            WholeFile.WriteText(Path.Combine(_folder, FileName), Text(MetricsFile.ReadAll(_folder)), durable: false);
    }

    /// <summary>The table: names in the first line, then full precision, a point in numbers, nothing where a step has no such number.</summary>
    internal static string Text(IReadOnlyList<MetricSet> entries)
    {
        string[] names = [.. entries.SelectMany(entry => entry.Select(pair => pair.Key)).Prepend("step").Distinct()];
        var text = new StringBuilder().AppendJoin(',', names.Select(Cell)).Append('\n');
        foreach (var entry in entries)
            text.AppendJoin(',', names.Select(name => entry.TryGet(name, out var value) ? Number(value) : "")).Append('\n');
        return text.ToString();
    }

    private static string Number(MetricValue value) => double.IsFinite(value.Value) ? value.ToJson()
        : value.Value.ToString(CultureInfo.InvariantCulture);

    private static string Cell(string name) => name.AsSpan().IndexOfAny(",\"\n") < 0 ? name : $"\"{name.Replace("\"", "\"\"")}\"";
}
