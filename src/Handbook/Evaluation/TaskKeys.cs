using System.Globalization;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Data.Mixing;
using Handbook.Recipes;
using Handbook.Text.Templates;

namespace Handbook.Evaluation;

/// <summary>From the keys of a task file to the task.</summary>
internal sealed class TaskKeys(MapNode map, string name, string? folder, Diagnostics report, string definition, Action<string> note)
{
    private static readonly string[] s_known = ["task", "dataset_path", "dataset_name", "dataset_kwargs", "output_type", "training_split",
        "validation_split", "test_split", "fewshot_split", "doc_to_text", "doc_to_target", "doc_to_choice", "doc_to_count", "description", "num_fewshot",
        "fewshot_config", "target_delimiter", "fewshot_delimiter", "generation_kwargs", "repeats", "filter_list", "metric_list", "include"];

    private static readonly Dictionary<string, string> s_withoutEffect = new()
    {
        ["should_decontaminate"] = "rows are compared with training data by `handbook data decontaminate`",
        ["doc_to_decontamination_query"] = "rows are compared with training data by `handbook data decontaminate`",
        ["metadata"] = "it is a remark",
        ["tag"] = "tasks are named one by one",
        ["task_alias"] = "the task's name is shown",
        ["unsafe_code"] = "--allow-code says whether answers may be run",
    };

    private static readonly Dictionary<string, TaskKind> s_kinds = new()
    {
        ["generate_until"] = TaskKind.GenerateUntil,
        ["multiple_choice"] = TaskKind.MultipleChoice,
        ["loglikelihood"] = TaskKind.Loglikelihood,
        ["loglikelihood_rolling"] = TaskKind.LoglikelihoodRolling,
        ["reward_accuracy"] = TaskKind.RewardAccuracy,
    };

    /// <summary>The task; null where the report says why not.</summary>
    public EvaluationTask? Read()
    {
        var keys = new TaskValues(report);
        foreach (var entry in map.Entries)
            if (!keys.RefuseFunctions(entry.Key.Text, entry.Value))
                Judge(entry);
        if (report.HasErrors)
            return null;
        var kind = keys.OneOf(map, "output_type", s_kinds, TaskKind.GenerateUntil);
        foreach (var entry in map.Entries.Where(entry => Unread(kind).Contains(entry.Key.Text) && entry.Value is not ScalarNode { Text: "" }))
            Note(entry, $"no task of output_type {s_kinds.First(known => known.Value == kind).Key} reads it");
        var called = keys.Text(map, "task");
        if (called is null && map["task"] is null)
            report.ErrorAt(map.Span, "the task has no name", fix: "add `task: my_task`");
        var sets = new TaskData(map, keys, report, note, name);
        var fewShot = map["fewshot_config"] as MapNode;
        if (fewShot is null && map["fewshot_config"] is { } other)
            report.ErrorAt(other.Span, "fewshot_config is a map", fix: "write `sampler: first_n` below it");
        keys.Only(fewShot, "fewshot_config", ["sampler", "split", "samples"]);
        var first = keys.OneOf(fewShot, "sampler", new Dictionary<string, bool> { ["default"] = false, ["first_n"] = true }, false);
        var metrics = new TaskMetrics(keys, report).Read(map["metric_list"], kind);
        var task = new EvaluationTask
        {
            Name = called ?? name,
            Kind = kind,
            Data = sets.Evaluated(),
            FewShotData = sets.Examples(keys.Text(fewShot, "split")),
            Samples = sets.Samples(fewShot?["samples"]),
            Description = Field("description"),
            Text = Field("doc_to_text"),
            Target = Field("doc_to_target"),
            Choices = Field("doc_to_choice"),
            Counted = Field("doc_to_count"),
            FewShot = keys.Whole(map, "num_fewshot", 0, least: 0),
            FirstExamples = first,
            TargetDelimiter = keys.Text(map, "target_delimiter") ?? " ",
            FewShotDelimiter = keys.Text(map, "fewshot_delimiter") ?? "\n\n",
            Generation = Generation(keys),
            Repeats = keys.Whole(map, "repeats", 1, least: 1),
            Filters = new TaskFilters(keys, report).Read(map["filter_list"]),
            Metrics = metrics,
            Folder = folder,
            Definition = definition,
        };
        Require(task);
        return report.HasErrors ? null : task;
    }

