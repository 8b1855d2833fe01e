using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Data.Sources;
using Handbook.Testing;

namespace Handbook.Data.Tests;

/// <summary>Every real data file that is there is read whole; the READMEs beside them say how many rows that is.</summary>
public sealed partial class SharedDataTests
{
    public static TheoryData<string> Files()
    {
        var files = new TheoryData<string>();
        foreach (var folder in SharedFiles.Folders("data"))
            foreach (var path in Directory.GetFiles(folder, "*", SearchOption.AllDirectories).Where(DataFile.IsData)
                .Order(StringComparer.Ordinal))
                files.Add(Path.GetRelativePath(Path.Combine(SharedFiles.Root!, "data"), path));
        if (files.Count == 0)
            files.Add("README.md");
        return files;
    }

    [Theory, MemberData(nameof(Files))]
    public void Every_file_is_read_whole(string file)
    {
        var path = SharedFiles.Need("data", file);
        if (DataFile.FormatOf(path) is not { } format)
            return;
        // The one that is not UTF-8 must be refused, and read when its encoding is named.
        string? encoding = null;
        if (file.EndsWith("Ellendigen1.txt", StringComparison.Ordinal))
        {
            var error = Assert.Throws<InputException>(() => Dataset.Open(new() { Id = path }).Read().Count());
            Assert.Contains("is not UTF-8: byte 0x", error.Message);
            Assert.Contains("dataset_encoding: iso-8859-1", error.Message);
            encoding = "iso-8859-1";
        }
        var rows = Dataset.Open(new() { Id = path, Encoding = encoding }).Read().ToList();
        Assert.NotEmpty(rows);
        Assert.All(rows, row => Assert.True(row.Problem is null || row.Problem.Reason == "blank line", row.Place + " " + row.Problem));
        if (encoding is not null)
            Assert.DoesNotContain(rows, row => row.Problem is null && row.Value.GetRawText().Contains('\uFFFD'));
        if (StatedRows(path) is { } stated)
            Assert.Equal(stated, format == DataFormat.Text ? (int)rows[^1].Line : rows.Count);
    }

    [Fact]
    public void Parquet_rows_hold_their_nested_columns()
    {
        var path = SharedFiles.Need("data", "format-parquet");
        var rows = Dataset.Open(new() { Id = path, Split = "test" }).Read().ToList();
        Assert.Equal(1387, rows.Count);
        Assert.Equal(["key", "prompt", "instruction_id_list", "kwargs", "messages"],
            rows[0].Value.EnumerateObject().Select(column => column.Name));
        Assert.All(rows, row => Assert.Equal(JsonValueKind.Number, row.Value.GetProperty("key").ValueKind));
        Assert.All(rows, row => Assert.Contains(row.Value.GetProperty("messages")[0].GetProperty("role").GetString(),
            (string[])["user", "system", "assistant"]));
    }

    [Fact]
    public void A_saved_data_set_is_found_with_its_split_and_read_in_order()
    {
        var path = SharedFiles.Need("data", "format-arrow");
        Assert.Equal(["validation"], Dataset.SplitsOf(new() { Id = path }));
        var rows = Dataset.Open(new() { Id = path, Split = "validation" }).Read().ToList();
        Assert.Equal(1267, rows.Count);
        Assert.Equal(["sentence", "option1", "option2", "answer"], rows[0].Value.EnumerateObject().Select(column => column.Name));
        Assert.Contains("_", rows[0].Value.GetProperty("sentence").GetString());
        Assert.All(rows, row => Assert.Contains(row.Value.GetProperty("answer").GetString(), (string[])["1", "2"]));
    }

    [Fact]
    public void A_folder_of_files_gives_its_splits_by_their_names()
    {
        Assert.Equal(["test", "train", "validation"], Dataset.SplitsOf(new() { Id = SharedFiles.Need("data", "wikisql-text") }));
        var test = Dataset.Open(new() { Id = SharedFiles.Need("data", "hh-rlhf"), Split = "test" });
        Assert.Equal(["test.jsonl.gz"], test.Files.Select(Path.GetFileName));
        Assert.Equal(500, test.Read().Count());
        // 1 % of 5,915
        Assert.Equal(59, Dataset.Open(new() { Id = SharedFiles.Need("data", "hh-rlhf"), Split = "train[:1%]" }).Read().Count());
    }

    /// <summary>Rows or lines that the README beside a file states; null where it states none.</summary>
    private static int? StatedRows(string path)
    {
        for (var folder = new FileInfo(path).Directory; folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "README.md")))
            {
                var name = Path.GetRelativePath(folder.FullName, path);
                foreach (var line in File.ReadLines(Path.Combine(folder.FullName, "README.md")))
                    if (line.StartsWith($"| `{name}` |", StringComparison.Ordinal) && Stated().Match(line) is { Success: true } match)
                        return int.Parse(match.Groups[1].Value);
                return null;
            }
        return null;
    }

    [GeneratedRegex(@"\| (\d+) (?:rows|lines) \|")]
    private static partial Regex Stated();
}
