using System.Text.Json;
using Handbook.Base;
using Handbook.Training.Checkpoints;

namespace Handbook.Training;

/// <summary>What <c>run.json</c> tells about a run that was started before.</summary>
internal sealed record RunHistory
{
    /// <summary>Its method.</summary>
    public required string Method { get; init; }

    /// <summary>Hash of the weights it began from; null where it is not known.</summary>
    public string? ModelHash { get; private init; }

    /// <summary>Hash of its chat template; null where it has none.</summary>
    public string? TemplateHash { get; private init; }

    /// <summary>Fingerprint of its tokenizer; null where it is not known.</summary>
    public string? TokenizerHash { get; private init; }

    /// <summary>Data set → hash of what its files held.</summary>
    public IReadOnlyDictionary<string, string> DataHashes { get; private init; } = new Dictionary<string, string>();

    /// <summary>Its starts, each as it stands in the file.</summary>
    public IReadOnlyList<JsonElement> Starts { get; private init; } = [];

    /// <summary>The most processes that one of its starts had.</summary>
    public int Processes { get; private init; } = 1;

    /// <summary>What went into it; null where nobody wrote it down.</summary>
    public RunLineage? Lineage { get; private init; }

    /// <summary>Versions of the program and of what computes, the choices made for the machine, and the machine: by the names of
    /// <see cref="RunFacts"/>, <c>engine.batch_processes</c>, ….</summary>
    public IReadOnlyDictionary<string, string> Program { get; private init; } = new Dictionary<string, string>();

    /// <summary>What names it in each of its reports.</summary>
    public IReadOnlyDictionary<string, IReadOnlyDictionary<string, string>> Reports { get; private init; } =
        new Dictionary<string, IReadOnlyDictionary<string, string>>();

    /// <summary>The step at which it ended and its results were written; null while it is not at its end.</summary>
    public int? FinishedStep { get; private init; }

    /// <summary>What it wrote at its end, with names below its folder; empty while it is not there, or where an earlier version wrote
    /// it.</summary>
    public IReadOnlyList<ManifestFile> Outputs { get; private init; } = [];

    /// <summary>Reads a run folder; null where no run of ours was started there, or nobody can read its file any more.</summary>
    public static RunHistory? Read(string folder) => Read(folder, out _);

    /// <inheritdoc cref="Read(string)"/>
    /// <param name="folder">The run folder.</param>
    /// <param name="damage">What is wrong with its file; null where there is none, or it is whole.</param>
    public static RunHistory? Read(string folder, out InputException? damage)
    {
        damage = null;
        if (!File.Exists(Path.Combine(folder, RunInfo.FileName)))
            return null;
        try
        {
            return Require(folder);
        }
        catch (InputException problem)
        {
            damage = problem;
            return null;
        }
    }

    /// <summary>Reads a run folder of which something is to be said.</summary>
    /// <exception cref="InputException">No run of ours was started there, or its file is damaged: the message names the entry.</exception>
    public static RunHistory Require(string folder)
    {
        var path = Path.Combine(folder, RunInfo.FileName);
        if (!Directory.Exists(folder))
            throw new InputException(File.Exists(folder) ? $"{folder} is a file, not a run's folder" : $"{folder}: there is no such folder",
                fix: "name a run's output_dir");
        if (!File.Exists(path))
            throw new InputException($"{folder} holds no run of the handbook: it has no {RunInfo.FileName}", fix: "name a run's output_dir");
        try
        {
            var bytes = File.ReadAllBytes(path);
            if (bytes.AsSpan().Trim(" \t\r\n"u8).IsEmpty)
                throw new FormatException("it is empty");
            using var document = JsonDocument.Parse(bytes);
            return Of(new RunEntries(document.RootElement));
        }
        catch (JsonException problem)
        {
            throw Damaged(problem.Path is { Length: > 0 } at ? $"{RunLineage.Entry}{at.TrimStart('$')} is not of its kind"
                : $"line {problem.LineNumber + 1} is not JSON, or the file was cut there", problem);
        }
        catch (FormatException problem)
        {
            throw Damaged(problem.Message, problem);
        }

        InputException Damaged(string problem, Exception inner) => new($"{path} is damaged: {problem}",
            "it says what the run read and wrote, and is written whole by the run alone",
            "put it back from a copy, or train anew with --fresh=true", inner);
    }

    /// <summary>What went into the run, for whoever compares it.</summary>
    /// <exception cref="InputException">An earlier version wrote none.</exception>
    public RunLineage RequiredLineage(string folder) => Lineage ?? throw new InputException(
        $"{Path.Combine(folder, RunInfo.FileName)} has no {RunLineage.Entry}",
        "it holds the hashes of what the run read; without them there is nothing to compare with",
        "put the file back from a copy, or train anew with --fresh=true");

