using System.Text.Json;
using Handbook.Training.Checkpoints;

namespace Handbook.Training;

/// <summary>What <c>run.json</c> tells about a run that was started before.</summary>
internal sealed record RunHistory
{
    /// <summary>Its method.</summary>
    public string? Method { get; private init; }

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

    /// <summary>What went into it; null where an earlier version wrote the file.</summary>
    public RunLineage? Lineage { get; private init; }

    /// <summary>Versions of the program and of what computes, the choices made for the machine, and the machine: <c>versions.handbook</c>,
    /// <c>engine.threads</c>, <c>hardware.cpu</c>, ….</summary>
    public IReadOnlyDictionary<string, string> Program { get; private init; } = new Dictionary<string, string>();

    /// <summary>What names it in each of its reports.</summary>
    public IReadOnlyDictionary<string, IReadOnlyDictionary<string, string>> Reports { get; private init; } =
        new Dictionary<string, IReadOnlyDictionary<string, string>>();

    /// <summary>The step at which it ended and its results were written; null while it is not at its end.</summary>
    public int? FinishedStep { get; private init; }

    /// <summary>What it wrote at its end, with names below its folder; empty while it is not there, or where an earlier version wrote
    /// it.</summary>
    public IReadOnlyList<ManifestFile> Outputs { get; private init; } = [];

    /// <summary>Reads a run folder; null where no run of ours was started there, or another version wrote its file.</summary>
    public static RunHistory? Read(string folder)
    {
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, RunInfo.FileName)));
            var root = document.RootElement;
            var finished = root.TryGetProperty("finished", out var end) && end.ValueKind == JsonValueKind.Object ? end : default(JsonElement?);
            return new()
            {
                Method = Text(root, "method"),
                ModelHash = Text(root, "model_hash"),
                TemplateHash = Text(root, "template_hash"),
                TokenizerHash = Text(root, "tokenizer_hash"),
                DataHashes = Entries(root, "data_hashes").ToDictionary(entry => entry.Name, entry => entry.Value.ToString()),
                Starts = root.TryGetProperty("starts", out var starts) ? [.. starts.EnumerateArray().Select(start => start.Clone())] : [],
                Lineage = root.TryGetProperty(RunLineage.Entry, out var lineage) ? RunLineage.Of(lineage) : null,
                Program = ((string[])["versions", "engine", "hardware"]).SelectMany(group => Entries(root, group)
                    .Select(entry => (Name: $"{group}.{entry.Name}", Value: entry.Value.ToString()))).ToDictionary(entry => entry.Name, entry => entry.Value),
                Reports = Entries(root, "reports").ToDictionary(report => report.Name, report =>
                    (IReadOnlyDictionary<string, string>)Entries(root.GetProperty("reports"), report.Name)
                        .ToDictionary(entry => entry.Name, entry => entry.Value.ToString())),
                FinishedStep = finished?.GetProperty("step").GetInt32(),
                Outputs = finished is { } at && at.TryGetProperty("files", out var files)
                    ? [.. files.EnumerateArray().Select(file => new ManifestFile(file.GetProperty("path").GetString()!,
                        file.GetProperty("size").GetInt64(), file.GetProperty("sha256").GetString()!))] : [],
            };
        }
        catch (Exception error) when (error
            is FileNotFoundException or DirectoryNotFoundException or JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            return null;
        }
    }

    private static string? Text(JsonElement root, string name) => root.TryGetProperty(name, out var value) ? value.GetString() : null;

    private static JsonElement.ObjectEnumerator Entries(JsonElement root, string name) =>
        root.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Object ? value.EnumerateObject() : default;
}
