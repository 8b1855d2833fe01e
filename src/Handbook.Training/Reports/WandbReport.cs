using System.Globalization;
using System.Security.Cryptography;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;
using Handbook.Training.Metrics;
using Handbook.Training.Progress;

namespace Handbook.Training.Reports;

/// <summary>A Weights &amp; Biases run in the client's offline form: <c>wandb/offline-run-DATE_TIME-ID/run-ID.wandb</c> with
/// <c>files/</c> beside it, which <c>wandb sync</c> uploads.</summary>
/// <remarks>
/// Names of numbers are those of the Python trainer: <c>train/loss</c>, <c>eval/loss</c>, with <c>train/global_step</c> as their axis. A
/// run that goes on from a checkpoint goes on with its id and its file, without what was logged after that step; where the file has been
/// uploaded already, it begins another one of the same id.
/// </remarks>
internal sealed partial class WandbReport(ReportOptions options, IWorkObserver observer) : IRunReport
{
    private const string StepName = "train/global_step";
    private const string SyncedEnding = ".synced";
    private const int IdLength = 8;

    private readonly MetricSet _summary = [];
    private WandbFile? _file;
    private string _folder = "";
    private bool _isAnother;
    private long _records, _logs;
    private double _seconds;
    private DateTimeOffset _start;
    private bool? _isFinished;

    public string Name => ReportTargets.Wandb;

    /// <summary>Whether the environment turns Weights &amp; Biases off.</summary>
    /// <exception cref="InputException"><c>WANDB_MODE</c> has another word.</exception>
    public static bool IsDisabled() => HubCache.Variable("WANDB_DISABLED")?.ToUpperInvariant() is "1" or "TRUE" or "ON" or "YES"
        || HubCache.Variable("WANDB_MODE") switch
        {
            null or "online" or "offline" or "dryrun" or "run" => false,
            "disabled" => true,
            var mode => throw new InputException($"report_to: WANDB_MODE is {mode}, not one of online, offline, disabled",
                "it says how the run is kept for Weights & Biases", "export WANDB_MODE=offline"),
        };

    /// <summary>The folder that runs lie in: <c>wandb</c> in <c>WANDB_DIR</c> or the working folder, or <c>.wandb</c> where that is
    /// there.</summary>
    public static string Root()
    {
        var place = Path.GetFullPath(UserFolder.Expand(HubCache.Variable("WANDB_DIR") ?? "."));
        return Path.Combine(place, Directory.Exists(Path.Combine(place, ".wandb")) ? ".wandb" : "wandb");
    }

    /// <summary>The id that the environment names; null where it names none.</summary>
    /// <exception cref="InputException">It cannot be one.</exception>
    public static string? NamedId() => HubCache.Variable("WANDB_RUN_ID") is not { } id ? null : IdPattern().IsMatch(id) ? id
        : throw new InputException($"report_to: WANDB_RUN_ID is {id}, but an id has letters, digits, - and _ alone, 64 at most",
            fix: "export another WANDB_RUN_ID, or none for a new id");

    public IReadOnlyDictionary<string, string> Begin(ReportStart start)
    {
        _start = DateTimeOffset.Now;
        var id = start.Before.GetValueOrDefault("id") ?? NamedId()
            ?? RandomNumberGenerator.GetString("abcdefghijklmnopqrstuvwxyz0123456789", IdLength);
        var before = start.Before.GetValueOrDefault("folder") is { } known ? Path.GetFullPath(known, start.Folder) : null;
        var kept = before is null ? [] : Kept(FileOf(before, id), start.ResumeStep);
        if (before is not null && kept.Count > 0 && !File.Exists(FileOf(before, id) + SyncedEnding))
        {
            _folder = before;
            _records = kept.Count;
            _file = WandbFile.GoOn(FileOf(before, id), kept);
        }
        else
        {
            _isAnother = _logs > 0;
            _folder = Path.Combine(Root(), $"offline-run-{_start:yyyyMMdd_HHmmss}-{id}");
            Directory.CreateDirectory(_folder);
            _file = WandbFile.Create(FileOf(_folder, id));
            Write(WandbRecords.OfHeader(_records));
            Write(WandbRecords.OfRun(_records, Run(id, start)));
            foreach (var metric in WandbRecords.OfMetrics(_records, StepName))
                Write(metric);
        }
        WriteFiles(start);
        observer.Noted($"wandb: the run is kept offline in {Shown(_folder)}"
            + (HubCache.Variable("WANDB_MODE") is null or "online" or "run" ? "; nothing is sent while it trains" : ""));
        if (HubCache.Variable("WANDB_LOG_MODEL") is { } model && model is not ("false" or "0"))
            observer.Noted($"wandb: WANDB_LOG_MODEL is {model}, but weights are not kept for Weights & Biases: upload them with "
                + $"`wandb artifact put --type model {start.Folder}`");
        return new Dictionary<string, string> { ["id"] = id, ["folder"] = Path.GetRelativePath(start.Folder, _folder) };
    }

    public void Logged(int steps, double epoch, MetricSet metrics)
    {
        // as the Python trainer has it: what was measured of the whole run stands in the summary under its own name
        foreach (var (name, value) in metrics.Where(pair => ClosingEntry.Has(pair.Key)))
            _summary[name] = value;
        Log(steps, ClosingEntry.Without(metrics), "train/", "");
    }

