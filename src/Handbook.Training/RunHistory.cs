using System.Text.Json;

namespace Handbook.Training;

/// <summary>What <c>run.json</c> tells about a run that was started before.</summary>
/// <param name="Method">Its method.</param>
/// <param name="ModelHash">Hash of the weights it began from; null where it is not known.</param>
/// <param name="DataHashes">Data set → hash of what its files held.</param>
/// <param name="Starts">Its starts, each as it stands in the file.</param>
/// <param name="FinishedStep">The step at which it ended and its results were written; null while it is not at its end.</param>
internal sealed record RunHistory(string? Method, string? ModelHash, IReadOnlyDictionary<string, string> DataHashes,
    IReadOnlyList<JsonElement> Starts, int? FinishedStep)
{
    /// <summary>Reads a run folder; null where no run of ours was started there, or another version wrote its file.</summary>
    public static RunHistory? Read(string folder)
    {
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, RunInfo.FileName)));
            var root = document.RootElement;
            return new(
                root.TryGetProperty("method", out var method) ? method.GetString() : null,
                root.TryGetProperty("model_hash", out var hash) ? hash.GetString() : null,
                root.TryGetProperty("data_hashes", out var data) && data.ValueKind == JsonValueKind.Object ? data.EnumerateObject()
                    .ToDictionary(entry => entry.Name, entry => entry.Value.ToString()) : new Dictionary<string, string>(),
                root.TryGetProperty("starts", out var starts) ? [.. starts.EnumerateArray().Select(start => start.Clone())] : [],
                root.TryGetProperty("finished", out var finished) && finished.ValueKind == JsonValueKind.Object
                    ? finished.GetProperty("step").GetInt32() : null);
        }
        catch (Exception error) when (error
            is FileNotFoundException or DirectoryNotFoundException or JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            return null;
        }
    }
}
