using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data.Decontamination;
using Handbook.Training.Checkpoints;
using Handbook.Training.Events;
using Handbook.Training.Metrics;
using Handbook.Training.Plots;
using Handbook.Training.Progress;
using Handbook.Training.Reports;

namespace Handbook.Training;

/// <summary>The folder of one run: the files of the Python trainer with the same names, and ours beside them.</summary>
/// <remarks>
/// While it trains: <c>metrics.jsonl</c>, TensorBoard events under <c>runs/</c>, <c>loss.svg</c> and <c>loss.png</c>, <c>checkpoint-N/</c>.
/// After it: <c>trainer_state.json</c>, <c>train_results.json</c>, <c>eval_results.json</c>, <c>all_results.json</c>, <c>README.md</c>.
/// To repeat it: <c>recipe.yaml</c>, <c>training_args.json</c>, <c>run.json</c>. Every file is replaced whole or not at all.
/// </remarks>
internal sealed class RunFolder : IRunObserver, IDisposable
{
    /// <summary>What the model answers at evaluations.</summary>
    public const string SamplesName = "samples.jsonl";

    /// <summary>What it answers to the prompts that it learns from.</summary>
    public const string CompletionsName = "completions.jsonl";

    private readonly MetricsFile? _metrics;
    private readonly LossPlot? _plot;
    private readonly TensorBoardLog? _tensorBoard;
    private readonly RunObservers _logs;
    private readonly int _resumeStep;
    private readonly Lock _runInfo = new();
    private bool _isClosed;

    private RunFolder(string path, TrainerState state)
    {
        (Path, State) = (path, state);
        _logs = new();
    }

    private RunFolder(string path, TrainerState state, int resumeStep, bool tensorBoard, string? eventFolder,
        IReadOnlyList<IRunReport> reports)
    {
        Path = path;
        State = state;
        _resumeStep = resumeStep;
        _metrics = MetricsFile.Open(path, resumeStep);
        _plot = new LossPlot(path, System.IO.Path.GetFileName(System.IO.Path.TrimEndingDirectorySeparator(path)));
        foreach (var entry in _metrics.Kept)
            _plot.Add(entry);
        _tensorBoard = tensorBoard ? new TensorBoardLog(path, resumeStep, eventFolder) : null;
        Reports = reports;
        _logs = new([_metrics, .. _tensorBoard is null ? (IRunObserver[])[] : [_tensorBoard], _plot, .. reports]);
    }

    public string Path { get; }

    /// <summary>What <c>trainer_state.json</c> holds; the loop keeps its counters current, <see cref="Logged"/> the history.</summary>
    public TrainerState State { get; }

    /// <summary>Opens the folder of a run, making it where it is missing.</summary>
    /// <param name="outputDir">The recipe's <c>output_dir</c>.</param>
    /// <param name="resume">The checkpoint that the run continues from; null begins anew. What was logged after it is dropped.</param>
    /// <param name="tensorBoard">False where the recipe's <c>report_to</c> leaves TensorBoard out.</param>
    /// <param name="eventFolder">Folder of the TensorBoard files; null for one of this start below <c>runs/</c>.</param>
    /// <param name="reports">Others that keep what is logged; they are closed with the folder.</param>
    public static RunFolder Open(string outputDir, Checkpoint? resume = null, bool tensorBoard = true, string? eventFolder = null,
        IReadOnlyList<IRunReport>? reports = null)
    {
        RequireFolder(outputDir);
        var path = System.IO.Path.GetFullPath(outputDir);
        try
        {
            Directory.CreateDirectory(path);
            var state = resume is null ? new TrainerState() : TrainerState.Load(System.IO.Path.Combine(resume.Path, TrainerState.FileName));
            return new RunFolder(path, state, resume?.Step ?? 0, tensorBoard, eventFolder, reports ?? []);
        }
        catch (Exception error) when (Disk.Explain(error, $"output_dir {path}") is { } explained)
        {
            throw explained;
        }
    }

    /// <summary>The folder as those see it who train along and leave the writing to the first: nothing is written.</summary>
    public static RunFolder Watch(string outputDir, Checkpoint? resume) => new(System.IO.Path.GetFullPath(outputDir),
        resume is null ? new TrainerState() : TrainerState.Load(System.IO.Path.Combine(resume.Path, TrainerState.FileName)));

    /// <summary>What keeps the log in the forms of tracking services.</summary>
    private IReadOnlyList<IRunReport> Reports { get; } = [];

