using System.Text.Json;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>A folder of data files, or a data set that the Python library saved there.</summary>
internal static class DatasetFolder
{
    /// <summary>The files of each split.</summary>
    public static Dictionary<string, List<DataFile>> Splits(string folder, string name, string? config)
    {
        if (config is not null)
            foreach (var below in new[] { config, Path.Combine("data", config) })
                if (Directory.Exists(Path.Combine(folder, below)))
                    (folder, name, config) = (Path.Combine(folder, below), $"{name}/{below}", null);
        if (config is not null && config != "default")
            throw new InputException($"{name}: has no config \"{config}\": neither {config}/ nor data/{config}/ is a folder in {folder}",
                fix: "leave the config out, or put its files into a folder of its name");
        return Saved(folder, name) ?? ByName(folder, name);
    }

    /// <summary>What <c>save_to_disk</c> leaves: one data set, or a folder for each split.</summary>
    private static Dictionary<string, List<DataFile>>? Saved(string folder, string name)
    {
        if (File.Exists(Path.Combine(folder, "state.json")))
            return new() { [StateOf(folder, name, out var files) ?? "train"] = files };
        var splits = new Dictionary<string, List<DataFile>>();
        foreach (var split in Directory.GetDirectories(folder).Order(StringComparer.Ordinal))
            if (File.Exists(Path.Combine(split, "state.json")))
            {
                StateOf(split, $"{name}/{Path.GetFileName(split)}", out var files);
                splits[Path.GetFileName(split)] = files;
            }
        return splits.Count > 0 ? splits : null;
    }

    private static string? StateOf(string folder, string name, out List<DataFile> files)
    {
        var path = Path.Combine(folder, "state.json");
        try
        {
            using var state = JsonDocument.Parse(File.ReadAllBytes(path));
            files = [];
            foreach (var entry in state.RootElement.GetProperty("_data_files").EnumerateArray())
            {
                var file = entry.GetProperty("filename").GetString()!;
                var full = Path.Combine(folder, file);
                if (!File.Exists(full))
                    throw new InputException($"{name}/state.json: names the data file {file}, which is not in {folder}", fix: "copy the saved data set again, with all its files");
                files.Add(new(full, $"{name}/{file}", DataFormat.Arrow));
            }
            return state.RootElement.TryGetProperty("_split", out var split) ? split.GetString() : null;
        }
        catch (Exception failure) when (failure is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new InputException($"{name}/state.json: is not what save_to_disk writes ({failure.Message})", fix: "save the data set again", inner: failure);
        }
    }

    private static Dictionary<string, List<DataFile>> ByName(string folder, string name)
    {
        var found = new List<(string Relative, string? Split, int Depth)>();
        foreach (var path in Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
        {
            var relative = Path.GetRelativePath(folder, path).Replace('\\', '/');
            if (DataFile.IsData(path) && !relative.Split('/').Any(part => part[0] is '.' or '_'))
                found.Add((relative, SplitNames.Of(relative), relative.Count(c => c == '/') - (relative.StartsWith("data/", StringComparison.Ordinal) ? 1 : 0)));
        }

        // Files that name a split leave out those that do not; without any such name all files are one split.
        var splits = found.Exists(file => file.Split is not null)
            ? found.Where(file => file.Split is not null).GroupBy(file => file.Split!)
            : found.GroupBy(_ => "train");
        return splits.ToDictionary(
            split => split.Key,
            // Of a name at several depths, the files nearest the top are meant: raw/ or original/ often hold others of the same name.
            split => split.Where(file => file.Depth == split.Min(other => other.Depth))
                .Select(file => DataFile.Named(Path.Combine(folder, file.Relative), $"{name}/{file.Relative}")).ToList());
    }
}