    public void Evaluated(int steps, double epoch, MetricSet metrics) => Log(steps, metrics, "eval/", "eval_");

    public void Ended(TrainingSummary summary) => _isFinished = summary.Finished;

    public void Dispose()
    {
        if (_file is null)
            return;
        var seconds = (long)(_seconds + (DateTimeOffset.Now - _start).TotalSeconds);
        Write(WandbRecords.OfSummary(_records, _summary));
        WholeFile.WriteText(Path.Combine(_folder, "files", "wandb-summary.json"), PythonJson.Write(_summary) + "\n", durable: false);
        const int failed = 1, interrupted = 130;
        var code = _isFinished switch { true => 0, false => interrupted, null => failed };
        foreach (var record in WandbRecords.OfEnd(_records, code, seconds))
            Write(record);
        _file.Dispose();
        _file = null;
        if (_isFinished == true)
            observer.Said($"upload the run to Weights & Biases: wandb sync {(_isAnother ? "--append " : "")}{Shown(_folder)}");
    }

    private WandbRun Run(string id, ReportStart start) => new()
    {
        Id = id,
        Project = options.WandbProject ?? HubCache.Variable("WANDB_PROJECT") ?? "huggingface",
        Entity = options.WandbEntity ?? HubCache.Variable("WANDB_ENTITY"),
        Group = options.WandbRunGroup ?? HubCache.Variable("WANDB_RUN_GROUP"),
        JobType = HubCache.Variable("WANDB_JOB_TYPE"),
        DisplayName = start.NameOr("WANDB_NAME"),
        Notes = HubCache.Variable("WANDB_NOTES"),
        Tags = HubCache.Variable("WANDB_TAGS")?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) ?? [],
        Config = Config(start),
        StartTime = _start,
        StartingStep = _logs,
    };

    private static Dictionary<string, object?> Config(ReportStart start) => new(start.Config)
    {
        ["method"] = start.Method,
        ["handbook_version"] = RunInfo.Version,
    };

    /// <summary>The records of an earlier start up to a step; counts what was logged.</summary>
    private List<byte[]> Kept(string file, int lastStep)
    {
        var kept = new List<byte[]>();
        if (!File.Exists(file))
            return kept;
        foreach (var record in WandbFile.Read(file))
        {
            if (WandbRecords.Read(record) is not { IsEnd: false } read)
                break;
            if (read.History is { } history)
            {
                if (!history.TryGetValue(StepName, out var step) || int.Parse(step) > lastStep)
                    break;
                _logs++;
                foreach (var (name, json) in history)
                    if (double.TryParse(json, NumberStyles.Float, CultureInfo.InvariantCulture, out var value))
                        _summary[name] = json.All(char.IsAsciiDigit) ? MetricValue.FromInt64((long)value) : value;
                _seconds = _summary.Number("_runtime") ?? _seconds;
            }
            kept.Add(record);
        }
        return kept;
    }

    private void Log(int step, MetricSet metrics, string prefix, string own)
    {
        var now = DateTimeOffset.Now;
        var values = new MetricSet();
        foreach (var (name, value) in metrics)
            values[prefix + (own.Length > 0 && name.StartsWith(own, StringComparison.Ordinal) ? name[own.Length..] : name)] = value;
        values[StepName] = step;
        values["_timestamp"] = (now - DateTimeOffset.UnixEpoch).TotalSeconds;
        values["_runtime"] = _seconds + (now - _start).TotalSeconds;
        values["_step"] = _logs;
        Write(WandbRecords.OfHistory(_records, _logs++, values));
        foreach (var (name, value) in values)
            _summary[name] = value;
        Write(WandbRecords.OfSummary(_records, values));
    }

    private void WriteFiles(ReportStart start)
    {
        var files = Path.Combine(_folder, "files");
        Directory.CreateDirectory(files);
        WholeFile.WriteText(Path.Combine(files, "config.yaml"), string.Concat(Config(start).Select(entry =>
            $"{entry.Key}:\n    value: {PythonJson.Write(entry.Value)}\n")), durable: false);
        WholeFile.WriteText(Path.Combine(files, "recipe.yaml"), start.Recipe, durable: false);
        WholeFile.WriteText(Path.Combine(files, "wandb-metadata.json"), PythonJson.Write(new Dictionary<string, object?>
        {
            ["os"] = System.Runtime.InteropServices.RuntimeInformation.OSDescription,
            ["startedAt"] = _start.ToUniversalTime().ToString("O"),
            ["program"] = $"handbook {start.Method}",
            ["host"] = Environment.MachineName,
            ["cpu_count"] = Environment.ProcessorCount,
        }, indent: 2) + "\n", durable: false);
        Write(WandbRecords.OfFiles(_records, ["config.yaml", "recipe.yaml", "wandb-metadata.json", "wandb-summary.json"]));
    }

    private void Write(byte[] record)
    {
        _file!.Write(record);
        _records++;
    }

    private static string FileOf(string folder, string id) => Path.Combine(folder, $"run-{id}.wandb");

    // As it is typed from the working folder.
    private static string Shown(string folder) => new PlaceNames(".").Of(folder);

    [GeneratedRegex("^[A-Za-z0-9_-]{1,64}$")]
    private static partial Regex IdPattern();
}