    /// <summary>Whether this one writes.</summary>
    public bool Writes => _metrics is not null;

    /// <summary>Stops a run before anything is loaded where <c>output_dir</c> cannot be made or written: it, or a folder above it, is a
    /// file, is read-only, or belongs to somebody else. Leaves nothing behind.</summary>
    /// <exception cref="InputException">It cannot.</exception>
    /// <param name="key">What names it, for the message.</param>
    public static void RequireFolder(string outputDir, string key = "output_dir")
    {
        var path = System.IO.Path.GetFullPath(outputDir);
        var above = path;
        for (; above is not null && !Directory.Exists(above); above = System.IO.Path.GetDirectoryName(above))
            if (File.Exists(above))
                throw new InputException($"{key}: {above} is a file, not a folder",
                    fix: $"choose another {key}, or remove the file");
        // Only the attempt tells: permissions, mounts and file systems that take no files at all are all of one answer.
        var attempt = System.IO.Path.Combine(above ?? path, $".handbook-{Guid.NewGuid():N}");
        try
        {
            Directory.CreateDirectory(attempt);
            Directory.Delete(attempt);
        }
        catch (IOException error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new InputException($"{key} {path} cannot be made: {above} takes no folders", fix: $"choose another {key}",
                inner: error);
        }
        catch (Exception error) when (Disk.Explain(error, $"{key} {path}") is { } explained)
        {
            throw explained;
        }
    }

    /// <summary>Writes the metrics of a training step to all logs of the run.</summary>
    /// <inheritdoc/>
    public void Logged(int steps, double epoch, MetricSet metrics) => _logs.Logged(steps, epoch, Remembered(steps, epoch, metrics));

    /// <summary>Writes an evaluation to all logs of the run.</summary>
    /// <inheritdoc/>
    public void Evaluated(int steps, double epoch, MetricSet metrics) => _logs.Evaluated(steps, epoch, Remembered(steps, epoch, metrics));

    /// <summary>The entry as the logs have it; <c>log_history</c> keeps it with the loss rounded to four decimals, as the Python trainer
    /// does.</summary>
    private MetricSet Remembered(int step, double epoch, MetricSet metrics)
    {
        var entry = new MetricSet { ["epoch"] = epoch };
        foreach (var (name, value) in metrics)
            entry[name] = value;
        var history = new MetricSet(entry.OrderBy(pair => pair.Key, StringComparer.Ordinal)) { ["step"] = step };
        if (history.Number("loss") is { } loss)
            history["loss"] = Math.Round(loss, 4);
        State.LogHistory.Add(history);
        return entry;
    }

    /// <inheritdoc/>
    public void Ended(TrainingSummary summary) => _logs.Ended(summary);

    /// <inheritdoc/>
    public void Saved(string checkpoint) => _logs.Saved(checkpoint);

    /// <summary>Makes the log durable. Called before a checkpoint is written, which builds on it.</summary>
    public void Flush() => _metrics?.Flush();

    /// <summary>Writes <c>SPLIT_results.json</c>, and updates <c>all_results.json</c>, where keys of earlier runs survive.</summary>
    public void SaveResults(string split, MetricSet metrics)
    {
        WriteJson($"{split}_results.json", metrics);
        var all = new Dictionary<string, object?>();
        var path = Below("all_results.json");
        if (File.Exists(path))
        {
            try
            {
                using var document = JsonDocument.Parse(File.ReadAllText(path));
                foreach (var property in document.RootElement.EnumerateObject())
                    all[property.Name] = property.Value.Clone();
            }
            catch (Exception error) when (error is JsonException or InvalidOperationException)
            {
                throw new InputException($"{path} is not a JSON object, so the new results cannot join it", fix: "move the file away",
                    inner: error);
            }
        }
        foreach (var (name, value) in metrics)
            all[name] = value;
        WriteJson("all_results.json", all);
    }

    /// <summary>Writes <c>trainer_state.json</c>.</summary>
    public void SaveState() => State.Save(Path);

    /// <summary>Writes <c>recipe.yaml</c>, the recipe with all its defaults: the run can be repeated from it alone.</summary>
    public void WriteRecipe(string yaml) => WholeFile.WriteText(Below("recipe.yaml"), yaml);

    /// <summary>Writes <c>contaminated_rows.jsonl</c>, the rows that are left out because they hold texts of a test set; where there are none,
    /// there is no such file.</summary>
    public void WriteLeftOut(DecontaminationReport? report)
    {
        var path = Below("contaminated_rows.jsonl");
        if (report is { Rows.Count: > 0 })
            WholeFile.WriteText(path, report.ToText());
        else
            File.Delete(path);
    }