    private void Judge(MapEntry entry)
    {
        var key = entry.Key.Text;
        if (s_withoutEffect.TryGetValue(key, out var why))
            Note(entry, why);
        else if (key is "group" or "task_list" || key == "task" && entry.Value is not ScalarNode)
            report.ErrorAt(entry.Key.Span, $"{key} names a group of tasks", fix: "name the tasks one by one with --task");
        else if (!s_known.Contains(key))
            report.ErrorAt(entry.Key.Span, $"{key} is no key of a task that can be honoured here",
                "the results would not be what the file asks for",
                Spelling.Nearest(key, s_known) is { } near ? $"did you mean {near}?" : $"remove it; there are {string.Join(", ", s_known)}");
    }

    private void Note(MapEntry entry, string why) => note($"note: {name}:{entry.Key.Span.Line}: {entry.Key.Text} has no effect: {why}");

    /// <summary>Keys that change nothing of a kind of task.</summary>
    private static string[] Unread(TaskKind kind)
    {
        string[] answers = ["generation_kwargs", "repeats", "filter_list"];
        string[] texts = ["doc_to_count"];
        string[] questions = ["doc_to_text", "doc_to_choice", "description", "fewshot_config", "fewshot_split", "target_delimiter",
            "fewshot_delimiter"];
        return kind switch
        {
            TaskKind.GenerateUntil => texts,
            TaskKind.LoglikelihoodRolling => [.. answers, .. questions],
            TaskKind.RewardAccuracy => [.. answers, .. questions, .. texts, "doc_to_target"],
            _ => [.. answers, .. texts],
        };
    }

    private void Require(EvaluationTask task)
    {
        string[] needed = task.Kind switch
        {
            TaskKind.MultipleChoice => ["doc_to_text", "doc_to_target", "doc_to_choice"],
            TaskKind.LoglikelihoodRolling => ["doc_to_target"],
            TaskKind.RewardAccuracy => [],
            TaskKind.GenerateUntil when task.Metrics.All(metric => metric.Name == TaskMetrics.Instructions) => ["doc_to_text"],
            _ => ["doc_to_text", "doc_to_target"],
        };
        foreach (var key in needed.Where(key => map[key] is null))
            report.ErrorAt(map["output_type"]?.Span ?? map.Span, $"the task has no {key}", fix: $"add `{key}: …`, a column or a template");
        if (task.FewShot > 0 && !task.HasQuestions)
            report.ErrorAt(map["num_fewshot"]?.Span, "num_fewshot has no meaning where whole texts are scored", fix: "remove it");
    }

    private TaskField? Field(string key) => map[key] is { } node ? Field(key, node) : null;

    private TaskField? Field(string key, RecipeNode node)
    {
        if (node is ListNode list && key == "doc_to_choice")
            return new(key, "", ChatTemplate.ParseText("", key), [.. list.Items.Select(item => Field(key, item)).OfType<TaskField>()]);
        if (node is not ScalarNode { IsNull: false } text)
        {
            if (node is not ScalarNode)
                report.ErrorAt(node.Span, $"{key} is a column's name or a template", fix: "write it as one text");
            return null;
        }
        try
        {
            return new(key, text.Text, ChatTemplate.ParseText(text.Text, $"{name}: {key}"));
        }
        catch (TemplateException broken)
        {
            report.ErrorAt(text.Span, $"{key} is no template: {broken.What}", broken.Why, broken.Fix ?? "correct the template");
            return null;
        }
    }

    private GenerationSettings Generation(TaskValues keys)
    {
        if (map["generation_kwargs"] is not { } node)
            return new();
        if (node is not MapNode given)
        {
            report.ErrorAt(node.Span, "generation_kwargs is a map", fix: "write `max_gen_toks: 256` below it");
            return new();
        }
        keys.Only(given, "generation_kwargs", ["until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k"]);
        var until = given["until"] switch
        {
            null => null,
            ScalarNode one => [one.Text],
            ListNode list => list.Items.OfType<ScalarNode>().Select(item => item.Text).ToArray(),
            _ => Array.Empty<string>(),
        };
        if (until?.Contains("") == true)
            report.ErrorAt(given["until"]!.Span, "until holds an empty text, which stands everywhere", fix: "remove it");
        var samples = keys.OneOf(given, "do_sample", TaskValues.Truths, false);
        var temperature = keys.Number(given, "temperature", samples ? 1 : 0, 0, double.MaxValue);
        if (samples && temperature == 0)
            report.ErrorAt(given["temperature"]!.Span, "temperature is 0, but do_sample asks to draw", fix: "remove one of the two");
        return new()
        {
            Until = until,
            MaxTokens = keys.Whole(given, "max_gen_toks", 256, least: 1),
            Temperature = samples || given["do_sample"] is null ? temperature : 0,
            TopP = keys.Number(given, "top_p", 1, double.Epsilon, 1),
            TopK = keys.Whole(given, "top_k", 0, least: 0),
        };
    }
}

