using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Data.Mixing;

namespace Handbook.Data.Sources;

/// <summary>The formats of data files.</summary>
internal enum DataFormat
{
    JsonLines,
    Json,
    Csv,
    Tsv,
    Text,
    Parquet,
    Arrow,
}

/// <summary>One data file: where it is, what the user calls it, and what its name says about it.</summary>
/// <param name="Path">Full path.</param>
/// <param name="Name">The path as the user knows it.</param>
internal sealed record DataFile(string Path, string Name, DataFormat Format)
{
    /// <summary>What separates the columns of a CSV file, where its data set names another mark than the comma.</summary>
    public char? Separator { get; init; }

    private static readonly Dictionary<string, DataFormat> _endings = new(StringComparer.OrdinalIgnoreCase)
    {
        [".jsonl"] = DataFormat.JsonLines,
        [".ndjson"] = DataFormat.JsonLines,
        [".json"] = DataFormat.Json,
        [".csv"] = DataFormat.Csv,
        [".tsv"] = DataFormat.Tsv,
        [".txt"] = DataFormat.Text,
        [".text"] = DataFormat.Text,
        [".parquet"] = DataFormat.Parquet,
        [".arrow"] = DataFormat.Arrow,
    };

    /// <summary>Files that stand beside data and hold none.</summary>
    private static readonly HashSet<string> _notData = new(StringComparer.OrdinalIgnoreCase)
    {
        "state.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "config.json", "package.json", "LICENSE.txt",
            "README.txt", "requirements.txt",
    };

    /// <summary>The format that a file's name tells; null where it tells none.</summary>
    public static DataFormat? FormatOf(string path) =>
        _endings.TryGetValue(System.IO.Path.GetExtension(TextFile.WithoutCompression(path)), out var format) ? format : null;

    /// <summary>The file that a user named.</summary>
    public static DataFile Named(string path, string name)
    {
        var format = FormatOf(path) ?? throw new InputException(
            $"{name}: the ending \"{System.IO.Path.GetExtension(TextFile.WithoutCompression(path))}\" tells no data format",
            fix: $"use one of {string.Join(" ", _endings.Keys)}, each also with .gz or .zst behind it (Parquet and Arrow without)");
        return new(System.IO.Path.GetFullPath(path), name, format);
    }

    /// <summary>Whether a file in a folder is a data file.</summary>
    public static bool IsData(string path)
    {
        var name = System.IO.Path.GetFileName(path);
        return !_notData.Contains(name) && name[0] is not ('.' or '_') && FormatOf(path) is not null;
    }

    /// <summary>The rows of the file.</summary>
    /// <param name="spec">With encoding and text unit.</param>
    /// <param name="split">The split that is read, without its slice: some JSON files hold several.</param>
    /// <param name="opened">Is told the file once it is open.</param>
    public IEnumerable<SourceRow> Read(DatasetSpec spec, string split, Action<FileStream>? opened = null)
    {
        var input = new FileInput(Path, Name, spec.Encoding, opened);
        if (new FileInfo(Path).Length == 0)
            throw new InputException($"{Name}: is empty (0 bytes)", fix: "check how it was made, or leave it out");
        if (FilePointer.Problem(Path, Name) is { } pointer)
            throw pointer;
        return Format switch
        {
            DataFormat.JsonLines or DataFormat.Json => JsonFile.Read(input, split, isNamedLines: Format == DataFormat.JsonLines),
            DataFormat.Csv => CsvFile.Read(input, (byte)(Separator ?? ',')),
            DataFormat.Tsv => CsvFile.Read(input, (byte)(Separator ?? '\t')),
            DataFormat.Text => PlainTextFile.Read(input, spec.TextUnit),
            DataFormat.Parquet => ParquetFile.Read(Path, Name),
            _ => ArrowFile.Read(input),
        };
    }
}
