using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Evaluation.Instructions;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Runs;
using Handbook.Training;
using Handbook.Training.Plans;
using Handbook.Training.Sampling;

namespace Handbook.Evaluation;

/// <summary>Evaluates a model on tasks.</summary>
/// <remarks>
/// What a row gave is a line of <c>samples/TASK.jsonl</c> as soon as it is known; the same command goes on behind the last line. Scores
/// and answers do not depend on batches or on where a run was stopped.
/// </remarks>
internal sealed class EvaluationRun : IDisposable
{
    private readonly EvaluationOptions _options;
    private LanguageModel? _model;

    private EvaluationRun(EvaluationOptions options) => _options = options;

    /// <exception cref="InputException">Something the user can fix; what was done is kept.</exception>
    public static IReadOnlyList<TaskResult> Run(EvaluationOptions options, CancellationToken cancel = default)
    {
        options.Validate();
        RequireHead(options);
        using var taken = options.Output is null ? null : RunLock.Take(options.Output, options.CommandLine, "--output");
        using var run = new EvaluationRun(options);
        // Every task's rows are looked at before the first is worked on.
        var prepared = options.Tasks.Select(run.Prepare).ToArray();
        taken?.Hold();
        var results = prepared.Select(task => run.Evaluate(task, cancel)).ToArray();
        if (options.Output is { } folder)
            JsonLines.WriteIndented(Path.Combine(folder, "results.json"), EvaluationReport.Json(options, results));
        return results;
    }

    private static void RequireHead(EvaluationOptions options)
    {
        var scores = options.Model.Config().Decoder.Head == ModelHead.Score;
        if (options.Tasks.FirstOrDefault(task => task.Kind == TaskKind.RewardAccuracy != scores) is { } other)
            throw new InputException(scores ? $"{options.Model.Name} is a reward model, and {other.Name} asks a language model"
                : $"{options.Model.Name} is a language model, and {other.Name} asks a reward model",
                fix: scores ? "name a reward task, e.g. --task reward_accuracy" : "name the folder of a reward model, or another task");
    }

    private Prepared Prepare(EvaluationTask task)
    {
        var data = _options.Bring(task.Data ?? throw new InputException($"{task.Name} has no rows of its own",
            fix: $"name them: --data {task.Name}=FILE"));
        var source = Dataset.Open(data, task.Folder);
        foreach (var remark in source.Remarks)
            _options.Observer.Said(remark);
        if (task.Kind == TaskKind.RewardAccuracy)
            return new(task, data, source, [], 0);
        var rows = source.Read().Where(row => row.Problem?.Reason != PlainTextFile.BlankLine).Take(_options.Limit ?? int.MaxValue).ToList();
        if (rows.Count == 0)
            throw new InputException($"{task.Name}: {data.Id} holds no row", fix: $"name other rows: --data {task.Name}=FILE");
        var shots = task.Kind == TaskKind.LoglikelihoodRolling ? 0 : _options.FewShot ?? task.FewShot;
        var own = task.FewShotData is null || task.FewShotData == task.Data;
        var examples = shots == 0 ? [] : own ? source.Read().ToList()
            : Dataset.Open(_options.Bring(task.FewShotData!), task.Folder).Read().ToList();
        var maker = new QuestionMaker(task, examples, own, _options.Seed);
        return new(task, data, source, [.. rows.Select((row, i) => maker.Question(row, i, shots))], shots);
    }

