using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Recipes;

namespace Handbook.Evaluation;

/// <summary>Which rows a task file names.</summary>
internal sealed class TaskData(MapNode map, TaskValues keys, Diagnostics report, Action<string> note, string name)
{
    // The harness's names of loaders; data_files says what they load.
    private static readonly string[] s_loaders = ["json", "csv", "text", "parquet", "arrow"];

    private static readonly string[] s_splits = ["test_split", "validation_split", "training_split"];

    private static readonly Dictionary<string, TextUnit> s_units = new()
    {
        ["line"] = TextUnit.Line,
        ["paragraph"] = TextUnit.Paragraph,
        ["document"] = TextUnit.Document,
    };

    private readonly MapNode? _kwargs = map["dataset_kwargs"] as MapNode;

    /// <summary>The rows that are evaluated; null where the file leaves them to the user.</summary>
    public DatasetSpec? Evaluated()
    {
        if (_kwargs is null && map["dataset_kwargs"] is { } node and not ScalarNode { IsNull: true })
            report.ErrorAt(node.Span, "dataset_kwargs is a map", fix: "write `data_files: rows.jsonl` below it");
        keys.Only(_kwargs, "dataset_kwargs", ["data_files", "sample_by", "trust_remote_code"]);
        if (_kwargs?["trust_remote_code"] is { } trusted)
            note($"note: {name}:{trusted.Span.Line}: trust_remote_code has no effect: no code of a data set is run");
        return Rows(s_splits.Take(2).Select(key => keys.Text(map, key)).FirstOrDefault(split => split is not null)
            ?? keys.Text(map, "training_split"));
    }

    /// <summary>The rows that examples come from; null for the same.</summary>
    /// <param name="split">What the sampler's own settings say.</param>
    public DatasetSpec? Examples(string? split) =>
        (split ?? keys.Text(map, "fewshot_split") ?? keys.Text(map, "training_split") ?? keys.Text(map, "validation_split")) is { } named
            ? Rows(named) : null;

    /// <summary>Examples that the file holds itself; null for none.</summary>
    /// <param name="node">Rows, as lists of columns with their values.</param>
    public IReadOnlyList<SourceRow>? Samples(RecipeNode? node)
    {
        if (node is null or ScalarNode { IsNull: true })
            return null;
        if (node is ListNode { Items.Count: > 0 } list && list.Items.All(item => item is MapNode))
            return [.. list.Items.Select((item, i) => new SourceRow
            {
                File = name,
                Row = i + 1,
                Line = item.Span.Line,
                Value = JsonSerializer.SerializeToElement(Json(item)),
            })];
        report.ErrorAt(node.Span, "fewshot_config.samples is a list of examples, each with the columns of a row",
            fix: "write `- question: …` with `answer: …` below question");
        return null;
    }

    private static JsonNode? Json(RecipeNode node) => node switch
    {
        MapNode map => new JsonObject(map.Entries.Select(entry => KeyValuePair.Create(entry.Key.Text, Json(entry.Value)))),
        ListNode list => new JsonArray([.. list.Items.Select(Json)]),
        ScalarNode { Quoted: false } plain when TaskValues.Truths.TryGetValue(plain.Text, out var truth) => JsonValue.Create(truth),
        _ => JsonSerializer.SerializeToNode(RecipeBinder.Free(node)),
    };

    private DatasetSpec? Rows(string? split)
    {
        var (path, files) = (keys.Text(map, "dataset_path"), _kwargs?["data_files"]);
        if (path is null && files is null)
            return null;
        var unit = keys.OneOf(_kwargs, "sample_by", s_units, TextUnit.Line);
        if (files is null)
        {
            if (s_loaders.Contains(path))
                report.ErrorAt(map["dataset_path"]!.Span, $"dataset_path {path} says how files are read, but none is named",
                    fix: "add `dataset_kwargs:` with `data_files: rows.jsonl` below it");
            return new() { Id = path!, Config = keys.Text(map, "dataset_name"), Split = split ?? "train", TextUnit = unit };
        }
        var file = files switch
        {
            ScalarNode one => one.Text,
            MapNode by when (split is not null ? by[split] : by.Entries is [var first, ..] ? first.Value : null) is ScalarNode one => one.Text,
            MapNode by when by[split ?? ""] is ListNode { Items: [ScalarNode only] } => only.Text,
            ListNode { Items: [ScalarNode only] } => only.Text,
            _ => null,
        };
        if (file is not null)
            return new() { Id = file, TextUnit = unit };
        report.ErrorAt(files.Span, split is null ? "data_files names no file" : $"data_files names no one file of the split {split}",
            fix: "write `data_files: rows.jsonl`, or a file for each split");
        return null;
    }
}