    /// <summary>Opens a file of rows; what an earlier start wrote of <paramref name="firstStep"/> and later is dropped.</summary>
    /// <returns>Null where this one does not write.</returns>
    internal RowLog? OpenRows(string name, int firstStep) => Writes ? new(Below(name), firstStep) : null;

    /// <summary>Writes <c>training_args.json</c>, the readable form of what the Python trainer pickles.</summary>
    public void WriteTrainingArgs(IEnumerable<KeyValuePair<string, object?>> arguments) =>
        WholeFile.WriteText(Below("training_args.json"), PythonJson.Write(arguments, indent: 2, sortKeys: true) + "\n");

    /// <summary>Writes <c>run.json</c>, and opens the reports. A run that was resumed keeps its starts, the hashes of the weights it
    /// began from, and its names in the reports.</summary>
    /// <param name="start">What reports are told of the run; what the folder itself knows is added.</param>
    public void WriteRunInfo(RunInfo info, ReportStart? start = null)
    {
        _metrics?.Begin();
        var before = _resumeStep > 0 ? RunHistory.Read(Path) : null;
        if (before?.ModelHash is { } hash)
            info = info with { ModelHash = hash };
        info = info with
        {
            Reports = Reports.ToDictionary(report => report.Name, report => report.Begin(start! with
            {
                ResumeStep = _resumeStep,
                Before = before?.Reports.GetValueOrDefault(report.Name) ?? new Dictionary<string, string>(),
            }))
        };
        if (before?.Lineage?.Weights is { } weights && info.Lineage is { } lineage)
            info = info with { Lineage = lineage with { Weights = weights } };
        lock (_runInfo)
            WholeFile.WriteText(Below(RunInfo.FileName), info.ToJson([.. before?.Starts ?? [], info.Start(DateTimeOffset.Now, _resumeStep)]));
    }

    /// <summary>Replaces entries of <c>run.json</c> by what became known since it was written; nothing once the folder is closed.</summary>
    /// <param name="change">Changes the entries, each a <see cref="JsonElement"/>.</param>
    public void Amend(Action<IDictionary<string, object?>> change)
    {
        lock (_runInfo)
        {
            if (_isClosed)
                return;
            using var document = JsonDocument.Parse(File.ReadAllBytes(Below(RunInfo.FileName)));
            var entries = document.RootElement.EnumerateObject().ToDictionary(entry => entry.Name, entry => (object?)entry.Value);
            change(entries);
            WholeFile.WriteText(Below(RunInfo.FileName), PythonJson.Write(entries, indent: 2) + "\n");
        }
    }

    /// <summary>Notes in <c>run.json</c> that the run is at its end: model, results and card are written.</summary>
    /// <param name="files">Names of the files of the model, below the folder.</param>
    public void Finish(IEnumerable<string> files)
    {
        Flush();
        string[] own = ["recipe.yaml", MetricsFile.FileName, TrainerState.FileName, "train_results.json", "eval_results.json"];
        var written = files.Concat(own.Where(name => File.Exists(Below(name)))).Select(name => CheckpointManifest.Of(Path, name)).ToList();
        Amend(entries => entries["finished"] = new Dictionary<string, object?>
        {
            ["at"] = DateTimeOffset.Now.ToString("O"),
            ["step"] = State.GlobalStep,
            ["files"] = written.Select(file => new Dictionary<string, object?>
            { ["path"] = file.Path, ["size"] = file.Size, ["sha256"] = file.Sha256 }).ToList(),
        });
    }

    /// <summary>Writes the model card, <c>README.md</c>.</summary>
    /// <param name="card">Markdown.</param>
    public void WriteCard(string card) => WholeFile.WriteText(Below("README.md"), card);

    /// <summary>Draws <c>loss.svg</c> and <c>loss.png</c> one last time and closes the log.</summary>
    public void Dispose()
    {
        lock (_runInfo)
            _isClosed = true;
        _plot?.Write();
        _metrics?.Dispose();
        _tensorBoard?.Dispose();
        foreach (var report in Reports)
            report.Dispose();
    }

    private void WriteJson(string name, object value) =>
        WholeFile.WriteText(Below(name), PythonJson.Write(value, indent: 4, sortKeys: true));

    private string Below(string name) => System.IO.Path.Combine(Path, name);
}