    /// <exception cref="FormatException">An entry is missing, or of another kind.</exception>
    private static RunHistory Of(RunEntries run)
    {
        var starts = run.Elements("starts");
        var finished = run.Below("finished");
        return new()
        {
            Method = run.Text("method") ?? throw new FormatException("method is missing"),
            ModelHash = run.Text("model_hash"),
            TemplateHash = run.Text("template_hash"),
            TokenizerHash = run.Text("tokenizer_hash"),
            DataHashes = run.Texts("data_hashes"),
            Starts = [.. starts.Select(start => start.Element.Clone())],
            Processes = starts.Select(start => start.Count("processes") ?? 1).DefaultIfEmpty(1).Max(),
            Lineage = run.Has(RunLineage.Entry) ? RunLineage.Read(run.Required(RunLineage.Entry).Element) : null,
            Program = RunFacts.Groups.SelectMany(group => run.Required(group).Shown().Select(entry => KeyValuePair.Create($"{group}.{entry.Key}",
                entry.Value))).ToDictionary(),
            Reports = run.Below("reports")?.Names.ToDictionary(name => name, name => run.Required("reports").Texts(name))
                ?? new Dictionary<string, IReadOnlyDictionary<string, string>>(),
            FinishedStep = finished is null ? null : finished.Count("step") ?? throw new FormatException("finished.step is missing"),
            Outputs = [.. (finished?.Has("files") == true ? finished.Elements("files") : []).Select(file => new ManifestFile(Required(file, "path"),
                file.Number("size") ?? throw new FormatException($"{file.Place}.size is missing"), Required(file, "sha256")))],
        };

        static string Required(RunEntries file, string name) =>
            file.Text(name) ?? throw new FormatException($"{file.Place}.{name} is missing");
    }
}

/// <summary>Entries of an object of <c>run.json</c>, each of the kind that it was written as.</summary>
/// <param name="element">The object.</param>
/// <param name="place">Where it stands; empty for the whole file.</param>
internal sealed class RunEntries(JsonElement element, string place = "")
{
    /// <exception cref="FormatException">It is no object.</exception>
    public JsonElement Element { get; } = element.ValueKind == JsonValueKind.Object ? element
        : throw new FormatException($"{(place.Length == 0 ? "it" : place)} is {Kind(element)}, not an object");

    public string Place => place;

    /// <summary>The names of all entries.</summary>
    public IEnumerable<string> Names => Element.EnumerateObject().Select(entry => entry.Name);

    /// <summary>Whether there is an entry that is not null.</summary>
    public bool Has(string name) => Element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null;

    /// <summary>An object; null where there is none.</summary>
    public RunEntries? Below(string name) => Has(name) ? new(Element.GetProperty(name), Named(name)) : null;

    /// <summary>An object that every run has.</summary>
    public RunEntries Required(string name) => Below(name) ?? throw new FormatException($"{Named(name)} is missing");

    /// <summary>The objects of a list that every run has.</summary>
    public IReadOnlyList<RunEntries> Elements(string name) =>
        [.. Value(name, JsonValueKind.Array, "a list")?.EnumerateArray().Select((entry, at) => new RunEntries(entry, $"{Named(name)}[{at}]"))
            ?? throw new FormatException($"{Named(name)} is missing")];

    /// <summary>A text; null where there is none.</summary>
    public string? Text(string name) => Value(name, JsonValueKind.String, "a text")?.GetString();

    /// <summary>A whole number; null where there is none.</summary>
    public long? Number(string name) => Value(name, JsonValueKind.Number, "a number") is not { } value ? null
        : value.TryGetInt64(out var number) ? number : throw new FormatException($"{Named(name)} is {value}, not a whole number");

    /// <inheritdoc cref="Number"/>
    public int? Count(string name) => (int?)Number(name);

    /// <summary>The texts of an object, by name; none where there is no such object.</summary>
    public IReadOnlyDictionary<string, string> Texts(string name) => Below(name) is not { } below ? new Dictionary<string, string>()
        : below.Names.ToDictionary(key => key, key => below.Text(key) ?? "");

    /// <summary>Every entry as it is shown.</summary>
    public IEnumerable<KeyValuePair<string, string>> Shown() =>
        Element.EnumerateObject().Select(entry => KeyValuePair.Create(entry.Name, entry.Value.ToString()));

    private JsonElement? Value(string name, JsonValueKind kind, string word) => !Has(name) ? null
        : Element.GetProperty(name) is var value && value.ValueKind == kind ? value
        : throw new FormatException($"{Named(name)} is {Kind(value)}, not {word}");

    private string Named(string name) => place.Length == 0 ? name : $"{place}.{name}";

    private static string Kind(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        JsonValueKind.String => "a text",
        JsonValueKind.Number => "a number",
        _ => value.ToString().ToLowerInvariant() is { Length: > 0 } word ? word : "null",
    };
}
