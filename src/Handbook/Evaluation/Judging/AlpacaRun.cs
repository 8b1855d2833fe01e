using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Training;
using Handbook.Training.Sampling;

namespace Handbook.Evaluation.Judging;

/// <summary>What is answered and compared.</summary>
internal sealed record AlpacaOptions
{
    /// <summary>Answers that are compared with; their instructions are the evaluation set.</summary>
    public required IReadOnlyList<AlpacaOutput> Reference { get; init; }

    /// <summary>The model that answers first; null where <see cref="Outputs"/> are there.</summary>
    public Answerer? Model { get; init; }

    /// <summary>Answers that are measured.</summary>
    public IReadOnlyList<AlpacaOutput>? Outputs { get; init; }

    /// <summary>The folder that gets <c>model_outputs.json</c>, <c>annotations.json</c> and <c>results.json</c>.</summary>
    public required string Output { get; init; }

    /// <summary>Compares answers; null only answers.</summary>
    public IPairJudge? Judge { get; init; }

    /// <summary>The published pairs for length control; null for none.</summary>
    public string? LengthControl { get; init; }

    public double Temperature { get; init; }

    /// <summary>What the user typed.</summary>
    public string? CommandLine { get; init; }

    public required IWorkObserver Observer { get; init; }
}

/// <summary>Has a model's answers compared with others, instruction by instruction: AlpacaEval. arXiv:2404.04475.</summary>
internal static class AlpacaRun
{
    /// <returns>null where nothing is compared.</returns>
    /// <exception cref="InputException">Something the user can fix; what was done is kept.</exception>
    public static AlpacaReport? Run(AlpacaOptions options, CancellationToken cancel = default)
    {
        var control = Control(options.LengthControl, options.Reference.Count);
        IReadOnlyList<AlpacaOutput>? outputs = options.Outputs is null ? null : Ordered(options.Outputs, options.Reference);
        using var taken = RunLock.Take(options.Output, options.CommandLine, "--output");
        options.Judge?.Open();
        taken.Hold();
        if (options.Model is { } model)
        {
            outputs = Answer(options, model, cancel);
            options.Observer.Said($"answers: {Path.Combine(options.Output, "model_outputs.json")}");
        }
        if (options.Judge is not { } judge)
            return null;
        var preferences = Compare(options, judge, outputs!, cancel);
        AlpacaAnnotation[] annotations = [.. options.Reference.Select((reference, i) =>
            new AlpacaAnnotation(reference, outputs![i], judge.Name, preferences[i]))];
        var path = Path.Combine(options.Output, "annotations.json");
        AlpacaAnnotation.Write(path, annotations);
        options.Observer.Said($"annotations: {path}");
        return Report(annotations, control, options.Output, options.CommandLine);
    }

    /// <summary>Measures annotations that are there.</summary>
    public static AlpacaReport Measure(string annotations, string? lengthControl)
    {
        var rows = AlpacaAnnotation.Read(annotations);
        string[] models = [.. rows.Select(row => row.Second.Generator).Distinct()];
        if (models.Length > 1)
            throw new InputException($"--annotations {annotations} holds {models.Length} models: {string.Join(", ", models.Take(4))}",
                "one model is measured at a time", "put the rows of each into a file of its own");
        return AlpacaReport.Of(rows, Control(lengthControl, rows.Count));
    }

    private static (IReadOnlyList<LengthRow>, IReadOnlyList<double>)? Control(string? path, int count)
    {
        if (path is null)
            return null;
        var control = LengthControl.ReadGamed(path);
        return control.Difficulty.Count == count ? control
            : throw new InputException($"--length-control {path} knows {control.Difficulty.Count:N0} instructions, and {count:N0} are evaluated",
                "difficulties belong to the published evaluation set, in its order", "evaluate that set, or leave --length-control out");
    }

    private static AlpacaReport Report(AlpacaAnnotation[] annotations, (IReadOnlyList<LengthRow>, IReadOnlyList<double>)? control, string folder,
        string? command)
    {
        var report = AlpacaReport.Of(annotations, control);
        var json = report.Json();
        json["command"] = command;
        JsonLines.WriteIndented(Path.Combine(folder, "results.json"), json);
        return report;
    }

    private static List<AlpacaOutput> Ordered(IReadOnlyList<AlpacaOutput> outputs, IReadOnlyList<AlpacaOutput> reference)
    {
        var known = outputs.GroupBy(output => output.Instruction).ToDictionary(group => group.Key, group => new Queue<AlpacaOutput>(group));
        var missing = new List<string>();
        var ordered = new List<AlpacaOutput>();
        foreach (var asked in reference)
            if (known.TryGetValue(asked.Instruction, out var answers) && answers.TryDequeue(out var answer))
                ordered.Add(answer);
            else
                missing.Add(asked.Instruction);
        return missing.Count == 0 ? ordered : throw new InputException(
            $"{missing.Count:N0} of {reference.Count:N0} instructions of --reference have no answer, e.g. \"{Short(missing[0])}\"",
            fix: "answer them, too, or name a --reference with the same instructions");

        static string Short(string text) => text.Length > 60 ? text[..60] + "…" : text;
    }

    private static AlpacaOutput[] Answer(AlpacaOptions options, Answerer model, CancellationToken cancel)
    {
        BenchQuestion[] questions = [.. options.Reference.Select((reference, i) => new BenchQuestion(i, "alpaca_eval", [reference.Instruction]))];
        var steps = BenchAnswering.Steps(model, questions, _ => options.Temperature, options.Output, options.Observer, cancel);
        AlpacaOutput[] outputs = [.. options.Reference.Select((reference, i) =>
            new AlpacaOutput(reference.Instruction, steps[i][0], model.Name, reference.Dataset))];
        AlpacaOutput.Write(Path.Combine(options.Output, "model_outputs.json"), outputs);
        return outputs;
    }

    private static double[] Compare(AlpacaOptions options, IPairJudge judge, IReadOnlyList<AlpacaOutput> outputs, CancellationToken cancel)
    {
        var preferences = new double?[outputs.Count];
        var path = Path.Combine(options.Output, ".steps", "comparisons.jsonl");
        new RunState(Path.Combine(options.Output, ".state.json"), "name another --output, or remove that folder to begin anew")
            .Require("comparisons", RunState.Hash(string.Join('\0', outputs.Concat(options.Reference)
                .SelectMany(output => (string[])[output.Instruction, output.Output]).Prepend(judge.Key))), path);
        using var journal = new Journal(path, line => preferences[line.GetProperty("index").GetInt32()] =
            line.GetProperty("preference") is { ValueKind: System.Text.Json.JsonValueKind.Number } number ? number.GetDouble() : double.NaN);
        int[] missing = [.. Enumerable.Range(0, outputs.Count).Where(i => preferences[i] is null)];
        using var bar = options.Observer.Began($"comparisons by {judge.Name}", outputs.Count, "pairs");
        bar.Report(outputs.Count - missing.Length);
        judge.Compare([.. missing.Select(i => (options.Reference[i], outputs[i]))], (place, preference, words) =>
        {
            var i = missing[place];
            journal.Add(new JsonObject
            {
                ["index"] = i,
                ["preference"] = double.IsNaN(preference) ? null : preference,
                ["judgments"] = new JsonArray([.. words.Select(word => (JsonNode)word)]),
            });
            preferences[i] = preference;
            bar.Advance();
        }, cancel);
        return [.. preferences.Select(preference => preference!.Value)];
    }
}
