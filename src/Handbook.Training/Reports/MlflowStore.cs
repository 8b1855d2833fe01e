using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Training.Metrics;

namespace Handbook.Training.Reports;

/// <summary>MLflow's file store: <c>mlruns/EXPERIMENT_ID/RUN_ID</c> with <c>meta.yaml</c>, and a file for each metric, parameter and
/// tag.</summary>
/// <remarks>
/// <code>
/// meta.yaml          flat YAML: of an experiment its name and place, of a run its name, status, times
/// metrics/NAME       a line for each value: milliseconds · value · step; / in a name makes folders
/// params/NAME        the value; tags/NAME the same; artifacts/ files of the user's
/// </code>
/// </remarks>
/// <param name="root">The store's folder.</param>
internal sealed partial class MlflowStore(string root)
{
    private const string Meta = "meta.yaml";
    private const string DefaultExperiment = "0";

    /// <summary>The store that the environment names: <c>MLFLOW_TRACKING_URI</c>, else <c>mlruns</c> in the working folder.</summary>
    /// <exception cref="InputException">It names a server or a data base.</exception>
    public static MlflowStore FromEnvironment()
    {
        var place = HubCache.Variable("MLFLOW_TRACKING_URI") ?? HubCache.Variable("MLFLOW_TRACKING_DIR") ?? "mlruns";
        if (Scheme().Match(place) is not { Success: true } match)
            return new(Path.GetFullPath(UserFolder.Expand(place)));
        if (match.Groups[1].Value == "file")
            return new(Path.GetFullPath(Uri.UnescapeDataString(FileScheme().Replace(place, ""))));
        throw new InputException($"report_to: MLFLOW_TRACKING_URI names {match.Groups[1].Value}:, and runs are kept "
            + "for MLflow in files alone",
            why: "a server or a data base that fails would hold up or end the training",
            fix: "export MLFLOW_TRACKING_URI=file:./mlruns, or none, and look at the runs with `mlflow ui --backend-store-uri ./mlruns`");
    }

    /// <summary>The store's folder.</summary>
    public string Root { get; } = root;

    /// <summary>The id of the experiment that a run belongs to; it is made where there is none of that name.</summary>
    /// <param name="id">Its id; null where the name tells.</param>
    /// <param name="name">Its name; null for the default one.</param>
    /// <exception cref="InputException">There is none of that id.</exception>
    public string Experiment(string? id, string? name)
    {
        if (id is not null)
            return File.Exists(Path.Combine(Root, id, Meta)) ? id : throw new InputException(
                $"report_to: MLFLOW_EXPERIMENT_ID is {id}, but {Root} has no such experiment",
                    fix: "export MLFLOW_EXPERIMENT_NAME in its place");
        if (!Directory.Exists(Root))
        {
            MakeExperiment(DefaultExperiment, "Default");
            Directory.CreateDirectory(Path.Combine(Root, ".trash"));
        }
        name ??= "Default";
        foreach (var folder in Directory.EnumerateDirectories(Root).Order(StringComparer.Ordinal))
            if (ReadMeta(folder).GetValueOrDefault("name") == name && Path.GetFileName(folder) is var known && known.All(char.IsAsciiDigit))
                return known;
        const int half = 1_000_000_000;      // up to 18 digits, as MLflow's own are
        var made = name == "Default" ? DefaultExperiment
            : $"{RandomNumberGenerator.GetInt32(1, half)}{RandomNumberGenerator.GetInt32(0, half):000000000}";
        MakeExperiment(made, name);
        return made;
    }

    private void MakeExperiment(string id, string name)
    {
        var now = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        WriteMeta(Path.Combine(Root, id), new()
        {
            ["artifact_location"] = UriOf(Path.Combine(Root, id)),
            ["creation_time"] = now,
            ["experiment_id"] = id,
            ["last_update_time"] = now,
            ["lifecycle_stage"] = "active",
            ["name"] = name,
        });
    }

    /// <summary>The folder of a run; null where there is none.</summary>
    public string? Find(string run) => !RunId().IsMatch(run) || !Directory.Exists(Root) ? null : Directory.EnumerateDirectories(Root)
        .Select(experiment => Path.Combine(experiment, run)).FirstOrDefault(folder => File.Exists(Path.Combine(folder, Meta)));

    /// <summary>Begins a run; its folder.</summary>
    public string Begin(string experiment, string run, string name)
    {
        var folder = Path.Combine(Root, experiment, run);
        foreach (var part in (string[])["metrics", "params", "tags", "artifacts"])
            Directory.CreateDirectory(Path.Combine(folder, part));
        WriteMeta(folder, new()
        {
            ["artifact_uri"] = UriOf(Path.Combine(folder, "artifacts")),
            ["deleted_time"] = null,
            ["end_time"] = null,
            ["entry_point_name"] = "",
            ["experiment_id"] = experiment,
            ["lifecycle_stage"] = "active",
            ["run_id"] = run,
            ["run_name"] = name,
            ["run_uuid"] = run,
            ["source_name"] = "",
            ["source_type"] = 4L,           // LOCAL
            ["source_version"] = "",
            ["start_time"] = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds(),
            ["status"] = (long)MlflowStatus.Running,
            ["tags"] = Array.Empty<string>(),
            ["user_id"] = Environment.UserName,
        });
        return folder;
    }

