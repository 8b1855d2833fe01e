using System.Text.Json;
using Handbook.Base;

namespace Handbook.Data.Sources;

/// <summary>The splits of a folder, and what of it is left out.</summary>
/// <param name="Files">The files of each split.</param>
/// <param name="Remarks">Whole lines for the log.</param>
/// <param name="Absent">Splits that the data set describes and whose files are not all there, each with why that is a problem once it is
/// asked for.</param>
internal sealed record FolderSplits(Dictionary<string, List<DataFile>> Files, IReadOnlyList<string> Remarks,
    IReadOnlyDictionary<string, InputException> Absent)
{
    public FolderSplits(Dictionary<string, List<DataFile>> files, IReadOnlyList<string> remarks)
        : this(files, remarks, new Dictionary<string, InputException>())
    {
    }
}

/// <summary>A folder of data files, or a data set that the Python library saved there.</summary>
internal static class DatasetFolder
{
    /// <summary>The files of each split of a folder on this machine.</summary>
    public static FolderSplits Splits(string folder, string name, string? config) => Splits(folder, FilesIn(folder), name, config);

    /// <summary>The files of each split.</summary>
    /// <param name="folder">The folder; of its files the descriptions alone (<see cref="IsDescription"/>) need be there.</param>
    /// <param name="files">All files of the data set, as paths below the folder with forward slashes, in their order.</param>
    public static FolderSplits Splits(string folder, IReadOnlyList<string> files, string name, string? config)
    {
        var configs = ReadmeConfig.Of(folder, name);
        var described = config is null && IsSaved(files) ? null : ReadmeConfig.Choose(configs, config, name);
        if (described is { Files: not null })
            return Described(described, folder, files, name);
        if (described is { Folder.Length: > 0 })
            (folder, files, name, config) = (Path.Combine(folder, described.Folder), Below(files, described.Folder),
                $"{name}/{described.Folder}", null);
        else if (described is not null)
            config = null;
        if (config is not null)
            foreach (var below in new[] { config, $"data/{config}" })
                if (config is not null && Below(files, below) is { Count: > 0 } inner)
                    (folder, files, name, config) = (Path.Combine(folder, below), inner, $"{name}/{below}", null);
        if (config is not null and not "default")
            throw new InputException($"{name}: has no config \"{config}\": neither {config}/ nor data/{config}/ is a folder in {folder}"
                + (configs.Count > 0 ? $", and its README.md names {string.Join(", ", configs.Select(known => known.Name))}" : ""),
                fix: configs.Count > 0 ? $"name one of them, e.g. {configs[0].Name}"
                    : "leave the config out, or put its files into a folder of its name")
            { Key = "config" };
        if (files.Count == 0 && !Directory.Exists(folder))
            throw new InputException($"{name}: there is no such folder, but README.md names it as data_dir",
                fix: "copy the missing files, or correct the front matter of README.md");
        return Saved(folder, files, name) is { } saved ? new(saved, []) : ByName(folder, files, name);
    }

    /// <summary>Whether a file says which files a data set has: it is read to find them.</summary>
    public static bool IsDescription(string path) => path == "README.md" || Path.GetFileName(path) is "state.json" or "dataset_dict.json";

    /// <summary>All files below a folder, as paths below it with forward slashes, in their order.</summary>
    public static IReadOnlyList<string> FilesIn(string folder) =>
        [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)
            .Select(path => Path.GetRelativePath(folder, path).Replace('\\', '/'))];

    private static IReadOnlyList<string> Below(IReadOnlyList<string> files, string folder)
    {
        var begin = folder.Replace('\\', '/').Trim('/');
        while (begin.StartsWith("./", StringComparison.Ordinal))
            begin = begin[2..];
        return begin is "" or "." ? files
            : [.. files.Where(file => file.StartsWith(begin + "/", StringComparison.Ordinal)).Select(file => file[(begin.Length + 1)..])];
    }

    private static bool IsSaved(IReadOnlyList<string> files) => files.Contains("state.json") || files.Contains("dataset_dict.json");

    /// <summary>What <c>save_to_disk</c> leaves: one data set, or a folder for each split.</summary>
    private static Dictionary<string, List<DataFile>>? Saved(string folder, IReadOnlyList<string> all, string name)
    {
        if (all.Contains("state.json"))
            return new() { [StateOf(folder, all, name, out var files) ?? "train"] = files };
        var splits = new Dictionary<string, List<DataFile>>();
        foreach (var split in all.Where(file => file.EndsWith("/state.json", StringComparison.Ordinal) && file.Count(c => c == '/') == 1)
            .Select(file => file[..file.IndexOf('/')]))
        {
            StateOf(Path.Combine(folder, split), Below(all, split), $"{name}/{split}", out var files);
            splits[split] = files;
        }
        return splits.Count > 0 ? splits : null;
    }

    private static string? StateOf(string folder, IReadOnlyList<string> all, string name, out List<DataFile> files)
    {
        var path = Path.Combine(folder, "state.json");
        try
        {
            using var state = JsonDocument.Parse(File.ReadAllBytes(path));
            files = [];
            foreach (var entry in state.RootElement.GetProperty("_data_files").EnumerateArray())
            {
                var file = entry.GetProperty("filename").GetString()!;
                if (!all.Contains(file))
                    throw new InputException($"{name}/state.json: names the data file {file}, which is not in {folder}",
                        fix: "copy the saved data set again, with all its files");
                files.Add(new(Path.Combine(folder, file), $"{name}/{file}", DataFormat.Arrow));
            }
            return state.RootElement.TryGetProperty("_split", out var split) ? split.GetString() : null;
        }
        catch (Exception failure) when (failure is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new InputException($"{name}/state.json: is not what save_to_disk writes ({failure.Message})",
                fix: "save the data set again", inner: failure);
        }
    }

    private static FolderSplits Described(ReadmeConfig config, string folder, IReadOnlyList<string> all, string name)
    {
        var splits = new Dictionary<string, List<DataFile>>();
        var absent = new Dictionary<string, InputException>();
        foreach (var (split, files, problem) in config.Match(DataFiles(all), name))
            if (problem is null)
                splits[split] = [.. files.Select(file => DataFile.Named(Path.Combine(folder, file), $"{name}/{file}") with { Separator =
                    config.Separator })];
            else
                absent[split] = problem;
        return new(splits, config.Unread.Count == 0 ? []
            : [$"note: {name}/README.md: the config {config.Name} has the keys {string.Join(", ", config.Unread)}, which are not read"],
                absent);
    }

    private static FolderSplits ByName(string folder, IReadOnlyList<string> all, string name)
    {
        var found = DataFiles(all)
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

    private static List<string> DataFiles(IReadOnlyList<string> files) =>
        [.. files.Where(DataFile.IsData).Where(relative => !relative.Split('/').Any(part => part[0] is '.' or '_'))];
}
