using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Models;

/// <summary>Finds the folder that a model's name means: the one place where models, tokenizers and templates are looked for by
/// name.</summary>
internal static class ModelFolder
{
    private const string AdapterFile = "adapter_config.json";

    /// <summary>The file or folder that a name means: itself, what has that name below <c>HANDBOOK_MODELS</c>, or what the hub's cache
    /// holds under it.</summary>
    /// <returns>Null where there is none.</returns>
    public static string? Locate(string name) => Places(name).FirstOrDefault(Path.Exists) is { } place ? place
        : HubCache.Find("models", name);

    /// <summary>What <see cref="Locate"/> says, or the name itself, for a message of whoever reads it.</summary>
    public static string LocateOrSelf(string name) => Locate(name) ?? name;

    /// <summary>Where a name is looked for, first to last.</summary>
    public static IReadOnlyList<string> LookedFor(string name) =>
        [.. Places(name).Select(Path.GetFullPath), .. HubCache.FolderOf("models", name) is { } cached ? [cached] : Array.Empty<string>()];

    /// <returns>The folder; null where there is no such folder.</returns>
    public static string? TryFind(string name) => Locate(name) is { } found && Directory.Exists(found) ? found : null;

    /// <inheritdoc cref="Locate"/>
    /// <param name="name">A folder, or a name.</param>
    /// <param name="key">The key or option that names it, for the message; null where nothing but the name is known.</param>
    /// <exception cref="InputException">There is no such folder, or it holds an adapter and no model.</exception>
    public static string Find(string name, string? key = null)
    {
        var folder = TryFind(name)
            ?? throw new InputException($"{(key is null ? "there is no model folder" : $"{key}: there is no folder")} {name}; looked "
                + $"for\n    {string.Join("\n    ", LookedFor(name))}",
            why: key is null ? "models are not downloaded" : "nothing is downloaded while training",
            fix: "name a folder with config.json, weights and tokenizer: a run's output_dir, what `handbook init` made, or one that was "
            + "fetched before; HANDBOOK_MODELS names the folder that holds several");
        RequireModel(folder, name, key);
        return folder;
    }

    /// <summary>Whether a folder holds weights of a whole model or an adapter.</summary>
    public static bool HasWeights(string folder) => HasWholeWeights(folder)
        || File.Exists(Path.Combine(folder, "adapter_model.safetensors"));

    /// <summary>Whether a folder holds a model or a part of one: its weights, its config, its tokenizer.</summary>
    public static bool Holds(string folder) => HasWeights(folder) || File.Exists(Path.Combine(folder, "config.json"))
        || File.Exists(Path.Combine(folder, "tokenizer.json"));

    /// <summary>The files that decide what a model computes, in the order of their names: config.json and every file of weights.</summary>
    public static IEnumerable<string> Files(string folder) => Directory.EnumerateFiles(folder)
        .Where(file => Path.GetExtension(file) is ".safetensors" or ".bin" or ".pth" or ".pt" || Path.GetFileName(file) == "config.json")
        .Order(StringComparer.Ordinal);

    private static bool HasWholeWeights(string folder) => Directory.Exists(folder)
        && Directory.EnumerateFiles(folder).Select(Path.GetFileName).Any(name =>
        name is "model.safetensors" or "model.safetensors.index.json" or "pytorch_model.bin" or "pytorch_model.bin.index.json");

    private static IEnumerable<string> Places(string name)
    {
        yield return UserFolder.Expand(name);
        if (Environment.GetEnvironmentVariable("HANDBOOK_MODELS") is { Length: > 0 } root && !Path.IsPathRooted(name))
            yield return Path.Combine(root, name);
    }

    private static void RequireModel(string folder, string name, string? key)
    {
        var file = Path.Combine(folder, AdapterFile);
        if (!File.Exists(file) || HasWholeWeights(folder))
            return;
        var trained = Base(file);
        throw new InputException($"{(key is null ? "" : $"{key}: ")}{name} is an adapter{(trained is null ? "" : $" of {trained}")} "
            + $"({AdapterFile}), not a whole model",
            why: "this version reads whole models: adapters come later",
            fix: $"name the model that the adapter belongs to{(trained is null ? "" : $" ({trained})")}, or a folder into which both "
            + "were merged (merge_and_unload of Python's peft, then save_pretrained)");
    }

    /// <summary>The model that an adapter was trained on; null where its file does not say.</summary>
    private static string? Base(string file)
    {
        try
        {
            using var config = JsonDocument.Parse(File.ReadAllBytes(file));
            return config.RootElement.ValueKind == JsonValueKind.Object
                && config.RootElement.TryGetProperty("base_model_name_or_path", out var name)
                && name.ValueKind == JsonValueKind.String ? name.GetString() : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
