using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Text.Tokenizers.Formats;

namespace Handbook.Models;

/// <summary>Finds the folder that a model's name means: the one place where models, tokenizers and templates are looked for by
/// name.</summary>
internal static class ModelFolder
{
    private const string AdapterFile = Adapters.AdapterConfigFile.Name;

    /// <summary>The file or folder that a name means: itself, what has that name below <c>HANDBOOK_MODELS</c>, or what the hub's cache
    /// holds under it.</summary>
    /// <returns>Null where there is none.</returns>
    public static string? Locate(string name) => Places(name).FirstOrDefault(Path.Exists) is { } place ? place
        : HubCache.Find("models", name);

    /// <summary>Whether a name means something on this machine outside the hub's cache.</summary>
    public static bool IsLocal(string name) => Places(name).Any(Path.Exists);

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
        var folder = FindAny(name, key);
        if (!IsAdapter(folder))
            return folder;
        throw new InputException($"{(key is null ? "" : $"{key}: ")}{name} is an adapter ({AdapterFile}), and a whole model is needed here",
            why: "what is asked for reads every weight from one folder",
            fix: $"merge it into its model first: handbook merge {name} --out FOLDER");
    }

    /// <summary>As <see cref="Find"/>, but an adapter's folder is as good.</summary>
    /// <exception cref="InputException">There is no such folder.</exception>
    public static string FindAny(string name, string? key = null)
    {
        var found = TryFind(name) ?? throw Absent(name, key);
        return Holds(found) || Checkpoints(found) is not [.., var last] all ? found
            : throw new InputException($"{(key is null ? "" : $"{key}: ")}{name} holds no model yet: it is a run that has not come to its end",
                why: $"it has saved {string.Join(", ", all.Select(Path.GetFileName))}",
                fix: $"name a checkpoint, e.g. {Path.Combine(name, Path.GetFileName(last))}, or start the run again: it goes on from there");
    }

    /// <summary>Checkpoints of a run that hold weights, first to last.</summary>
    private static string[] Checkpoints(string folder) => [.. Directory.EnumerateDirectories(folder, "checkpoint-*").Where(HasWeights)
        .OrderBy(path => int.TryParse(Path.GetFileName(path)["checkpoint-".Length..], out var step) ? step : -1)];

    private static InputException Absent(string name, string? key) => File.Exists(name)
        && Path.GetExtension(name) == ".gguf" ? IsGguf(name, key is null ? "" : $"{key}: ") : File.Exists(name) && !Directory.Exists(name)
        ? new InputException($"{(key is null ? "" : $"{key}: ")}{name} is a file, not the folder of a model",
            fix: $"name the folder that holds it: {(Path.GetDirectoryName(name) is { Length: > 0 } folder ? folder : ".")}")
        : InputException.Absent($"{(key is null ? "there is no model folder" : $"{key}: there is no folder")} {name}", LookedFor(name),
        why: HubCache.IsOffline ? "HF_HUB_OFFLINE keeps to what is on this machine" : null,
        fix: HubCache.NameIn(name) is { } meant ? $"write the name alone: {meant}"
        : "name a folder with config.json, weights and tokenizer: a run's output_dir, what `handbook init` made, or a model that "
        + "`handbook download` brought; HANDBOOK_MODELS names the folder that holds several");

    /// <summary>What to say of a GGUF file where a folder is read.</summary>
    /// <param name="place">Who names it, with a colon and a space; empty where nobody does.</param>
    internal static InputException IsGguf(string file, string place = "") =>
        new($"{place}{file} is a GGUF file, which holds a model for llama.cpp",
        why: "weights are read from safetensors here, which all that trains and serves shares",
        fix: $"make a folder of it: handbook convert {file} --to safetensors --out {Path.GetFileNameWithoutExtension(file)}");

    /// <summary>Whether a folder holds an adapter, and not the whole weights.</summary>
    public static bool IsAdapter(string folder) => File.Exists(Path.Combine(folder, AdapterFile)) && !HasWholeWeights(folder);

    /// <summary>Whether a folder holds weights of a whole model or an adapter.</summary>
    public static bool HasWeights(string folder) => HasWholeWeights(folder)
        || File.Exists(Path.Combine(folder, "adapter_model.safetensors"));

    /// <summary>Whether a folder holds a model or a part of one: its weights, its config, its tokenizer.</summary>
    public static bool Holds(string folder) => HasWeights(folder) || File.Exists(Path.Combine(folder, "config.json"))
        || TokenizerFiles.Find(folder) is not null;

    /// <summary>The files that decide what a model or an adapter computes, in the order of their names: its config and every file of
    /// weights.</summary>
    public static IEnumerable<string> Files(string folder) => Directory.EnumerateFiles(folder)
        .Where(file => Path.GetExtension(file) is ".safetensors" or ".bin" or ".pth" or ".pt"
            || Path.GetFileName(file) is "config.json" or AdapterFile)
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
}
