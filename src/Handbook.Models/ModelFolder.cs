using Handbook.Base;
using Handbook.Models.Files;

namespace Handbook.Models;

/// <summary>Finds the folder that a model's name means.</summary>
public static class ModelFolder
{
    /// <param name="name">A folder, or its name below <c>HANDBOOK_MODELS</c>.</param>
    /// <returns>Null where there is no such folder.</returns>
    public static string? TryFind(string name) =>
        ModelPath.Find(name) is { } found && Directory.Exists(found) ? found : null;

    /// <inheritdoc cref="TryFind"/>
    /// <exception cref="InputException">There is no such folder.</exception>
    public static string Find(string name) => TryFind(name)
        ?? throw new InputException($"there is no model folder {name}{(Root is { } root ? $", also not below HANDBOOK_MODELS ({root})" : "")}",
            fix: "name a folder with config.json, weights and tokenizer: a run's output_dir, or what `handbook init` made");

    /// <summary>Whether a folder holds weights of a whole model or an adapter.</summary>
    public static bool HasWeights(string folder) => Directory.Exists(folder) && Directory.EnumerateFiles(folder).Select(Path.GetFileName).Any(name =>
        name is "model.safetensors" or "model.safetensors.index.json" or "adapter_model.safetensors" or "pytorch_model.bin" or "pytorch_model.bin.index.json");

    /// <summary>Whether a folder holds a model or a part of one: its weights, its config, its tokenizer.</summary>
    public static bool Holds(string folder) => HasWeights(folder) || File.Exists(Path.Combine(folder, "config.json")) || File.Exists(Path.Combine(folder, "tokenizer.json"));

    /// <summary>The files that decide what a model computes, in the order of their names: config.json and every file of weights.</summary>
    public static IEnumerable<string> Files(string folder) => Directory.EnumerateFiles(folder)
        .Where(file => Path.GetExtension(file) is ".safetensors" or ".bin" or ".pth" or ".pt" || Path.GetFileName(file) == "config.json")
        .Order(StringComparer.Ordinal);

    private static string? Root => Environment.GetEnvironmentVariable("HANDBOOK_MODELS") is { Length: > 0 } root ? root : null;
}
