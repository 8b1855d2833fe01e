using System.Text.Json;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>The splits of a folder, and what of it is left out.</summary>
/// <param name="Files">The files of each split.</param>
/// <param name="Remarks">Whole lines for the log.</param>
internal sealed record FolderSplits(Dictionary<string, List<DataFile>> Files, IReadOnlyList<string> Remarks);

/// <summary>A folder of data files, or a data set that the Python library saved there.</summary>
internal static class DatasetFolder
{
    /// <summary>The files of each split.</summary>
    public static FolderSplits Splits(string folder, string name, string? config)
    {
        var configs = ReadmeConfig.Of(folder, name);
        var described = config is null && IsSaved(folder) ? null : ReadmeConfig.Choose(configs, config, name);
        if (described is { Files: not null })
            return Described(described, folder, name);
        if (described is { Folder.Length: > 0 })
            (folder, name, config) = (Path.Combine(folder, described.Folder), $"{name}/{described.Folder}", null);
        else if (described is not null)
            config = null;
        if (config is not null)
            foreach (var below in new[] { config, Path.Combine("data", config) })
                if (Directory.Exists(Path.Combine(folder, below)))
                    (folder, name, config) = (Path.Combine(folder, below), $"{name}/{below}", null);
        if (config is not null and not "default")
            throw new InputException($"{name}: has no config \"{config}\": neither {config}/ nor data/{config}/ is a folder in {folder}"
                + (configs.Count > 0 ? $", and its README.md names {string.Join(", ", configs.Select(known => known.Name))}" : ""),
                fix: configs.Count > 0 ? $"name one of them, e.g. {configs[0].Name}"
                    : "leave the config out, or put its files into a folder of its name");
        if (!Directory.Exists(folder))
            throw new InputException($"{name}: there is no such folder, but README.md names it as data_dir",
                fix: "copy the missing files, or correct the front matter of README.md");
        return Saved(folder, name) is { } saved ? new(saved, []) : ByName(folder, name);
    }

    private static bool IsSaved(string folder) => File.Exists(Path.Combine(folder, "state.json"))
        || File.Exists(Path.Combine(folder, "dataset_dict.json"));

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
                    throw new InputException($"{name}/state.json: names the data file {file}, which is not in {folder}",
                        fix: "copy the saved data set again, with all its files");
                files.Add(new(full, $"{name}/{file}", DataFormat.Arrow));
            }
            return state.RootElement.TryGetProperty("_split", out var split) ? split.GetString() : null;
        }
        catch (Exception failure) when (failure is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new InputException($"{name}/state.json: is not what save_to_disk writes ({failure.Message})",
                fix: "save the data set again", inner: failure);
        }
    }

    private static FolderSplits Described(ReadmeConfig config, string folder, string name) => new(
        config.Match(DataFiles(folder), name).ToDictionary(split => split.Split, split => split.Files
            .Select(file => DataFile.Named(Path.Combine(folder, file), $"{name}/{file}") with { Separator = config.Separator }).ToList()),
        config.Unread.Count == 0 ? []
            : [$"note: {name}/README.md: the config {config.Name} has the keys {string.Join(", ", config.Unread)}, which are not read"]);

    private static FolderSplits ByName(string folder, string name)
    {
        var found = DataFiles(folder)
            .Select(relative => (Relative: relative, Split: SplitNames.Of(relative, out var depth), Depth: depth)).ToList();
        var remarks = new List<string>();
        // Files that name a split leave out those that do not; without any such name all files are one split.
        var named = found.Where(file => file.Split is not null).ToList();
        if (named.Count == 0)
            named = [.. found.Select(file => (file.Relative, (string?)"train", 0))];
        else if (named.Count < found.Count)
            remarks.Add($"note: {name}: {Files(found.Where(file => file.Split is null).Select(file => file.Relative))} named for no "
                + "split, and left out");
        var splits = new Dictionary<string, List<DataFile>>();
        foreach (var split in named.GroupBy(file => file.Split!))
        {
            // Of a name at several depths, the files nearest the top are meant: raw/ or original/ often hold others of the same name.
            var top = split.Min(file => file.Depth);
            splits.Add(split.Key,
                [.. split.Where(file => file.Depth == top)
                .Select(file => DataFile.Named(Path.Combine(folder, file.Relative), $"{name}/{file.Relative}"))]);
            if (split.Any(file => file.Depth > top))
                remarks.Add($"note: {name} [{split.Key}]: {Files(split.Where(file => file.Depth > top).Select(file => file.Relative))} "
                    + "further down than others of that name, and left out");
        }
        return new(splits, remarks);
    }

    private static string Files(IEnumerable<string> files)
    {
        var all = files.ToArray();
        return $"{string.Join(", ", all.Take(3))}{(all.Length > 3 ? $" and {all.Length - 3:N0} more files" : "")} {(all.Length == 1 ? "is" : "are")}";
    }

    /// <summary>The data files below a folder, relative to it, in their order.</summary>
    private static List<string> DataFiles(string folder) =>
        [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal).Where(DataFile.IsData)
            .Select(path => Path.GetRelativePath(folder, path).Replace('\\', '/'))
                .Where(relative => !relative.Split('/').Any(part => part[0] is '.' or '_'))];
}
