using Handbook.Base;
using Handbook.Recipes;

namespace Handbook.Evaluation;

/// <summary>Reads <c>metric_list</c>.</summary>
internal sealed class TaskMetrics(TaskValues keys, Diagnostics report)
{
    /// <summary>The metric that checks verifiable instructions.</summary>
    public const string Instructions = "ifeval";

    /// <summary>The metric that runs code.</summary>
    public const string Pass = "pass@k";

    /// <summary>Metrics of each kind of task; the usual ones are measured where a file names none.</summary>
    private static readonly Dictionary<TaskKind, (string[] Usual, string[] Others)> s_known = new()
    {
        [TaskKind.GenerateUntil] = (["exact_match"], ["number_match", Pass, Instructions]),
        [TaskKind.MultipleChoice] = (["acc", "acc_norm"], ["acc_bytes", "mc2"]),
        [TaskKind.Loglikelihood] = (["perplexity", "acc"], []),
        [TaskKind.LoglikelihoodRolling] = (["word_perplexity", "byte_perplexity", "bits_per_byte"], []),
        [TaskKind.RewardAccuracy] = (["acc"], []),
    };

    private static readonly string[] s_comparing = ["ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore"];

    /// <summary>How the values of rows become one.</summary>
    private static string Aggregation(string metric) => metric switch
    {
        "perplexity" => "perplexity",
        "word_perplexity" or "byte_perplexity" => "weighted_perplexity",
        "bits_per_byte" => "bits_per_byte",
        _ => "mean",
    };

    public IReadOnlyList<TaskMetric> Read(RecipeNode? node, TaskKind kind)
    {
        var (usual, others) = s_known[kind];
        if (node is null or ScalarNode { IsNull: true })
            return [.. usual.Select(metric => new TaskMetric(metric))];
        var all = new List<TaskMetric>();
        if (node is not ListNode list)
        {
            report.ErrorAt(node.Span, "metric_list is a list", fix: "begin each entry with `- metric: …`");
            return all;
        }
        var known = usual.Concat(others).ToDictionary(metric => metric);
        foreach (var item in list.Items)
        {
            if (item is not MapNode map || map["metric"] is null)
            {
                report.ErrorAt(item.Span, "an entry of metric_list names its metric", fix: $"write `- metric: {usual[0]}`");
                continue;
            }
            var metric = keys.OneOf(map, "metric", known, usual[0]);
            keys.Only(map, "metric_list", ["metric", "aggregation", "higher_is_better",
                .. metric == "exact_match" ? s_comparing : metric == Pass ? ["k"] : Array.Empty<string>()]);
            if (keys.Text(map, "aggregation") is { } way && way != Aggregation(metric))
                report.ErrorAt(map["aggregation"]!.Span, $"aggregation of {metric} is {way}, which is not known for it",
                    fix: $"use {Aggregation(metric)}");
            all.Add(new(metric)
            {
                HigherIsBetter = keys.OneOf(map, "higher_is_better", TaskValues.Truths, Aggregation(metric) == "mean"),
                IgnoreCase = keys.OneOf(map, "ignore_case", TaskValues.Truths, false),
                IgnorePunctuation = keys.OneOf(map, "ignore_punctuation", TaskValues.Truths, false),
                IgnoreNumbers = keys.OneOf(map, "ignore_numbers", TaskValues.Truths, false),
                Ignored = [.. ((map["regexes_to_ignore"] as ListNode)?.Items ?? []).OfType<ScalarNode>()
                    .Select(pattern => keys.Pattern(pattern, "regexes_to_ignore")).OfType<System.Text.RegularExpressions.Regex>()],
                K = Counts(map),
            });
        }
        if (all.Count == 0 && !report.HasErrors)
            report.ErrorAt(node.Span, "metric_list is empty", fix: $"write `- metric: {usual[0]}`, or remove the key");
        return all;
    }

    private int[] Counts(MapNode map)
    {
        if (map["k"] is null)
            return [1];
        var items = map["k"] is ListNode list ? list.Items : [map["k"]!];
        var counts = new List<int>();
        foreach (var item in items)
            if (item is ScalarNode text && int.TryParse(text.Text, out var k) && k >= 1)
                counts.Add(k);
            else
                report.ErrorAt(item.Span, "k is a whole number of at least 1, or a list of such", fix: "write k: [1, 10]");
        return [.. counts];
    }
}