    private TaskResult Evaluate(Prepared prepared, CancellationToken cancel)
    {
        if (prepared.Task.Kind == TaskKind.RewardAccuracy)
            return RewardEvaluation.Run(_options, prepared.Task, prepared.Source, prepared.Data, cancel);
        var task = prepared.Task;
        var done = new Dictionary<int, JsonElement>();
        using var journal = Open(prepared, done);
        var missing = prepared.Questions.Where(question => !done.ContainsKey(question.Number)).ToArray();
        var measures = new IReadOnlyList<RowMeasure>[prepared.Questions.Length];
        foreach (var (number, line) in done)
            measures[number] = Read(line);
        var remarks = new List<string>();
        var (unfinished, refused) = (0, 0);
        foreach (var line in done.Values)
            Note(JsonObject.Create(line)!);
        using (var bar = _options.Observer.Began(task.Name, prepared.Questions.Length, "rows"))
        {
            bar.Report(done.Count);
            if (missing.Length > 0)
            {
                using var work = TaskWork.Of(_options, task, _model ??= Opened(), remarks.Add);
                foreach (var chunk in missing.Chunk(work.ChunkSize))
                    work.Run(chunk, (question, line, found) =>
                    {
                        measures[question.Number] = found;
                        Note(line);
                        journal?.Add(Line(question, line, found));
                        bar.Advance();
                    }, cancel);
            }
        }
        if (unfinished > 0)
            remarks.Add($"{unfinished:N0} answers ended at their greatest length, {task.Generation.MaxTokens:N0} tokens");
        if (refused > 0)
            remarks.Add($"{refused:N0} prompts could not be asked and count as unanswered; \"refused\" in the samples says why");
        if (task.Metrics.Any(metric => metric.Name == TaskMetrics.Instructions)
            && prepared.Questions.Sum(InstructionMeasures.Unchecked) is > 0 and var left)
            remarks.Add($"{left:N0} instructions are left out: their language cannot be told here");
        var keys = measures[0].Select(measure => (measure.Metric, measure.Filter));
        return new(task, measures.Length, prepared.FewShot, [.. keys.Select((key, place) => (key.Metric, key.Filter,
            RowMeasures.Measure(key.Metric, [.. measures.Select(row => row[place].Values)], _options.Seed)))], remarks);

        void Note(JsonObject line)
        {
            if (line["refused"] is not null)
                refused++;
            else
                unfinished += line["finished"]?.AsArray().Count(finished => !(bool)finished!) ?? 0;
        }
    }

    private LanguageModel Opened()
    {
        var model = LanguageModel.Open(_options.Model, _options.Compute, load: QuantisedCache.Loader(_options.Model, _options.Observer));
        foreach (var note in model.Notes)
            _options.Observer.Noted(note);
        if (_options.Chat && !model.CanChat)
            using (model)
                throw new InputException($"{model.Folder} has no chat template", "--apply-chat-template asks through it",
                    "leave it out, or name a model that was tuned on conversations");
        if (!_options.Chat && model.CanChat)
            _options.Observer.Noted("the model has a chat template; --apply-chat-template asks through it");
        return model;
    }

    private Journal? Open(Prepared prepared, Dictionary<int, JsonElement> done)
    {
        if (_options.Output is not { } folder)
            return null;
        var file = Path.Combine(folder, "samples", $"{FileName(prepared.Task.Name)}.jsonl");
        var decides = string.Join('\n', prepared.Task.Definition, _options.Seed, prepared.FewShot, _options.Repeats, _options.Temperature,
            _options.Compute, _options.MaxLength, _options.Chat, _options.AllowCode, _options.Model.Recorded,
            string.Join(' ', _options.Model.Adapters.Prepend(_options.Model.Folder).SelectMany(ModelFolder.Files)
                .Select(Data.Cache.CacheFolder.Default.HashOf)),
            string.Join('\n', prepared.Questions.Select(question => question.Context + "\n" + question.Row.GetRawText())));
        new RunState(Path.Combine(folder, ".state.json"), "name another --output, or remove that folder to begin anew")
            .Require(prepared.Task.Name, RunState.Hash(decides), file);
        return new(file, line => done[line.GetProperty("doc_id").GetInt32()] = line.Clone());
    }

    /// <summary>A task's name as that of a file.</summary>
    internal static string FileName(string task) => string.Concat(task.Select(letter => char.IsLetterOrDigit(letter) || letter is '-' or '_' or '.'
        ? letter : '_'));

    private static JsonObject Line(TaskQuestion question, JsonObject line, IReadOnlyList<RowMeasure> measures)
    {
        line.Insert(0, "doc_id", question.Number);
        line["metrics"] = new JsonArray([.. measures.Select(measure => new JsonObject
        {
            ["metric"] = measure.Metric,
            ["filter"] = measure.Filter,
            ["values"] = new JsonArray([.. measure.Values.Select(value => (JsonNode)value)]),
        })]);
        return line;
    }

    private static List<RowMeasure> Read(JsonElement line) => [.. line.GetProperty("metrics").EnumerateArray().Select(measure =>
        new RowMeasure(measure.GetProperty("metric").GetString()!, measure.GetProperty("filter").GetString()!,
            [.. measure.GetProperty("values").EnumerateArray().Select(value => value.GetDouble())]))];

    public void Dispose() => _model?.Dispose();

    private sealed record Prepared(EvaluationTask Task, DatasetSpec Data, IRowSource Source, TaskQuestion[] Questions, int FewShot);
}
