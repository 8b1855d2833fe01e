using System.Globalization;
using System.Text.Json;
using Handbook.Base;
using Handbook.Training;
using Handbook.Training.Checkpoints;
using Handbook.Training.Metrics;

namespace Handbook.Watching;

/// <summary>How a run stands.</summary>
internal enum RunStanding
{
    /// <summary>A process holds its folder.</summary>
    Training,

    /// <summary>It came to its end.</summary>
    Finished,

    /// <summary>Neither: it was stopped, or it died.</summary>
    Stopped,
}

/// <summary>A run as its folder shows it, whoever trains it and wherever: read anew, never locked or changed.</summary>
internal sealed record RunView
{
    /// <summary>The folder, as it was named.</summary>
    public required string Folder { get; init; }

    /// <summary><c>sft</c>, <c>dpo</c>, ….</summary>
    public required string Method { get; init; }

    /// <summary>The model that it began with; null for a new one.</summary>
    public string? Model { get; init; }

    public required RunStanding Standing { get; init; }

    /// <summary>Who trains: a process and its machine; null where nobody does.</summary>
    public string? Holder { get; init; }

    /// <summary>Everything logged, in the order of the steps.</summary>
    public required IReadOnlyList<MetricSet> Logged { get; init; }

    /// <summary>The last logged step; 0 before the first.</summary>
    public int Step => (int)(Logged.Count > 0 ? Logged[^1].Number("step") ?? 0 : 0);

    /// <summary>Where the run ends; null where that cannot be told yet.</summary>
    public int? Steps { get; init; }

    /// <summary>Steps a second since the last start, or null before there are two moments to tell it from.</summary>
    public double? StepsPerSecond { get; init; }

    /// <summary>Tokens a second, as <see cref="StepsPerSecond"/>.</summary>
    public double? TokensPerSecond { get; init; }

    /// <summary>When the run was started last.</summary>
    public DateTimeOffset? Started { get; init; }

    /// <summary>When it ended, or when it logged last.</summary>
    public DateTimeOffset? Last { get; init; }

    /// <summary>Steps of the checkpoints that are kept.</summary>
    public IReadOnlyList<int> Checkpoints { get; init; } = [];

    /// <summary>How long it still takes; null where nothing tells.</summary>
    public TimeSpan? Left => Standing == RunStanding.Training && Steps is { } steps && StepsPerSecond is > 0 and var speed
        ? TimeSpan.FromSeconds(Math.Max(0, steps - Step) / speed) : null;

    /// <summary>The numbers of one name, by step; what is no number is left out.</summary>
    public IReadOnlyList<(double Step, double Value)> Series(string name) => [.. Logged
        .Select(entry => (Step: entry.Number("step") ?? double.NaN, Value: entry.Number(name) ?? double.NaN))
        .Where(point => double.IsFinite(point.Step) && double.IsFinite(point.Value))];

    /// <summary>Names of all numbers, in the order in which they were first logged.</summary>
    public IEnumerable<string> Names() => Logged.SelectMany(entry => entry.Select(pair => pair.Key)).Distinct()
        .Where(name => name is not ("step" or "epoch"));

    /// <summary>What the model said last to some of the prompts that it is asked at evaluations; empty where it is asked none.</summary>
    public IReadOnlyList<SampledPrompt> LatestAnswers() => RunSamples.Read(Folder, most: 3, bytes: 1 << 18);

    /// <summary>Whether a folder is a run's.</summary>
    public static bool IsRun(string folder) => File.Exists(Path.Combine(folder, RunInfo.FileName));

    /// <summary>The runs that a name means: the folder itself, or the runs below it.</summary>
    /// <exception cref="InputException">There is none.</exception>
    public static IReadOnlyList<string> Find(string name)
    {
        if (!Directory.Exists(name))
            throw new InputException($"{name} is no folder", fix: "name the output_dir of a run, or a folder of runs");
        if (IsRun(name))
            return [name];
        string[] below = [.. Directory.EnumerateDirectories(name).SelectMany(folder => IsRun(folder) ? [folder]
            : Directory.EnumerateDirectories(folder).Where(IsRun)).Order(StringComparer.Ordinal)];
        return below.Length > 0 ? below : throw new InputException($"{name} is no run, and there is none in it",
            $"a run's folder has a {RunInfo.FileName}, as soon as its data is read", "name the output_dir of a run");
    }

