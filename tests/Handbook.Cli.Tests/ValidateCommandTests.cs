using Handbook.Cli.Tests.BadInput;

namespace Handbook.Cli.Tests;

/// <summary><c>validate</c> sees what would stop a run, all of it at once.</summary>
public sealed class ValidateCommandTests : IDisposable
{
    private readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Fact]
    public void A_recipe_with_everything_in_place_is_good()
    {
        var outcome = Validate();
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.Equal("r.yaml: a good recipe for `handbook sft`. It would train model on rows.jsonl into out.\n", outcome.Output);
        Assert.False(Directory.Exists(_run.At("out")));
    }

    [Fact]
    public void Everything_that_is_missing_is_told_at_once()
    {
        var outcome = Validate("--model_name_or_path=someone/model-7b", "--dataset_name=someone/rows", "--chat_template_path=t.jinja", "--tokenizer_name_or_path=tok");
        _run.Refused(outcome, "not on this machine:", "model_name_or_path: someone/model-7b\n    looked for ", _run.At("someone/model-7b"), "tokenizer_name_or_path: tok", "data set: someone/rows",
            "chat_template_path: t.jinja does not exist", "4 problems found; nothing was started.", "--keys-only");
        Assert.Equal(0, Validate("--model_name_or_path=someone/model-7b", "--dataset_name=someone/rows", "--keys-only").Code);
    }

    [Theory]
    [InlineData("--dataset_name=rows", "rows: has no split \"train\"")]
    [InlineData("--text_column=x --dataset_name=odd.jsonl", "odd.jsonl: has the columns")]
    [InlineData("--output_dir=model", "output_dir model is also the folder of model_name_or_path")]
    [InlineData("--model_name_or_path=strange", "model_type")]
    [InlineData("--model_name_or_path=empty", "config.json does not exist")]
    [InlineData("--dataset_train_split=test --eval_strategy=steps", "makes the rows trained on (test) those held out (test)")]
    [InlineData("--dataset_train_split=train --dataset_test_split=train[90%:] --eval_strategy=steps", "those held out")]
    public void What_would_stop_the_run_stops_here(string words, string message)
    {
        _run.Write("rows/validation.jsonl", _run.Read("rows.jsonl"));
        _run.Write("odd.jsonl", "{\"first\": 1, \"second\": 2}\n");
        Directory.CreateDirectory(_run.At("empty"));
        TinyRun.Copy(_run.At("model"), _run.At("strange"));
        _run.Replace("strange/config.json", "\"llama\"", "\"mamba\"");
        _run.Refused(Validate(words.Split(' ')), message, "nothing was started");
    }

    [Theory] // the model has 64 positions; a row with a long answer reaches beyond them
    [InlineData("validate", "warning: max_length is 200, but the model was made for 64 positions")]
    [InlineData("sft", "warning: 1 row is longer than the 64 positions")]
    public void Rows_beyond_the_model_s_positions_are_told(string command, string warning)
    {
        _run.Write("rows.jsonl", _run.Read("rows.jsonl") + $$"""{"messages": [{"role": "user", "content": "zzz?"}, {"role": "assistant", "content": "{{string.Concat(Enumerable.Repeat("zq ", 40))}}"}]}""" + "\n");
        Assert.Contains(warning, SmallModel.Succeed(_run.Handbook.Run(command, "r.yaml", "--max_length=200")).Error);
        Assert.DoesNotContain("positions", SmallModel.Succeed(_run.Handbook.Run(command, "r.yaml", "--output_dir=short")).Error);
    }

    [Theory]
    [InlineData("validate")]
    [InlineData("dpo")]
    public void A_column_of_verdicts_that_is_not_read_is_told(string command)
    {
        _run.Write("pairs.jsonl", string.Concat(Enumerable.Range(0, 8).Select(i => $$"""{"prompt": "number {{i}}?", "chosen": " it is {{i}}", "rejected": " it is the answer", "preference": {{1 + i % 2}}}""" + "\n")));
        string[] words = [command, "r.yaml", "--dataset_name=pairs.jsonl", .. command == "validate" ? ["--method", "dpo"] : Array.Empty<string>()];
        Assert.Contains("note: pairs.jsonl: the column preference is not read", SmallModel.Succeed(_run.Handbook.Run(words)).Error);
    }

    [Fact]
    public void Data_on_the_command_line_takes_the_place_of_the_file_s()
    {
        _run.Write("r.yaml", TinyRun.Recipe.Replace("dataset_name: rows.jsonl", "dataset_mixer:\n  absent: 1.0\ndataset_splits: [train, test]"));
        var outcome = Validate("--dataset_name=rows.jsonl");
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.Contains("note: dataset_mixer is left out: --dataset_name names the data", outcome.Error);
        Assert.Contains("note: dataset_splits is left out: --dataset_name names the data", outcome.Error);
    }

    [Theory]
    [InlineData("/proc/x", "output_dir")]
    public void An_output_folder_that_cannot_be_made(string output, string message) => _run.Refuses([$"--output_dir={output}"], message);

    [Fact]
    public void Demo_data_does_not_write_over_a_file()
    {
        _run.Write("file", "mine");
        _run.Refused(_run.Handbook.Run("demo-data", "--output", "file"), "file is a file, not a folder");
        _run.Refused(_run.Handbook.Run("demo-data", "--output", "file/below"), "file");
        Assert.Equal("mine", _run.Read("file"));
    }

    [Fact]
    public void Demo_data_leaves_nothing_on_a_full_disk()
    {
        const string mount = "mkdir -p small && mount -t tmpfs -o size=100k none small";
        Assert.SkipUnless(_run.Handbook.RunOther("unshare", "-rm", "sh", "-c", mount).Code == 0, "mounting a small file system is not allowed here");
        var outcome = _run.Handbook.RunOther("unshare", "-rm", "sh", "-c", mount + " && \"$0\" exec \"$@\"; code=$?; ls -A small; exit $code", "dotnet", HandbookProcess.ProgramFile, "demo-data", "--output", "small/data");
        _run.Refused(outcome, "the disk is full");
        Assert.Equal("", outcome.Output);
    }

    private Outcome Validate(params string[] overrides) => _run.Handbook.Run(["validate", "r.yaml", .. overrides]);
}
