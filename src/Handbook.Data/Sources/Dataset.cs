using System.Collections.Concurrent;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Data.Mixing;

namespace Handbook.Data.Sources;

/// <summary>Finds the files of a data set's split and reads their rows.</summary>
public static class Dataset
{
    /// <summary>The rows of one split, or of several that are joined with <c>+</c>.</summary>
    /// <param name="spec">Which data set, config and split.</param>
    /// <param name="recipeFolder">The folder beside which names are looked up; null looks in the working folder alone.</param>
    public static IRowSource Open(DatasetSpec spec, string? recipeFolder = null)
    {
        var slices = SplitSlice.ParseAll(spec.Split);
        var path = DatasetPath.Find(spec, recipeFolder);
        if (File.Exists(path))
        {
            RequireSplitOfFile(spec, path, slices);
            return Rows(spec, [.. slices.Select(slice => new Part([DataFile.Named(path, spec.Id)], slice))],
                spec.Config is null ? [] : [$"note: {spec.Id}: the config {spec.Config} is not read: this is one file"]);
        }
        var folder = Splits(spec, path);
        var remarks = folder.Remarks.ToList();
        foreach (var slice in slices)
            foreach (var kin in folder.Files.Keys.Where(split => folder.Files.ContainsKey(slice.Split)
                && SplitNames.IsKindOf(split, slice.Split) && slices.All(other => other.Split != split)).Order(StringComparer.Ordinal))
                remarks.Add($"note: {spec.Id} [{slice.Split}]: the split {kin} is another one and is left "
                    + $"out; {slice.Split}+{kin} takes both");
        return Rows(spec, [.. slices.Select(slice => new Part(FilesOf(spec, slice, folder), slice))], remarks);
    }

    /// <summary>In the place of a split's name: every split that there is.</summary>
    internal const string EverySplit = "";

    /// <summary>Which files of a data set a split needs, where its folder may not hold them yet.</summary>
    /// <param name="folder">The folder, with the files that describe the data set.</param>
    /// <param name="files">All files of the data set, as paths below the folder.</param>
    /// <returns>Paths below the folder; null where the data set has no data files at all.</returns>
    /// <exception cref="InputException">It has no such config or split.</exception>
    internal static IReadOnlyList<string>? FilesOf(DatasetSpec spec, string folder, IReadOnlyList<string> files)
    {
        if (!files.Any(DataFile.IsData))
            return null;
        var splits = DatasetFolder.Splits(folder, files, spec.Id, spec.Config);
        return [.. (spec.Split == EverySplit ? splits.Files.Values.SelectMany(every => every)
                : SplitSlice.ParseAll(spec.Split).SelectMany(slice => FilesOf(spec, slice, splits)))
                .Select(file => Path.GetRelativePath(folder, file.Path).Replace('\\', '/')).Distinct()];
    }

    private static FileRows Rows(DatasetSpec spec, IReadOnlyList<Part> parts, IReadOnlyList<string> remarks)
    {
        var formats = parts.SelectMany(part => part.Files).Select(file => file.Format).Distinct().ToArray();
        return new(spec, parts, [.. remarks, .. Unread(spec, formats)]);
    }

    /// <summary>What a recipe says about files that files of these formats have no use for.</summary>
    private static IEnumerable<string> Unread(DatasetSpec spec, DataFormat[] formats)
    {
        if (spec.Encoding is { } encoding && formats.All(format => format is DataFormat.Parquet or DataFormat.Arrow))
            yield return $"note: {spec.Id}: dataset_encoding {encoding} is not read: texts in files of the format {Names()} are UTF-8";
        if (spec.TextUnit != TextUnit.Line && !formats.Contains(DataFormat.Text))
            yield return $"note: {spec.Id}: sample_by {RecipeNames.Of(spec.TextUnit)} is not read: files of the format {Names()} have "
                + "rows of their own";

        string Names() => string.Join(", ", formats);
    }

    /// <summary>Names of the splits that a data set has; one file is the split <c>train</c>.</summary>
    public static IReadOnlyList<string> SplitsOf(DatasetSpec spec, string? recipeFolder = null)
    {
        var path = DatasetPath.Find(spec, recipeFolder);
        return File.Exists(path) ? ["train"] : [.. Names(Splits(spec, path))];
    }

    /// <summary>A file is one split: <c>train</c>, or what its name says. Another name would quietly give the same rows, and two joined
    /// names each row twice.</summary>
    private static void RequireSplitOfFile(DatasetSpec spec, string path, IReadOnlyList<SplitSlice> slices)
    {
        string[] names = SplitNames.Of(Path.GetFileName(path), out _) is { } said && !SplitNames.AreOne(said, "train") ? ["train", said] : ["train"];
        if (slices.FirstOrDefault(slice => !names.Any(name => SplitNames.AreOne(name, slice.Split))) is { } other)
            throw new InputException($"{spec.Id}: has no split \"{other.Split}\": it is one file, which is the split {string.Join(" or ", names)}",
                fix: $"{(Spelling.Nearest(other.Split, names) is { } near ? $"did you mean {near}? " : "")}name {names[^1]} with {WhereNamed}; "
                    + "a folder with train.jsonl and test.jsonl has both splits")
            { Key = "split" };
        if (slices.Any(slice => !SplitNames.AreOne(slice.Split, slices[0].Split)))
            throw new InputException($"{spec.Id}: \"{spec.Split}\" joins two splits, but it is one file, whose rows would stand there twice",
                fix: $"name {names[^1]} with {WhereNamed}")
            { Key = "split" };
    }