    /// <summary>Reads a run's folder as it is now.</summary>
    /// <exception cref="InputException">Its <c>run.json</c> cannot be read.</exception>
    public static RunView Read(string folder)
    {
        using var info = Json(folder, RunInfo.FileName) ?? throw new InputException($"{Path.Combine(folder, RunInfo.FileName)} is not there",
            fix: "name the output_dir of a run");
        var root = info.RootElement;
        if (root.ValueKind != JsonValueKind.Object)
            throw new InputException($"{Path.Combine(folder, RunInfo.FileName)} is no object", fix: "the file is damaged: start the run again");
        using var keys = Json(folder, "training_args.json");
        var logged = MetricsFile.ReadAll(folder);
        var finished = root.TryGetProperty("finished", out var end) && end.ValueKind == JsonValueKind.Object ? end : (JsonElement?)null;
        var holder = RunLock.Holder(folder);
        var start = root.TryGetProperty("starts", out var starts) && starts.ValueKind == JsonValueKind.Array && starts.GetArrayLength() > 0
            ? starts[starts.GetArrayLength() - 1] : (JsonElement?)null;
        var (began, from) = (Time(start, "at"), start is { } begin && begin.TryGetProperty("from_step", out var step) ? step.GetInt32() : 0);
        var last = Time(finished, "at") ?? (logged.Count == 0 ? null : (DateTimeOffset?)File.GetLastWriteTimeUtc(
            Path.Combine(folder, MetricsFile.FileName)));
        var view = new RunView
        {
            Folder = folder,
            Method = root.TryGetProperty("method", out var method) ? method.GetString() ?? "" : "",
            Model = Text(keys, "model_name_or_path"),
            Standing = holder is not null ? RunStanding.Training : finished is not null ? RunStanding.Finished : RunStanding.Stopped,
            Holder = holder,
            Logged = logged,
            Started = began,
            Last = last,
            Checkpoints = [.. CheckpointFolder.List(folder).Select(checkpoint => checkpoint.Step)],
        };
        var steps = holder is null && finished is { } ended && ended.TryGetProperty("step", out var at) ? at.GetInt32() : Total(view, keys);
        var seconds = (last - began)?.TotalSeconds;
        // Logged numbers of this start; the wait before the first one is in it, so that it is rather too long than too short.
        var taken = view.Step - from;
        var tokens = view.Series("num_tokens");
        var before = tokens.LastOrDefault(point => point.Step <= from).Value;
        return view with
        {
            Steps = steps,
            StepsPerSecond = taken > 0 && seconds > 0 ? taken / seconds : null,
            TokensPerSecond = taken > 0 && seconds > 0 && tokens.Count > 0 && tokens[^1].Step > from ? (tokens[^1].Value - before) / seconds : null,
        };
    }

    /// <summary>The run with its speed as somebody saw it who looked before.</summary>
    /// <param name="before">An earlier look at the same start; null for none.</param>
    public RunView Since(RunView? before)
    {
        if (before is null || before.Started != Started || Last is not { } now || before.Last is not { } then)
            return this;
        if (Step <= before.Step || now <= then)
            return this with
            {
                StepsPerSecond = before.StepsPerSecond ?? StepsPerSecond,
                TokensPerSecond = before.TokensPerSecond ?? TokensPerSecond,
            };
        var seconds = (now - then).TotalSeconds;
        var (tokens, old) = (Series("num_tokens"), before.Series("num_tokens"));
        return this with
        {
            StepsPerSecond = (Step - before.Step) / seconds,
            TokensPerSecond = tokens.Count > 0 && old.Count > 0 ? (tokens[^1].Value - old[^1].Value) / seconds : TokensPerSecond,
        };
    }

    // max_steps, or what the epochs come to: a step's share of an epoch is logged.
    private static int? Total(RunView view, JsonDocument? keys)
    {
        if (Number(keys, "max_steps") is > 0 and var most)
            return (int)most;
        return view.Step > 0 && view.Logged[^1].Number("epoch") is > 0 and var epoch && Number(keys, "num_train_epochs") is > 0 and var epochs
            ? (int)Math.Round(view.Step * epochs / epoch) : null;
    }

    private static JsonDocument? Json(string folder, string name)
    {
        var path = Path.Combine(folder, name);
        try
        {
            return File.Exists(path) ? JsonDocument.Parse(File.ReadAllText(path)) : null;
        }
        catch (JsonException failure)
        {
            throw new InputException($"{path} is broken: {failure.Message}", fix: "the file is damaged: start the run again", inner: failure);
        }
    }

    private static string? Text(JsonDocument? keys, string key) =>
        keys is not null && keys.RootElement.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static double? Number(JsonDocument? keys, string key) =>
        keys is not null && keys.RootElement.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null;

    private static DateTimeOffset? Time(JsonElement? entry, string key) => entry is { } at && at.TryGetProperty(key, out var text)
        && DateTimeOffset.TryParse(text.GetString(), CultureInfo.InvariantCulture, out var time) ? time : null;
}
