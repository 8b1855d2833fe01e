using System.Text.Json;
using Handbook.Base;
using Handbook.Recipes;
using Handbook.Training;

namespace Handbook.Runs;

/// <summary>Hashes the weights that a run began from, beside its first steps, and writes them into <c>run.json</c>: a run does not wait for
/// what may be many gigabytes. A run that ends before leaves them out, and its next start hashes them.</summary>
internal sealed class WeightHashes
{
    private const string Whole = "model.safetensors";

    private readonly Thread? _thread;

    private WeightHashes(Thread? thread) => _thread = thread;

    /// <summary>Begins, unless an earlier start of the run has done it.</summary>
    public static WeightHashes Begin(RunFolder folder, Recipe recipe)
    {
        if (RunHistory.Read(folder.Path) is { ModelHash: not null, Lineage.Weights: not null })
            return new(null);
        var thread = new Thread(() => Run(folder, recipe)) { IsBackground = true, Name = "weight hashes" };
        thread.Start();
        return new(thread);
    }

    /// <summary>Waits until they are written.</summary>
    public void Wait() => _thread?.Join();

    private static void Run(RunFolder folder, Recipe recipe)
    {
        try
        {
            var weights = RunOrigin.Weights(recipe);
            var model = weights.FirstOrDefault(part => part.Key == "model_name_or_path")?.Files
                .FirstOrDefault(file => file.Path.Split('/')[^1] == Whole)?.Sha256;
            folder.Amend(entries =>
            {
                if (entries["model_hash"] is null or JsonElement { ValueKind: JsonValueKind.Null })
                    entries["model_hash"] = model;
                if (entries[RunLineage.Entry] is JsonElement entry)
                    entries[RunLineage.Entry] = (RunLineage.Read(entry) with { Weights = weights }).ToJson();
            });
        }
        catch (Exception failure) when (failure is InputException or IOException or UnauthorizedAccessException)
        {
            // What cannot be read any more stays without a hash; the run has what it loaded.
        }
    }
}
