using Handbook.Base;
using Handbook.Data.Mixing;

namespace Handbook.Data.Sources;

/// <summary>Finds the files of a data set's split and reads their rows.</summary>
public static class Dataset
{
    /// <summary>The rows of one split.</summary>
    /// <param name="spec">Which data set, config and split.</param>
    /// <param name="recipeFolder">The folder beside which names are looked up; null looks in the working folder alone.</param>
    public static IRowSource Open(DatasetSpec spec, string? recipeFolder = null)
    {
        var slice = SplitSlice.Parse(spec.Split);
        var path = DatasetPath.Find(spec, recipeFolder);
        List<DataFile> files;
        if (File.Exists(path))
            files = [DataFile.Named(path, spec.Id)];
        else
        {
            var splits = Splits(spec, path);
            files = SplitNames.Choose(splits, slice.Split) ?? throw new InputException(
                $"{spec.Id}: has no split \"{slice.Split}\"; it has {string.Join(", ", splits.Keys.Order(StringComparer.Ordinal))}",
                fix: $"name one of them with dataset_train_split or dataset_test_split (dataset_splits with dataset_mixer, split in a dataset_mixture, --split on the command line), e.g. {splits.Keys.Order(StringComparer.Ordinal).First()}");
        }
        var formats = files.Select(file => file.Format).Distinct().ToArray();
        if (formats.Length > 1 && !formats.All(format => format is DataFormat.Json or DataFormat.JsonLines))
            throw new InputException($"{spec.Id}: holds files of several formats for the split \"{slice.Split}\": {string.Join(", ", files.Take(6).Select(file => file.Name))}{(files.Count > 6 ? ", …" : "")}",
                fix: $"name one file, e.g. {files[0].Name}");
        return new FileRows(spec, files, slice);
    }

    /// <summary>Names of the splits that a data set has; one file is the split <c>train</c>.</summary>
    public static IReadOnlyList<string> SplitsOf(DatasetSpec spec, string? recipeFolder = null)
    {
        var path = DatasetPath.Find(spec, recipeFolder);
        return File.Exists(path) ? ["train"] : [.. Splits(spec, path).Keys.Order(StringComparer.Ordinal)];
    }

    private static Dictionary<string, List<DataFile>> Splits(DatasetSpec spec, string folder)
    {
        var splits = DatasetFolder.Splits(folder, spec.Id, spec.Config);
        return splits.Count > 0 ? splits : throw new InputException($"{spec.Id}: no data files in the folder {folder}{(spec.Config is null ? "" : $" for the config \"{spec.Config}\"")}",
            fix: "put .jsonl, .json, .csv, .tsv, .txt, .parquet or .arrow files there");
    }

    private sealed class FileRows(DatasetSpec spec, IReadOnlyList<DataFile> files, SplitSlice slice) : IRowSource
    {
        private readonly double _bytes = Math.Max(1, files.Sum(file => (double)new FileInfo(file.Path).Length));
        private double _before;
        private FileStream? _open;

        public string Name => spec.Id;

        public IReadOnlyList<string> Files { get; } = [.. files.Select(file => file.Path)];

        public string Identity => $"{spec.Split} {spec.Encoding} {spec.TextUnit} {string.Join(' ', files.Select(file => file.Format))}";

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
            if (slice.IsWhole)
                return ReadFiles();
            var needsCount = slice.StartIsPercent || slice.EndIsPercent || slice.Start < 0 || slice.End < 0;
            var (start, end) = slice.Resolve(needsCount ? ReadFiles().LongCount() : int.MaxValue);
            return ReadFiles().Skip((int)start).Take((int)(end - start));
        }

        private IEnumerable<SourceRow> ReadFiles()
        {
            _before = 0;
            foreach (var file in files)
            {
                foreach (var row in file.Read(spec, stream => _open = stream))
                    yield return row;
                _open = null;
                _before += new FileInfo(file.Path).Length;
            }
        }
    }
}
