using System.Text.Json.Nodes;

namespace Handbook.Testing;

/// <summary>What a run has logged.</summary>
internal static class LogLines
{
    /// <summary>The lines of a <c>metrics.jsonl</c> without what the clock says.</summary>
    /// <param name="run">The run's folder.</param>
    public static JsonObject[] Timeless(string run) => [.. File.ReadLines(Path.Combine(run, "metrics.jsonl")).Select(line =>
    {
        var entry = JsonNode.Parse(line)!.AsObject();
        foreach (var name in entry.Select(pair => pair.Key).Where(IsClock).ToArray())
            entry.Remove(name);
        return entry;
    })];

    private static bool IsClock(string name) => name.EndsWith("_runtime", StringComparison.Ordinal) || name.EndsWith("_per_second", StringComparison.Ordinal);
}
