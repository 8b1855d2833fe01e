using System.IO.Compression;
using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Testing;
using Encoding = System.Text.Encoding;

namespace Handbook.Data.Tests;

/// <summary>What a user's broken files answer: place, value, cure.</summary>
public sealed class BadDataTests : IDisposable
{
    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData("t.jsonl.gz", "is no gzip file, as its name says: it begins with the bytes 7B227465", "mv ")]
    [InlineData("t.jsonl.zst", "is no zstd file, as its name says: it begins with the bytes 7B227465", "mv ")]
    public void A_file_that_is_not_compressed_as_its_name_says(string name, string message, string fix)
    {
        var path = _files.WriteBytes(name, "{\"text\": \"a\"}\n"u8.ToArray());
        var error = Assert.Throws<InputException>(() => Dataset.Open(new DatasetSpec { Id = path }).Read().ToArray());
        Assert.Contains(message, error.What);
        Assert.Contains(fix, error.Fix);
    }

    [Fact]
    public void An_absent_file_names_the_places_that_were_looked_at()
    {
        var error = Assert.Throws<InputException>(() => Dataset.Open(new() { Id = "nowhere/rows.jsonl" }, _files.Folder));
        Assert.StartsWith($"data set \"nowhere/rows.jsonl\" was not found; looked "
            + $"for\n    {Path.GetFullPath("nowhere/rows.jsonl")}\n    {_files.Folder}/nowhere/rows.jsonl", error.What);
        Assert.Equal("check the path; names are relative to the working folder or to the recipe's", error.Fix);
    }

    [Fact]
    public void An_absent_published_name_says_how_to_get_it()
    {
        var error = Assert.Throws<InputException>(() => Dataset.Open(new() { Id = "HuggingFaceH4/ultrachat_200k" }, _files.Folder));
        Assert.Contains($"\n    {_files.Folder}/data/HuggingFaceH4/ultrachat_200k\n    {_files.Folder}/data/ultrachat_200k", error.What);
        Assert.StartsWith("download it where there is a network (handbook download HuggingFaceH4/ultrachat_200k --repo-type dataset",
            error.Fix);
    }

    [Fact]
    public void A_published_name_is_found_below_the_data_folder_beside_the_recipe()
    {
        _files.Lines("data/Owner/set/train.jsonl", "row", 3);
        Assert.Equal(3, Dataset.Open(new() { Id = "Owner/set" }, _files.Folder).Read().Count());
        _files.Lines("data/other/train.jsonl", "row", 2);
        Assert.Equal(2, Dataset.Open(new() { Id = "Owner/other" }, _files.Folder).Read().Count());
    }

    [Fact]
    public void An_unknown_split_lists_those_there_are()
    {
        _files.Lines("set/train.jsonl", "a", 1);
        _files.Lines("set/test.jsonl", "a", 1);
        var error = Assert.Throws<InputException>(() => Dataset.Open(new() { Id = _files.Folder + "/set", Split = "train_sft" }));
        Assert.Equal($"{_files.Folder}/set: has no split \"train_sft\"; it has test, train", error.What);
        Assert.StartsWith("name one of them with dataset_train_split or dataset_test_split (", error.Fix);
        Assert.EndsWith(", --split on the command line), e.g. test", error.Fix);
    }

    [Fact]
    public void A_split_slice_that_is_not_understood_shows_how_to_write_it() =>
        Assert.Equal("split \"train[5]\" is not understood\n  fix: write train[:1%], train[100:200] or train[-50:]",
            Assert.Throws<InputException>(() => SplitSlice.Parse("train[5]")).Message);

    [Fact]
    public void An_unknown_config_names_the_folders_that_would_hold_it()
    {
        _files.Lines("set/train.jsonl", "a", 1);
        var error = Assert.Throws<InputException>(() => Dataset.Open(new() { Id = _files.Folder + "/set", Config = "tiny" }));
        Assert.Contains("has no config \"tiny\": neither tiny/ nor data/tiny/ is a folder", error.What);
    }

    [Fact]
    public void A_folder_without_data_says_what_to_put_there()
    {
        _files.Write("set/README.md", "x");
        Assert.Contains("no data files in the folder",
            Assert.Throws<InputException>(() => Dataset.Open(new() { Id = _files.Folder + "/set" })).What);
    }

    [Theory]
    [InlineData("e.jsonl"), InlineData("e.json"), InlineData("e.csv"), InlineData("e.parquet"), InlineData("e.arrow")]
    public void An_empty_file_is_refused(string name)
    {
        var path = _files.Write(name, "");
        Assert.Equal($"{path}: is empty (0 bytes)\n  fix: check how it was made, or leave it out",
            Assert.Throws<InputException>(() => TextMaker.Read(path)).Message);
    }

    [Fact]
    public void An_unknown_ending_lists_the_formats() =>
        Assert.StartsWith($"{_files.Folder}/rows.xlsx: the ending \".xlsx\" tells no data format\n  fix: use one of .jsonl .ndjson .json "
            + ".csv .tsv .txt",
            Assert.Throws<InputException>(() => TextMaker.Read(_files.Write("rows.xlsx", "x"))).Message);

    [Fact]
    public void Broken_JSON_in_a_list_names_line_and_column()
    {
        var path = _files.Write("l.json", "[\n {\"text\": \"a\"},\n {\"text\": b}\n]");
        var error = Assert.Throws<InputException>(() => TextMaker.Read(path));
        Assert.Equal($"{path}:3:11: broken JSON after 1 rows: no value begins like this", error.What);
        Assert.Equal("mend the file, or give the rows as JSONL (one object a line), where a broken row costs only itself", error.Fix);
    }

    [Fact]
    public void A_list_that_is_cut_off_says_after_how_many_rows()
    {
        var path = _files.Write("l.json", "[{\"text\": \"a\"}, {\"text\": \"b\"}, {\"te");
        Assert.Contains("2 rows", Assert.Throws<InputException>(() => TextMaker.Read(path)).What);
    }

    [Fact]
    public void A_broken_line_of_JSONL_costs_only_itself()
    {
        var rows = TextMaker.Read(_files.Write("l.jsonl", "{\"text\": \"a\"}\n{\"text\": \n{\"text\": \"c\"}"));
        Assert.Equal([null, "broken JSON", null], rows.Select(row => row.Problem?.Reason));
        Assert.EndsWith("l.jsonl:2", rows[1].Place);
    }

    [Fact]
    public void Rows_of_the_wrong_number_of_fields_are_told_with_their_line()
    {
        var rows = TextMaker.Read(_files.Write("t.csv", "prompt,completion\na,\"b\nc\"\nd,e,f\n"));
        Assert.Equal("b\nc", rows[0].Value.GetProperty("completion").GetString());
        Assert.Equal(("wrong number of fields", "3 fields, but the header names 2 columns", "d,e,f"),
            (rows[1].Problem!.Reason, rows[1].Problem!.Detail, rows[1].Problem!.Excerpt));
        Assert.EndsWith("t.csv:4", rows[1].Place);
    }

    [Fact]
    public void A_quote_that_never_ends_is_told_with_its_line()
    {
        var path = _files.Write("t.csv", "text\nfine\n\"never\nends\n");
        Assert.Equal($"{path}:3: a quote is opened and never closed; the file ends inside the field",
            Assert.Throws<InputException>(() => TextMaker.Read(path)).What);
    }

    [Fact]
    public void A_doubled_column_is_refused() =>
        Assert.Contains(":1: the header names the column \"a\" twice",
            Assert.Throws<InputException>(() => TextMaker.Read(_files.Write("t.tsv", "a\tb\ta\n1\t2\t3\n"))).What);

    [Fact]
    public void Text_that_is_not_UTF8_is_refused_with_the_byte_and_read_when_named()
    {
        var path = _files.WriteBytes("t.txt", [.. "first\nsch"u8, 0xF6, .. "n\n"u8]);
        Assert.StartsWith($"{path}:2: is not UTF-8: byte 0xF6 at column 4, after \"sch\"",
            Assert.Throws<InputException>(() => TextMaker.Read(path)).Message);
        Assert.Equal("schön",
            Dataset.Open(new() { Id = path, Encoding = "iso-8859-1" }).Read().Last().Value.GetProperty("text").GetString());
        Assert.StartsWith("dataset_encoding \"klingon\" is not known",
            Assert.Throws<InputException>(() => Dataset.Open(new() { Id = path, Encoding = "klingon" }).Read().Count()).Message);
    }

    [Fact]
    public void A_JSONL_row_that_is_not_UTF8_is_unusable_and_never_garbled()
    {
        var rows = TextMaker.Read(_files.WriteBytes("t.jsonl", [.. "{\"text\": \"a\"}\n{\"text\": \""u8, 0xE9, .. "\"}\n"u8]));
        Assert.Equal(("not UTF-8", "byte 0xE9 at column 11"), (rows[1].Problem!.Reason, rows[1].Problem!.Detail));
        var path = _files.WriteBytes("t.json", [.. "[{\"text\": \""u8, 0xE9, .. "\"}]"u8]);
        Assert.StartsWith($"{path}: row 1: is not UTF-8", Assert.Throws<InputException>(() => TextMaker.Read(path)).Message);
    }

    [Fact]
    public void UTF16_is_named_as_such()
    {
        var path = _files.WriteBytes("t.txt", [.. Encoding.Unicode.GetPreamble(), .. Encoding.Unicode.GetBytes("hello\n")]);
        Assert.StartsWith($"{path}: is UTF-16, as its first two bytes say",
            Assert.Throws<InputException>(() => TextMaker.Read(path)).Message);
        Assert.Equal("hello", Dataset.Open(new() { Id = path, Encoding = "utf-16" }).Read().Single().Value.GetProperty("text").GetString());
    }

    [Fact]
    public void A_truncated_gz_file_is_refused_by_name()
    {
        using var memory = new MemoryStream();
        using (var gzip = new GZipStream(memory, CompressionLevel.Fastest, leaveOpen: true))
            gzip.Write(Encoding.UTF8.GetBytes(string.Concat(Enumerable.Range(0, 5000)
                .Select(i => $$"""{"text": "row {{i * 7919}}"}""" + "\n"))));
        var path = _files.WriteBytes("t.jsonl.gz", memory.ToArray().AsSpan(0, (int)memory.Length / 2).ToArray());
        var failure = Assert.Throws<InputException>(() => TextMaker.Read(path));
        Assert.Equal($"{path}: the gzip stream ends in the middle; the file is truncated", failure.What);
        Assert.Equal("copy or download it again", failure.Fix);
    }

    [Fact]
    public void A_truncated_parquet_file_is_refused_by_name()
    {
        var whole = SharedFiles.Need("data", "format-parquet", "test-00000-of-00001.parquet");
        var path = _files.WriteBytes("t.parquet", File.ReadAllBytes(whole).AsSpan(0, 100_000).ToArray());
        var error = Assert.Throws<InputException>(() => TextMaker.Read(path));
        Assert.StartsWith($"{path}: cannot be read as Parquet (", error.What);
        Assert.Equal("copy or download it again; a truncated file has lost its end, where the schema stands", error.Fix);
    }

    [Fact]
    public void A_truncated_arrow_file_is_refused_wherever_it_is_cut()
    {
        var bytes = File.ReadAllBytes(SharedFiles.Need("data", "format-arrow", "data-00000-of-00001.arrow"));
        foreach (var length in (int[])[3, 50, 700, 5_000, 120_000])
        {
            var path = _files.WriteBytes("t.arrow", bytes.AsSpan(0, length));
            Assert.Contains("truncated", Assert.Throws<InputException>(() => TextMaker.Read(path)).Message);
        }
        bytes.AsSpan(4, 4).Fill(0x7F);
        Assert.Contains("is not a readable Arrow file: a message claims a size of",
            Assert.Throws<InputException>(() => TextMaker.Read(_files.WriteBytes("t.arrow", bytes))).Message);
    }

    [Fact]
    public void A_damaged_arrow_file_never_fails_without_a_message()
    {
        var bytes = File.ReadAllBytes(SharedFiles.Need("data", "format-arrow", "data-00000-of-00001.arrow"));
        var random = new Random(5);
        for (var trial = 0; trial < 60; trial++)
        {
            var damaged = bytes.ToArray();
            for (var i = 0; i < 8; i++)
                damaged[random.Next(0, 4000)] = (byte)random.Next(256);
            var failure = Record.Exception(() => TextMaker.Read(_files.WriteBytes("t.arrow", damaged)));
            Assert.True(failure is null or InputException, failure?.ToString());
        }
    }

    [Fact]
    public void A_saved_data_set_without_its_file_names_it()
    {
        _files.Write("saved/state.json", "{\"_data_files\": [{\"filename\": \"data-00000-of-00001.arrow\"}], \"_split\": null}");
        Assert.Equal($"{_files.Folder}/saved/state.json: names the data file data-00000-of-00001.arrow, which is not "
            + $"in {_files.Folder}/saved",
            Assert.Throws<InputException>(() => Dataset.Open(new() { Id = _files.Folder + "/saved" })).What);
    }

    [Fact]
    public void Files_of_several_formats_ask_for_one()
    {
        _files.Write("mixed/a.jsonl", "{\"text\": \"a\"}");
        _files.Write("mixed/b.txt", "b");
        Assert.Contains("holds files of several formats for the split \"train\"",
            Assert.Throws<InputException>(() => Dataset.Open(new() { Id = _files.Folder + "/mixed" })).What);
    }

    [Fact]
    public void Columns_of_no_known_layout_advise_a_mapping()
    {
        var path = _files.Write("t.jsonl", "{\"question\": \"a\", \"answer\": \"b\"}");
        var spec = new DatasetSpec { Id = path };
        var error = Assert.Throws<InputException>(() => RowReader.For(Dataset.Open(spec), spec, RowUse.FineTuning));
        Assert.Equal($"{path}: has the columns question, answer, but wanted are messages, conversations, prompt + completion, instruction "
            + "+ output, or text", error.What);
        Assert.Equal("column_mapping: {prompt: question, completion: answer}", error.Fix);
    }

    [Fact]
    public void A_missing_text_column_of_pretraining_is_told()
    {
        var path = _files.Write("t.jsonl", "{\"content\": \"a\"}");
        var spec = new DatasetSpec { Id = path };
        Assert.Equal($"{path}: has the columns content, but wanted are the text column \"text\"\n  fix: text_column: content",
            Assert.Throws<InputException>(() => RowReader.For(Dataset.Open(spec), spec, RowUse.Pretraining)).Message);
        Assert.Equal(RowLayout.Text, RowReader.For(Dataset.Open(spec), spec, RowUse.Pretraining, "content").Layout);
    }

    [Fact]
    public void A_mapping_to_an_absent_or_unknown_column_is_refused()
    {
        var path = _files.Write("t.jsonl", "{\"q\": \"a\", \"a\": \"b\"}");
        var absent = new DatasetSpec { Id = path, ColumnMapping = new Dictionary<string, string> { ["prompt"] = "question" } };
        Assert.Equal($"{path}: column_mapping takes prompt from \"question\", but the rows have the columns q, a",
            Assert.Throws<InputException>(() => RowReader.For(Dataset.Open(absent), absent, RowUse.FineTuning)).What);
        var unknown = new DatasetSpec { Id = path, ColumnMapping = new Dictionary<string, string> { ["promt"] = "q" } };
        var problem = Assert.Throws<InputException>(() => RowReader.For(Dataset.Open(unknown), unknown, RowUse.FineTuning));
        Assert.StartsWith("column_mapping: \"promt\" is no column that we read", problem.What);
        Assert.StartsWith("did you mean prompt? ", problem.Fix);
    }

    [Fact]
    public void A_mapping_to_a_misspelt_column_names_the_nearest()
    {
        var spec = new DatasetSpec
        {
            Id = _files.Write("t.jsonl", "{\"question\": \"a\", \"answer\": \"b\"}"),
            ColumnMapping = new Dictionary<string, string> { ["prompt"] = "qestion", ["completion"] = "answer" },
        };
        Assert.Equal("did you mean column_mapping: {prompt: question}?",
            Assert.Throws<InputException>(() => RowReader.For(Dataset.Open(spec), spec, RowUse.FineTuning)).Fix);
    }

    [Fact]
    public void Loss_that_the_rows_cannot_have_is_refused()
    {
        var path = _files.Write("t.jsonl", "{\"text\": \"a\"}");
        var spec = new DatasetSpec { Id = path };
        var reader = RowReader.For(Dataset.Open(spec), spec, RowUse.FineTuning);
        Assert.Equal("assistant_only_loss is set, but the rows are plain texts (layout Text)",
            Assert.Throws<InputException>(() => new RowTokenizer(reader, TextMaker.Bytes, null, new() { Loss = LossScope.Assistant }))
            .What);
        Assert.Equal("completion_only_loss is set, but the rows have no prompt and completion (layout Text)",
            Assert.Throws<InputException>(() => new RowTokenizer(reader, TextMaker.Bytes, null, new() { Loss = LossScope.Completion }))
            .What);
    }

    [Fact]
    public void A_cache_that_cannot_be_written_says_which_folder()
    {
        var path = _files.Write("t.jsonl", "{\"text\": \"a\"}");
        _files.Write("cache", "a file stands where the folder should be");
        var error = Assert.Throws<InputException>(() => TrainingData.Load(new()
        {
            Mixture = new() { Dialect = MixtureDialect.Single, Datasets = [new() { Id = path }] },
            Tokenizer = TextMaker.Bytes,
            Cache = _files.Cache,
        }, cancel: TestContext.Current.CancellationToken));
        Assert.StartsWith($"{_files.Folder}/cache: the tokenised rows cannot be kept there", error.What);
        Assert.EndsWith("or set HANDBOOK_CACHE to a folder that can be written", error.Fix);
    }
}
