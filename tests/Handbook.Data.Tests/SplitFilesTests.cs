using Handbook.Base;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;

namespace Handbook.Data.Tests;

/// <summary>Which files of a folder are which split: the conventions under which data sets are published.</summary>
public sealed class SplitFilesTests : IDisposable
{
    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData("train.jsonl", "train")]
    [InlineData("train_1.jsonl", "train")]
    [InlineData("train-07.jsonl", "train")]
    [InlineData("train2.jsonl.gz", "train")]
    [InlineData("train_part2.jsonl", "train")]
    [InlineData("my-train-data.csv", "train")]
    [InlineData("2024train.jsonl", "train")]
    [InlineData("training.jsonl", "train")]
    [InlineData("constrain.jsonl", null)]
    [InlineData("train_sft.jsonl", "train_sft")]
    [InlineData("test_prefs.jsonl", "test_prefs")]
    [InlineData("dev.jsonl", "validation")]
    [InlineData("val_01.jsonl", "validation")]
    [InlineData("eval.jsonl", "test")]
    [InlineData("train-00000-of-00005.parquet", "train")]
    [InlineData("train_sft-00002-of-00003-a09b74b3ef9c3b56.parquet", "train_sft")]
    [InlineData("data/train_gen-00000-of-00001.parquet", "train_gen")]
    [InlineData("data/extra-00000-of-00001.parquet", "extra")]
    [InlineData("extra-00000-of-00001.parquet", null)]
    [InlineData("train/part-00000-of-00002.jsonl", "train")]
    [InlineData("train/test_questions.jsonl", "train")]
    [InlineData("train_sft/part-0.parquet", "train_sft")]
    [InlineData("data/train/deep/er/0001.jsonl", "train")]
    [InlineData("validation/year=2024/month=1/train.parquet", "validation")]
    [InlineData("en/train.jsonl", "train")]
    [InlineData("rows.jsonl", null)]
    public void A_place_tells_its_split(string place, string? split) => Assert.Equal(split, SplitNames.Of(place, out _));

    [Fact]
    public void A_folder_named_for_a_split_gives_all_its_files_at_every_depth()
    {
        Rows("ds/train/a/0.jsonl", "a0");
        Rows("ds/train/1.jsonl", "one");
        Rows("ds/train/test-like.jsonl", "like");
        Rows("ds/test/0.jsonl", "held");
        Assert.Equal(["one", "a0", "like"], Texts("ds"));
        Assert.Equal(["held"], Texts("ds", "test"));
    }

    [Fact]
    public void Folders_that_name_a_column_are_folders_like_others()
    {
        Rows("ds/year=2023/train.jsonl", "old");
        Rows("ds/year=2024/train.jsonl", "new");
        Assert.Equal(["old", "new"], Texts("ds"));
        Assert.Equal(["text"], Open("ds").Read().First().Value.EnumerateObject().Select(column => column.Name));
    }

    [Fact]
    public void What_is_left_out_of_a_folder_is_named()
    {
        Rows("ds/train.jsonl", "a");
        Rows("ds/train_extra.jsonl", "b");
        Rows("ds/original/train.jsonl", "c");
        Rows("ds/notes.jsonl", "d");
        var source = Open("ds");
        Assert.Equal(["a"], source.Read().Select(Text));
        var name = Path.Combine(_files.Folder, "ds");
        Assert.Equal(
            [
                $"note: {name}: notes.jsonl is named for no split, and left out",
                $"note: {name} [train]: original/train.jsonl is further down than others of that name, and left out",
                $"note: {name} [train]: the split train_extra is another one and is left out; train+train_extra takes both",
            ], source.Remarks);
        Assert.Equal(["a", "b"], Texts("ds", "train+train_extra"));
    }

    [Fact]
    public void A_split_that_has_kinds_alone_lists_how_to_take_them()
    {
        Rows("ds/train_a.jsonl", "a");
        Rows("ds/train_b.jsonl", "b");
        Assert.EndsWith("e.g. train_a, or several: train_a+train_b", Assert.Throws<InputException>(() => Open("ds")).Fix);
    }

    [Fact]
    public void The_front_matter_says_which_files_a_split_has()
    {
        _files.Write("ds/README.md", """
            ---
            license: mit
            configs:
            - config_name: en
              default: true
              data_files:
              - split: train
                path: ["en/*.jsonl", "more/**/x?.jsonl"]
              - split: held
                path: test/en.jsonl
            - config_name: fr
              data_dir: fr
            ---
            # Rows
            """);
        Rows("ds/en/train_2.jsonl", "two");
        Rows("ds/en/train_1.jsonl", "one");
        Rows("ds/more/deep/x1.jsonl", "x1");
        Rows("ds/more/deep/y1.jsonl", "y1");
        Rows("ds/test/en.jsonl", "held");
        Rows("ds/fr/train.jsonl", "fr");
        Assert.Equal(["one", "two", "x1"], Texts("ds"));
        Assert.Equal(["held"], Texts("ds", "held"));
        Assert.Equal(["fr"], Texts("ds", config: "fr"));
        Assert.Equal(["one", "two", "x1"], Texts("ds", config: "en"));
        var failure = Assert.Throws<InputException>(() => Open("ds", config: "de"));
        Assert.Contains("has no config \"de\"", failure.What);
        Assert.Contains("README.md names en, fr", failure.What);
    }

    [Theory]
    [InlineData("- config_name: a\n  data_files: a.jsonl\n- config_name: b\n  data_files: b.jsonl\n",
        "has no default config; its README.md names a, b")]
    [InlineData("- config_name: a\n  data_files: none*.jsonl\n",
        "the config a names none*.jsonl for its split train, and no data file is called so")]
    [InlineData("- config_name: a\n  data_files: hf://datasets/x/a.jsonl\n", "which is elsewhere")]
    [InlineData("- config_name: a\n  data_files: {split: [\n", "its front matter is not YAML")]
    [InlineData("- config_name: a\n  data_files:\n  - split: train\n", "has an entry of data_files without path")]
    public void A_front_matter_that_cannot_be_followed_is_refused(string configs, string message)
    {
        _files.Write("ds/README.md", $"---\nconfigs:\n{configs}---\n");
        Rows("ds/a.jsonl", "a");
        Rows("ds/b.jsonl", "b");
        Assert.Contains(message, Assert.Throws<InputException>(() => Open("ds")).Message);
    }

    [Fact]
    public void A_front_matter_may_name_the_separator_of_its_tables()
    {
        _files.Write("ds/README.md", "---\nconfigs:\n- config_name: default\n  data_files: t.csv\n  sep: \";\"\n  skiprows: 1\n---\n");
        _files.Write("ds/t.csv", "prompt;completion\n\"a;b\";c\n");
        var source = Open("ds");
        Assert.Equal("""{"prompt":"a;b","completion":"c"}""", source.Read().Single().Value.GetRawText());
        Assert.Contains("the config default has the keys skiprows, which are not read", Assert.Single(source.Remarks));
    }

    [Theory]
    [InlineData("t.csv", "a;b\n1;2\n", "t.csv:1: the header holds semicolons and no commas: a;b")]
    [InlineData("t.csv", "\"a\";\"b\"\n1;2\n", "the header holds semicolons and no commas")]
    [InlineData("t.csv", "a\tb\n1\t2\n", "the header holds tabs and no commas")]
    [InlineData("t.csv", "a|b\n1|2\n", "the header holds vertical bars and no commas")]
    [InlineData("t.tsv", "a,b\n1,2\n", "the header holds commas and no tabs")]
    [InlineData("t.csv", "sep=;\na;b\n1;2\n", "the mark of a spreadsheet")]
    public void A_table_of_another_separator_is_told_as_such(string name, string text, string message) =>
        Assert.Contains(message, Assert.Throws<InputException>(() => TextMaker.Read(_files.Write(name, text))).Message);

    [Theory]
    [InlineData("train[:70%]", 0, 32, 45)]                 // 31.5 rows: halves go to the even one
    [InlineData("train[70%:]", 32, 45, 45)]
    [InlineData("train[:50%]", 0, 2, 5)]                   // 2.5
    [InlineData("train[:50%]", 0, 4, 7)]                   // 3.5
    [InlineData("train[10:20%]", 10, 20, 100)]             // one sign counts for both
    [InlineData("train[-10%:]", 90, 100, 100)]
    [InlineData("train[1_0:-2]", 10, 43, 45)]
    [InlineData("train[-100:]", 0, 45, 45)]
    [InlineData("train[ 2 : 4 ]", 2, 4, 45)]
    [InlineData("train[:30%](pct1_dropremainder)", 0, 60, 299)]
    [InlineData("train[:30%](closest)", 0, 90, 299)]
    public void A_slice_takes_the_rows_that_the_reference_takes(string split, int start, int end, int count) =>
        Assert.Equal((start, end), SplitSlice.Parse(split).Resolve(count));

    [Theory]
    [InlineData("train[:120%]", "a percent is from -100 to 100")]
    [InlineData("train[:10](closest)", "only percents are rounded")]
    [InlineData("train[:10%](down)", "the rounding \"down\" is not known")]
    [InlineData("train[1:2:3]", "is not understood")]
    [InlineData("train[:x]", "is not understood")]
    [InlineData("train[:1%", "is not understood")]
    public void A_slice_that_the_reference_refuses_is_refused(string split, string message) =>
        Assert.Contains(message, Assert.Throws<InputException>(() => SplitSlice.Parse(split)).Message);

    [Fact]
    public void Dropping_the_remainder_needs_a_hundred_rows() =>
        Assert.Contains("needs at least 100 rows, but the split has 45",
            Assert.Throws<InputException>(() => SplitSlice.Parse("train[:1%](pct1_dropremainder)").Resolve(45)).Message);

    [Theory]
    [InlineData("train[100:200]")]
    [InlineData("train[5:5]")]
    [InlineData("train[:1%]")]
    public void A_slice_without_rows_is_refused_with_the_number_there_is(string split)
    {
        var path = _files.Lines("rows.jsonl", "r", 45);
        Assert.Equal($"{path} [{split}]: the slice holds no row: the split has 45",
            Assert.Throws<InputException>(() => TextMaker.Read(path, split)).What);
    }

    [Theory]
    [InlineData("rows.jsonl", "trian", "has no split \"trian\": it is one file, which is the split train", "did you mean train?")]
    [InlineData("rows.jsonl", "train+test", "has no split \"test\": it is one file", "a folder with train.jsonl and test.jsonl")]
    [InlineData("rows.jsonl", "test[:2]", "has no split \"test\": it is one file", "name train with dataset_train_split")]
    [InlineData("test_sft.jsonl", "validation", "it is one file, which is the split train or test_sft", "name test_sft")]
    [InlineData("test.jsonl", "train+test", "\"train+test\" joins two splits, but it is one file", "name test with")]
    public void A_file_has_no_other_split_than_its_own(string name, string split, string what, string fix)
    {
        var problem = Assert.Throws<InputException>(() => TextMaker.Read(_files.Lines(name, "r", 3), split));
        Assert.Equal("split", problem.Key);
        Assert.Contains(what, problem.What);
        Assert.Contains(fix, problem.Fix);
    }

    [Theory]
    [InlineData("rows.jsonl", "train", 3)]
    [InlineData("rows.jsonl", "training[:2]", 2)]
    [InlineData("rows.jsonl", "train[:1]+train[2:]", 2)]
    [InlineData("test.jsonl", "test", 3)]
    [InlineData("test.jsonl", "train", 3)]                 // whatever it is called, it is what the recipe names
    [InlineData("train_sft.jsonl", "train_sft", 3)]
    public void A_file_is_the_split_train_and_what_its_name_says(string name, string split, int rows) =>
        Assert.Equal(rows, TextMaker.Read(_files.Lines(name, "r", 3), split).Count);

    private void Rows(string place, string text) => _files.Write(place, $$"""{"text": "{{text}}"}""" + "\n");

    private IRowSource Open(string folder, string split = "train", string? config = null) =>
        Dataset.Open(new DatasetSpec { Id = Path.Combine(_files.Folder, folder), Split = split, Config = config });

    private string[] Texts(string folder, string split = "train", string? config = null) =>
        [.. Open(folder, split, config).Read().Select(Text)];

    private static string Text(SourceRow row) => row.Value.GetProperty("text").GetString()!;
}
