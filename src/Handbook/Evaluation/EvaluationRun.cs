using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Sources;
using Handbook.Evaluation.Instructions;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Runs;
using Handbook.Training;
using Handbook.Training.Distributed;
using Handbook.Training.Plans;
using Handbook.Training.Rewards;
using Handbook.Training.Sampling;

namespace Handbook.Evaluation;

/// <summary>Evaluates a model on tasks.</summary>
/// <remarks>
/// What a row gave is a line of <c>samples/TASK.jsonl</c> as soon as it is known; the same command goes on behind the last line, with any
/// number of processes. Scores and answers do not depend on batches, on who computed them, or on where a run was stopped.
/// </remarks>
internal sealed class EvaluationRun : IDisposable
{
    private readonly EvaluationOptions _options;
    private readonly CancellationTokenSource _stop;
    private LanguageModel? _model;

    private EvaluationRun(EvaluationOptions options, CancellationTokenSource stop) => (_options, _stop) = (options, stop);

    private Workers Workers => _options.Workers;

    /// <exception cref="InputException">Something the user can fix; what was done is kept.</exception>
    public static IReadOnlyList<TaskResult> Run(EvaluationOptions options, CancellationToken cancel = default)
    {
        options.Validate();
        RequireHead(options);
        foreach (var line in options.WithoutEffect())
            options.Observer.Noted(line);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var workers = options.Workers;
        using var taken = options.Output is null || !workers.IsFirst ? null : RunLock.Take(options.Output, options.CommandLine, "--output");
        using var run = new EvaluationRun(options, stop);
        // Every task's rows are looked at before the first is worked on.
        var prepared = options.Tasks.Select(run.Prepare).ToArray();
        foreach (var task in prepared)
            workers.Agree($"what is asked by {task.Task.Name}", task.Decides);
        workers.First(() => taken?.Hold());
        if (options.Output is { } shared)
            OneFolder.Require(workers, shared, "each process keeps there what its rows gave", key: "--output");
        if (workers.Count > 1)
            options.Observer.Said($"{prepared.Sum(task => task.Questions.Length):N0} rows, shared out among {workers.Count} processes");
        var results = prepared.Select(run.Evaluate).ToArray();
        if (options.Output is { } folder)
            workers.First(() => JsonLines.WriteIndented(Path.Combine(folder, "results.json"), EvaluationReport.Json(options, results)));
        return results;
    }

    private static void RequireHead(EvaluationOptions options)
    {
        var config = options.Model.Config();
        var scores = config.Decoder.Head == ModelHead.Score;
        if (options.Tasks.FirstOrDefault(task => task.Kind == TaskKind.RewardAccuracy != scores) is { } other)
            throw new InputException(scores ? $"{options.Model.Name} is a reward model, and {other.Name} asks a language model"
                : $"{options.Model.Name} is a language model, and {other.Name} asks a reward model",
                fix: scores ? "name a reward task, e.g. --task reward_accuracy" : "name the folder of a reward model, or another task");
        if (scores)
            RewardModel.RequireScores(config, options.Model.Name);
    }

    private Prepared Prepare(EvaluationTask task)
    {
        var named = task.Data ?? throw new InputException($"{task.Name} has no rows of its own",
            fix: $"name them: --data {task.Name}=FILE");
        if (task.Kind == TaskKind.GenerateUntil)
            GenerationWork.Require(_options, task);
        var data = Workers.FirstOnHost(() => _options.Bring(named));
        var source = Dataset.Open(data, task.Folder);
        foreach (var remark in source.Remarks)
            _options.Observer.Said(remark);
        var rows = Rows(source).Take(_options.Limit ?? int.MaxValue).ToList();
        if (rows.Count == 0)
            throw new InputException($"{task.Name}: {data.Id} holds no row", fix: $"name other rows: --data {task.Name}=FILE");
        var shots = task.HasQuestions ? _options.FewShot ?? task.FewShot : 0;
        var own = task.Samples is null && (task.FewShotData is null || task.FewShotData == task.Data);
        var examples = shots == 0 ? [] : task.Samples?.ToList() ?? Rows(own ? source
            : Dataset.Open(Workers.FirstOnHost(() => _options.Bring(task.FewShotData!)), task.Folder)).ToList();
        var maker = new QuestionMaker(task, examples, own, _options.Seed);
        TaskQuestion[] questions = [.. rows.Select((row, i) => maker.Question(row, i, shots))];
        if (task.Metrics.Any(metric => metric.Name == TaskMetrics.Instructions))
            foreach (var question in questions)
                InstructionMeasures.Require(question);
        return new(task, questions, shots)
        {
            Decides = Decides(task, shots, questions),
            Pairs = task.Kind == TaskKind.RewardAccuracy ? RewardPairs.Of(_options, task, source, data, questions) : null,
        };
    }

    // Numbered alike as questions and as examples: a row is no example of itself.
    private static IEnumerable<SourceRow> Rows(IRowSource source) =>
        source.Read().Where(row => row.Problem?.Reason != PlainTextFile.BlankLine);

