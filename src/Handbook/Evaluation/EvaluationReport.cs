using System.Globalization;
using System.Text.Json.Nodes;
using Handbook.Base;

namespace Handbook.Evaluation;

/// <summary>Results as a table and as JSON.</summary>
internal static class EvaluationReport
{
    /// <summary>The table, a metric a line, with intervals of 95 %.</summary>
    public static IEnumerable<string> Table(IReadOnlyList<TaskResult> results)
    {
        string[] head = ["task", "filter", "n-shot", "metric", "value", "95 % interval", "rows"];
        string[][] table = [head, .. results.SelectMany(result => result.Values.Select(value => new[]
        {
            result.Task.Name, value.Filter, $"{result.FewShot}", value.Metric, Shown(value.Value.Value),
            double.IsNaN(value.Value.Low) ? "–" : $"{Shown(value.Value.Low)} … {Shown(value.Value.High)} ({value.Value.Way})",
            $"{result.Rows:N0}",
        }))];
        foreach (var line in TextTable.Lines(table, right: [4, 6]))
            yield return line;
        foreach (var result in results)
            foreach (var remark in result.Remarks)
                yield return $"{result.Task.Name}: {remark}";
    }

    /// <summary>As the harness's results file has it (<c>results</c>, <c>higher_is_better</c>, <c>n-shot</c>, <c>n-samples</c>), with the
    /// intervals beside.</summary>
    public static JsonObject Json(EvaluationOptions options, IReadOnlyList<TaskResult> results)
    {
        var (values, intervals, shots, counts, better) = (new JsonObject(), new JsonObject(), new JsonObject(), new JsonObject(), new JsonObject());
        foreach (var result in results)
        {
            var name = result.Task.Name;
            (values[name], intervals[name]) = (new JsonObject { ["alias"] = name }, new JsonObject());
            better[name] = new JsonObject(result.Values.Select(value => value.Metric).Distinct().Select(metric =>
                KeyValuePair.Create<string, JsonNode?>(metric, result.Task.HigherIsBetter(metric))));
            foreach (var (metric, filter, value) in result.Values)
            {
                values[name]![$"{metric},{filter}"] = Number(value.Value);
                values[name]![$"{metric}_stderr,{filter}"] = Number(value.StandardError);
                intervals[name]![$"{metric},{filter}"] = new JsonObject
                {
                    ["low"] = Number(value.Low),
                    ["high"] = Number(value.High),
                    ["level"] = 0.95,
                    ["way"] = value.Way,
                    ["count"] = value.Count,
                };
            }
            shots[name] = result.FewShot;
            counts[name] = result.Rows;
        }
        return new()
        {
            ["results"] = values,
            ["intervals"] = intervals,
            ["higher_is_better"] = better,
            ["n-shot"] = shots,
            ["n-samples"] = counts,
            ["remarks"] = new JsonObject(results.Where(result => result.Remarks.Count > 0).Select(result =>
                KeyValuePair.Create<string, JsonNode?>(result.Task.Name, new JsonArray([.. result.Remarks.Select(remark => (JsonNode)remark)])))),
            ["config"] = new JsonObject
            {
                ["model"] = options.Model.Name,
                ["dtype"] = options.Compute.ToString().ToLowerInvariant(),
                ["seed"] = options.Seed,
                ["limit"] = options.Limit,
                ["apply_chat_template"] = options.Chat,
                ["command"] = options.CommandLine,
            },
        };
    }

    // JSON has no infinity: what grew beyond every number is told as a text.
    private static JsonNode? Number(double value) => double.IsNaN(value) ? null
        : double.IsFinite(value) ? value : value.ToString(CultureInfo.InvariantCulture);

    private static string Shown(double value) => value.ToString(Math.Abs(value) >= 1000 ? "#,0.0" : "0.0000", CultureInfo.InvariantCulture);
}