    private const string WhereNamed = "dataset_train_split or dataset_test_split (dataset_splits with dataset_mixer, split in a "
        + "dataset_mixture, --split on the command line)";

    private static IEnumerable<string> Names(FolderSplits splits) =>
        splits.Files.Keys.Concat(splits.Absent.Keys).Order(StringComparer.Ordinal);

    private static List<DataFile> FilesOf(DatasetSpec spec, SplitSlice slice, FolderSplits splits)
    {
        if (splits.Absent.FirstOrDefault(split => SplitNames.AreOne(split.Key, slice.Split)).Value is { } problem)
            throw problem;
        if (SplitNames.Choose(splits.Files, slice.Split) is not { } files)
        {
            var names = Names(splits).ToArray();
            var kin = names.Where(name => SplitNames.IsKindOf(name, slice.Split)).ToArray();
            throw new InputException($"{spec.Id}: has no split \"{slice.Split}\"; it has {string.Join(", ", names)}",
                fix: $"name one of them with {WhereNamed}, e.g. {names[0]}{(kin.Length > 1 ? $", or several: {string.Join('+', kin)}" : "")}")
            { Key = "split" };
        }
        var formats = files.Select(file => file.Format).Distinct().ToArray();
        if (formats.Length > 1 && !formats.All(format => format is DataFormat.Json or DataFormat.JsonLines))
            throw new InputException($"{spec.Id}: holds files of several formats for the split "
                + $"\"{slice.Split}\": {string.Join(", ", files.Take(6).Select(file => file.Name))}{(files.Count > 6 ? ", …" : "")}",
                fix: $"name one file, e.g. {files[0].Name}");
        return files;
    }

    private static FolderSplits Splits(DatasetSpec spec, string folder)
    {
        var splits = DatasetFolder.Splits(folder, spec.Id, spec.Config);
        return splits.Files.Count + splits.Absent.Count > 0 ? splits : throw new InputException($"{spec.Id}: no data files in the "
            + $"folder {folder}{(spec.Config is null ? "" : $" for the config \"{spec.Config}\"")}",
            fix: "put .jsonl, .json, .csv, .tsv, .txt, .parquet or .arrow files there");
    }

    /// <summary>The files of one split, and which of their rows are meant.</summary>
    private sealed record Part(IReadOnlyList<DataFile> Files, SplitSlice Slice);

    private sealed class FileRows(DatasetSpec spec, IReadOnlyList<Part> parts, IReadOnlyList<string> remarks) : IRowSource
    {
        private readonly double _bytes = Math.Max(1, parts.Sum(part => part.Files.Sum(file => (double)new FileInfo(file.Path).Length)));
        private readonly Lazy<Dictionary<string, string>> _paths = new(() =>
            parts.SelectMany(part => part.Files).DistinctBy(file => file.Name).ToDictionary(file => file.Name, file => file.Path));
        private readonly ConcurrentDictionary<Part, long> _counts = new(ReferenceEqualityComparer.Instance);
        private double _before;
        private FileStream? _open;

        public string Name => spec.Id;

        public IReadOnlyList<string> Files { get; } = [.. parts.SelectMany(part => part.Files).Select(file => file.Path)];

        public string Identity =>
            $"{spec.Split} {spec.Encoding} {spec.TextUnit} {string.Join(' ', parts.SelectMany(part => part.Files).Select(file => $"{file.Format}{file.Separator}"))}";

        public IReadOnlyList<string> Remarks => remarks;

        public string PathOf(SourceRow row) => _paths.Value[row.File];

        public double Share
        {
            get
            {
                try
                {
                    return Math.Min(1, (_before + (_open?.Position ?? 0)) / _bytes);
                }
                catch (ObjectDisposedException)
                {
                    return Math.Min(1, _before / _bytes);
                }
            }
        }

        public IEnumerable<SourceRow> Read()
        {
            _before = 0;
            foreach (var part in parts)
                foreach (var row in Sliced(part))
                    yield return row;
        }

        private IEnumerable<SourceRow> Sliced(Part part)
        {
            var slice = part.Slice;
            if (slice.IsWhole)
                return ReadFiles(part);
            var needsCount = slice.IsPercent || slice.Start < 0 || slice.End < 0;
            var (start, end) = slice.Resolve(needsCount ? Count(part) : int.MaxValue);
            return NotEmpty(ReadFiles(part).Skip((int)start).Take((int)(end - start)), part);
        }

        // Not one row, and no word of it, would look like an empty file.
        private IEnumerable<SourceRow> NotEmpty(IEnumerable<SourceRow> rows, Part part)
        {
            var any = false;
            foreach (var row in rows)
            {
                any = true;
                yield return row;
            }
            if (!any)
                throw new InputException($"{spec.Id} [{spec.Split}]: the slice holds no row: the split has {Count(part):N0}",
                    fix: $"name rows that it has, e.g. {part.Slice.Split}[:10], or leave the slice out")
                { Key = "split" };
        }

        // Every reading of a slice asks for it.
        private long Count(Part part)
        {
            if (_counts.TryGetValue(part, out var known))
                return known;
            var before = _before;
            var count = ReadFiles(part).LongCount();
            _before = before;
            return _counts[part] = count;
        }

        private IEnumerable<SourceRow> ReadFiles(Part part)
        {
            var before = _before;
            foreach (var file in part.Files)
            {
                foreach (var row in file.Read(spec, part.Slice.Split, stream => _open = stream))
                    yield return row;
                _open = null;
                before += new FileInfo(file.Path).Length;
                _before = before;
            }
        }
    }
}
