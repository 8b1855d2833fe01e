namespace Handbook.Cli.Tests.BadInput;

/// <summary>Rows that are missing, broken, or of no use.</summary>
public sealed class BadDataTests : IDisposable
{
    private readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Theory]
    [InlineData("HuggingFaceH4/ultrachat_200k")]
    [InlineData("absent.jsonl")]
    public void A_data_set_that_is_not_there(string name) => _run.Refuses([$"--dataset_name={name}"], name);

    [Theory]
    [InlineData("rows.jsonl", "", "rows.jsonl")]
    [InlineData("rows.jsonl", "\n\n\n", "rows.jsonl")]
    [InlineData("rows.jsonl", "{\"messages\": [{\"role\": \"user\"\n", "rows.jsonl")]
    [InlineData("rows.jsonl", "[1, 2]\n", "rows.jsonl")]
    [InlineData("rows.jsonl", "{\"question\": \"a\", \"reply\": \"b\"}\n", "question")]
    [InlineData("rows.jsonl", "{\"messages\": \"hello\"}\n", "messages")]
    [InlineData("rows.jsonl", "{\"messages\": []}\n", "messages")]
    [InlineData("rows.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": 5}]}\n", "content")]
    [InlineData("rows.jsonl", "{\"prompt\": \"a\"}\n", "prompt")]
    [InlineData("rows.json", "[{\"text\": \"a\"}, {\"text\"", "rows.json")]
    [InlineData("rows.csv", "a,b\n1,2\n", "rows.csv")]
    [InlineData("rows.parquet", "this is not Parquet", "rows.parquet")]
    [InlineData("rows.jsonl.gz", "this is not gzip", "rows.jsonl.gz")]
    [InlineData("rows.jsonl.zst", "this is not zstd", "rows.jsonl.zst")]
    [InlineData("rows.arrow", "this is not Arrow", "rows.arrow")]
    [InlineData("rows.xlsx", "what is this", "rows.xlsx")]
    public void A_file_of_rows_that_cannot_be_used(string name, string content, string message)
    {
        _run.Write(name, content);
        _run.Refuses([$"--dataset_name={name}"], message);
        Assert.False(Directory.Exists(_run.At("out")));
    }

    [Fact]
    public void A_gzip_file_that_is_cut()
    {
        using (var file = File.Create(_run.At("rows.jsonl.gz")))
        using (var zip = new System.IO.Compression.GZipStream(file, System.IO.Compression.CompressionLevel.Fastest))
            zip.Write(System.Text.Encoding.UTF8.GetBytes(string.Concat(Enumerable.Range(0, 200)
                .Select(i => $"{{\"text\": \"row {i * 7919}\"}}\n"))));
        using (var file = File.OpenWrite(_run.At("rows.jsonl.gz")))
            file.SetLength(file.Length / 2);
        _run.Refuses(["--dataset_name=rows.jsonl.gz"], "rows.jsonl.gz: the gzip stream ends in the middle; the file is truncated");
    }

    [Fact]
    public void A_folder_without_rows()
    {
        Directory.CreateDirectory(_run.At("rows"));
        _run.Refuses(["--dataset_name=rows"], "rows");
    }

    [Fact]
    public void A_split_that_does_not_exist()
    {
        Directory.CreateDirectory(_run.At("rows"));
        File.Copy(_run.At("rows.jsonl"), _run.At("rows/train.jsonl"));
        _run.Refuses(["--dataset_name=rows", "--dataset_train_split=validation"], "validation", "train");
    }

    [Fact]
    public void More_bad_rows_than_allowed()
    {
        _run.Write("rows.jsonl", _run.Read("rows.jsonl") + "{\"messages\": [{\"role\": \"user\", \"content\": \"alone\"}]}\n");
        _run.Refuses(["--assistant_only_loss=true", "--max_bad_rows=0"], "rows.jsonl", "max_bad_rows");
    }

    [Fact]
    public void Rows_of_which_nothing_is_left_after_truncation() => _run.Refuses(["--max_length=2", "--assistant_only_loss=true"],
        "nothing left to learn after cutting", "rows.jsonl:1: no token that carries loss among the first 2");

    [Fact]
    public void An_evaluation_without_rows() => _run.Refuses(["--eval_strategy=steps"], "rows.jsonl: is one file, so it has no "
        + "split \"test\"", "dataset_test_split: train[90%:]");

    [Fact]
    public void A_mixture_with_no_row()
    {
        _run.Write("r.yaml", TinyRun.Recipe.Replace("dataset_name: rows.jsonl", "dataset_mixture: {datasets: [{id: rows.jsonl, "
            + "weight: 0.01}]}"));
        _run.Refuses([], "row");
    }

    [Fact]
    public void A_column_that_rows_do_not_have()
    {
        var outcome = _run.Handbook.Run("cpt", "r.yaml", "--text_column=story");
        _run.Refused(outcome, "story");
    }
}