    /// <summary>Says how a run stands.</summary>
    /// <param name="folder">Its folder.</param>
    public static void SetStatus(string folder, MlflowStatus status)
    {
        var lines = File.ReadAllLines(Path.Combine(folder, Meta));
        var end = status == MlflowStatus.Running ? "null" : $"{DateTimeOffset.UtcNow.ToUnixTimeMilliseconds()}";
        WholeFile.WriteText(Path.Combine(folder, Meta), string.Concat(lines.Select(line =>
            (line.StartsWith("status:", StringComparison.Ordinal) ? $"status: {(int)status}"
                : line.StartsWith("end_time:", StringComparison.Ordinal) ? $"end_time: {end}" : line) + "\n")), durable: false);
    }

    /// <summary>Drops what was logged after a step.</summary>
    public static void CutAfter(string folder, int step)
    {
        foreach (var file in Directory.EnumerateFiles(Path.Combine(folder, "metrics"), "*", SearchOption.AllDirectories))
        {
            var lines = File.ReadAllLines(file);
            var kept = lines.Where(line => line.Split(' ') is [_, _, var at] && int.TryParse(at, out var number) && number <= step)
                .ToArray();
            if (kept.Length == 0)
                File.Delete(file);          // a metric without a value is none to MLflow's reader
            else if (kept.Length < lines.Length)
                WholeFile.WriteText(file, string.Concat(kept.Select(line => line + "\n")), durable: false);
        }
    }

    /// <summary>Adds a value to a metric.</summary>
    public static void Log(string folder, string name, MetricValue value, long step)
    {
        var number = double.IsNaN(value.Value) ? "nan" : double.IsInfinity(value.Value) ? value.Value > 0 ? "inf" : "-inf" : value.ToJson();
        var path = PathOf(folder, "metrics", name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.AppendAllText(path, $"{DateTimeOffset.UtcNow.ToUnixTimeMilliseconds()} {number} {step}\n");
    }

    /// <summary>Writes a parameter or a tag.</summary>
    /// <param name="kind"><c>params</c> or <c>tags</c>.</param>
    public static void Set(string folder, string kind, string name, string value)
    {
        var path = PathOf(folder, kind, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        WholeFile.WriteText(path, value, durable: false);
    }

    /// <summary>Where a value of a name lies. Letters that MLflow does not take become _; a name that is a folder of others gets one
    /// behind it.</summary>
    private static string PathOf(string folder, string kind, string name)
    {
        var path = Path.Combine(folder, kind, Path.Combine([.. Unfit().Replace(name, "_").Split('/', StringSplitOptions.RemoveEmptyEntries)
            .Select(part => part.Trim('.').Length == 0 ? "_" : part)]));
        for (var above = Path.GetDirectoryName(path)!; above.Length > folder.Length; above = Path.GetDirectoryName(above)!)
            if (File.Exists(above))
                return above + path[above.Length..].Replace(Path.DirectorySeparatorChar, '.');
        return Directory.Exists(path) ? path + "_" : path;
    }

    private static string UriOf(string path) => new Uri(path).AbsoluteUri;

    private static void WriteMeta(string folder, SortedDictionary<string, object?> entries) => WholeFile.WriteText(
        Path.Combine(folder, Meta), string.Concat(entries.Select(entry => $"{entry.Key}: {Shown(entry.Value)}\n")), durable: false);

    private static string Shown(object? value) => value switch
    {
        null => "null",
        long number => number.ToString(CultureInfo.InvariantCulture),
        string text when text.Length > 0 && PlainWord().IsMatch(text)
            && text is not ("null" or "true" or "false" or "yes" or "no" or "on" or "off") => text,
        string text => $"'{text.Replace("'", "''")}'",
        _ => "[]",
    };

    private static Dictionary<string, string> ReadMeta(string folder)
    {
        var path = Path.Combine(folder, Meta);
        return !File.Exists(path) ? [] : File.ReadLines(path).Select(line => line.Split(": ", 2)).Where(parts => parts.Length == 2)
            .DistinctBy(parts => parts[0]).ToDictionary(parts => parts[0], parts => Unquoted(parts[1].Trim()));
    }

    private static string Unquoted(string text) => text switch
    {
        ['\'', .. var inner, '\''] => inner.Replace("''", "'"),
        ['"', .., '"'] when TryJson(text) is { } read => read,
        _ => text,
    };

    private static string? TryJson(string text)
    {
        try
        {
            return JsonSerializer.Deserialize<string>(text);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    [GeneratedRegex("^([A-Za-z][A-Za-z0-9+.-]+):")]
    private static partial Regex Scheme();

    [GeneratedRegex("^file:(//)?")]
    private static partial Regex FileScheme();

    [GeneratedRegex("^[A-Za-z0-9_][A-Za-z0-9_-]{0,255}$")]
    private static partial Regex RunId();

    [GeneratedRegex(@"[^/\w.\- :]")]
    private static partial Regex Unfit();

    [GeneratedRegex(@"^[A-Za-z_/][\w/.:-]*$")]
    private static partial Regex PlainWord();
}

/// <summary>How an MLflow run stands, by the numbers that its files have.</summary>
internal enum MlflowStatus
{
    Running = 1,
    Finished = 3,
    Failed = 4,
    Killed = 5,
}