    private TaskResult Evaluate(Prepared prepared)
    {
        var (task, rows) = (prepared.Task, new RowOutcome?[prepared.Questions.Length]);
        using (var kept = Open(prepared, Read))
        {
            var missing = prepared.Questions.Where(question => rows[question.Number] is null).ToArray();
            TaskQuestion[] mine = [.. Workers.Share([.. Enumerable.Range(0, missing.Length)], i => missing[i].Cost)
                .Select(i => missing[i])];
            using (var bar = _options.Observer.Began(task.Name, rows.Length - missing.Length + mine.Length, "rows"))
            {
                bar.Report(rows.Length - missing.Length);
                if (missing.Length > 0)
                    Work(prepared, mine, (question, line, found) =>
                    {
                        kept.Add(RowOutcome.Complete(question, line, found));
                        bar.Advance();
                    });
            }
            kept.Share();
            if (Workers.Any(_stop.IsCancellationRequested))
                _stop.Cancel();
            _stop.Token.ThrowIfCancellationRequested();
        }
        return Result(prepared, [.. rows.Select(row => row!)]);

        bool Read(JsonElement line)
        {
            var number = line.GetProperty("doc_id").GetInt32();
            if (number < 0 || number >= rows.Length)
                throw new FormatException($"there is no row {number}");
            var isNew = rows[number] is null;
            rows[number] ??= RowOutcome.Of(line);
            return isNew;
        }
    }

    /// <summary>Does this worker's part. Whoever was asked to stop, all stop once each has done its part.</summary>
    private void Work(Prepared prepared, TaskQuestion[] mine, TaskWork.Done done)
    {
        using var work = prepared.Pairs is { } pairs ? new RewardWork(_options, pairs)
            : TaskWork.Of(_options, prepared.Task, _model ??= Workers.FirstOnHost(Opened));
        try
        {
            foreach (var chunk in mine.Chunk(work.ChunkSize))
                work.Run(chunk, done, _stop.Token);
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // said to the others by the caller
        }
    }

    private TaskResult Result(Prepared prepared, RowOutcome[] rows)
    {
        var task = prepared.Task;
        var remarks = new List<string>();
        if (rows.Sum(row => row.Cut) is > 0 and var cut)
            remarks.Add($"{cut:N0} contexts were longer than the model reads, and lost their beginning");
        if (rows.Sum(row => row.Unfinished) is > 0 and var unfinished)
            remarks.Add($"{unfinished:N0} answers ended at their greatest length, {task.Generation.MaxTokens:N0} tokens");
        if (rows.Count(row => row.IsRefused) is > 0 and var refused)
            remarks.Add($"{refused:N0} prompts could not be asked and count as unanswered; \"refused\" in the samples says why");
        if (task.Metrics.Any(metric => metric.Name == TaskMetrics.Instructions)
            && prepared.Questions.Sum(InstructionMeasures.Unchecked) is > 0 and var left)
            remarks.Add($"{left:N0} instructions are left out: their language cannot be told here");
        remarks.AddRange(RewardPairs.Remarks(rows.Select(row => row.Left).OfType<LeftOut>()));
        var measures = rows.Where(row => row.Left is null).Select(row => row.Measures).ToArray();
        var keys = measures[0].Select(measure => (measure.Metric, measure.Filter));
        return new(task, measures.Length, prepared.FewShot, [.. keys.Select((key, place) => (key.Metric, key.Filter,
            RowMeasures.Measure(key.Metric, [.. measures.Select(row => row[place].Values)], _options.Seed)))], remarks);
    }

    private LanguageModel Opened()
    {
        var model = LanguageModel.Open(_options.Model, _options.Compute, load: DevicePlan.Loader(_options.Model, _options.Observer,
            _options.Where));
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

    /// <summary>All that decides what the rows give; its last line is of the weights.</summary>
    private string Decides(EvaluationTask task, int shots, TaskQuestion[] questions)
    {
        var needed = _options.Output is not null || Workers.Count > 1;      // weights are long to read
        return string.Join('\n', [task.Definition, _options.Seed, shots, _options.Repeats, _options.Temperature,
            _options.Compute, _options.MaxLength, _options.Chat, _options.AllowCode, _options.Model.Recorded,
            .. questions.Select(question => question.Context + "\n"
                + (question.Row.ValueKind == JsonValueKind.Undefined ? question.Place : question.Row.GetRawText())),
            needed ? Workers.FirstOnHost(() => string.Join(' ', _options.Model.Adapters.Prepend(_options.Model.Folder)
                .SelectMany(ModelFolder.Files).Select(Data.Cache.CacheFolder.Default.HashOf))) : ""]);
    }

    private KeptRows Open(Prepared prepared, Func<JsonElement, bool> read)
    {
        if (_options.Output is not { } folder)
            return new(Workers, null, read);
        var file = Path.Combine(folder, "samples", $"{FileName(prepared.Task.Name)}.jsonl");
        Workers.First(() => new RunState(Path.Combine(folder, ".state.json"), "name another --output, or remove that folder to begin anew")
            .Require(prepared.Task.Name, RunState.Hash(prepared.Decides), file));
        return new(Workers, file, read);
    }

    /// <summary>A task's name as that of a file.</summary>
    internal static string FileName(string task) => string.Concat(task.Select(letter => char.IsLetterOrDigit(letter) || letter is '-' or '_' or '.'
        ? letter : '_'));

    public void Dispose() => _model?.Dispose();

    private sealed record Prepared(EvaluationTask Task, TaskQuestion[] Questions, int FewShot)
    {
        public required string Decides { get; init; }

        /// <summary>How a reward model reads the rows; null for a task of a language model.</summary>
        public RewardPairs? Pairs { get; init; }
    }
}