/// <summary>Reads values, and says what is wrong with them.</summary>
internal sealed class TaskValues(Diagnostics report)
{
    public static Dictionary<string, bool> Truths { get; } = new()
    {
        ["true"] = true,
        ["True"] = true,
        ["false"] = false,
        ["False"] = false,
    };

    /// <summary>Refuses Python below a key.</summary>
    /// <returns>Whether there was any.</returns>
    public bool RefuseFunctions(string key, RecipeNode node)
    {
        switch (node)
        {
            case ScalarNode { Tag: "!function" } function:
                report.ErrorAt(function.Span, $"{key} calls the Python function {function.Text}", "this program runs no Python",
                    "write what it does as a template, or prepare the rows before");
                return true;
            case ListNode list:
                return list.Items.Aggregate(false, (any, item) => RefuseFunctions(key, item) | any);
            case MapNode map:
                return map.Entries.Aggregate(false, (any, entry) => RefuseFunctions($"{key}.{entry.Key.Text}", entry.Value) | any);
            default:
                return false;
        }
    }

    /// <summary>Refuses other keys of a map.</summary>
    public void Only(MapNode? map, string name, IReadOnlyList<string> known)
    {
        foreach (var entry in map?.Entries.Where(entry => !known.Contains(entry.Key.Text)) ?? [])
            report.ErrorAt(entry.Key.Span, $"{name}.{entry.Key.Text} cannot be honoured here",
                fix: Spelling.Nearest(entry.Key.Text, known) is { } near ? $"did you mean {near}?"
                    : $"remove it; there are {string.Join(", ", known)}");
    }

    public string? Text(MapNode? map, string key)
    {
        switch (map?[key])
        {
            case null or ScalarNode { IsNull: true }: return null;
            case ScalarNode text: return text.Text;
            case { } other:
                report.ErrorAt(other.Span, $"{key} is one text", fix: $"write `{key}: …` on one line");
                return null;
        }
    }

    public T OneOf<T>(MapNode? map, string key, IReadOnlyDictionary<string, T> known, T otherwise)
    {
        if (map?[key] is not { } node || node is ScalarNode { IsNull: true })
            return otherwise;
        if (node is ScalarNode word && known.TryGetValue(word.Text, out var value))
            return value;
        var given = node is ScalarNode text ? text.Text : "a list or map";
        report.ErrorAt(node.Span, $"{key} is {given}, which is not known here",
            fix: $"use {(Spelling.Nearest(given, known.Keys) is { } near ? near : string.Join(", ", known.Keys))}");
        return otherwise;
    }

    public int Whole(MapNode? map, string key, int otherwise, int least)
    {
        if (Text(map, key) is not { } text)
            return otherwise;
        if (int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) && value >= least)
            return value;
        report.ErrorAt(map![key]!.Span, $"{key} is {text}, but must be a whole number of at least {least}", fix: $"use {Math.Max(otherwise, least)}");
        return otherwise;
    }

    public double Number(MapNode? map, string key, double otherwise, double least, double most)
    {
        if (Text(map, key) is not { } text)
            return otherwise;
        if (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && value >= least && value <= most)
            return value;
        report.ErrorAt(map![key]!.Span, $"{key} is {text}, which is no number that it can have",
            fix: string.Create(CultureInfo.InvariantCulture, $"use {otherwise}, or leave it out"));
        return otherwise;
    }

    public Regex? Pattern(ScalarNode node, string key)
    {
        var pattern = PythonPattern.Of(node.Text);
        if (RegexMistake.Of(pattern) is not { } mistake)
            return new Regex(pattern, RegexOptions.CultureInvariant, TimeSpan.FromSeconds(1));
        report.ErrorAt(node.Span, $"{key} is no regular expression: {mistake}", fix: "correct it; single quotes keep backslashes");
        return null;
    }
}
