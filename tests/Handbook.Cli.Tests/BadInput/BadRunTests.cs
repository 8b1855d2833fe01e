namespace Handbook.Cli.Tests.BadInput;

/// <summary>Output folders, disks, checkpoints and steps that fail.</summary>
public sealed class BadRunTests : IDisposable
{
    private readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Theory]
    [InlineData("out")]
    [InlineData("out/below")]
    public void The_output_folder_is_a_file(string output)
    {
        _run.Write("out", "mine");
        _run.Refuses([$"--output_dir={output}"], "output_dir", "out", "is a file, not a folder");
        Assert.Equal("mine", _run.Read("out"));
    }

    [Fact]
    public void A_learning_rate_that_blows_up_keeps_the_checkpoints_before()
    {
        var outcome = _run.Refuses(["--learning_rate=1e30", "--save_steps=1", "--max_grad_norm=0", "--lr_scheduler_type=constant"],
            "learning rate 1e+30", "nothing was updated", "lower learning_rate");
        Assert.Matches("step [234]: the (loss|gradient norm) is ", outcome.Error);
        Assert.True(File.Exists(_run.At("out/checkpoint-1/manifest.json")));
        Assert.False(File.Exists(_run.At("out/model.safetensors")));
    }

    [Fact]
    public void A_metric_that_is_not_measured() =>
        _run.Refuses(["--dataset_train_split=train[:6]", "--dataset_test_split=train[6:]", "--eval_strategy=steps", "--eval_steps=2",
            "--metric_for_best_model=bleu", "--load_best_model_at_end=true"],
            "metric_for_best_model is bleu, which no evaluation of sft measures", "eval_loss, eval_perplexity");

    [Fact]
    public void A_checkpoint_that_does_not_exist() =>
        _run.Refuses(["--resume_from_checkpoint=out/checkpoint-9"], "resume_from_checkpoint: ", "checkpoint-9 does not exist");

    [Fact]
    public void A_folder_that_is_no_checkpoint() =>
        _run.Refuses(["--resume_from_checkpoint=model"], "resume_from_checkpoint: ", "model is not a whole checkpoint");

    [Fact]
    public void Going_on_where_there_is_nothing() =>
        _run.Refuses(["--resume_from_checkpoint=true"], "resume_from_checkpoint is true, but out has no checkpoint");

    [Fact]
    public void A_flipped_byte_in_the_weights_of_the_newest_checkpoint_falls_back_to_the_one_before() =>
        A_flipped_byte_in_the_newest_checkpoint_falls_back_to_the_one_before("model.safetensors");

    [Theory, Trait("speed", "slow")]
    [InlineData("optimizer.safetensors")]
    [InlineData("trainer_state.json")]
    public void A_flipped_byte_in_the_newest_checkpoint_falls_back_to_the_one_before(string name)
    {
        Assert.Equal(0, _run.Sft().Code);
        File.Delete(_run.At("out/model.safetensors"));      // as if it had not come to its end
        Flip(_run.At("out/checkpoint-4", name));
        var outcome = _run.Sft("--max_steps=4");
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.Contains("checkpoint-4 is not a whole checkpoint", outcome.Error);
        Assert.Contains(name, outcome.Error);
        Assert.Contains("checkpoint-2", outcome.Error);

        Flip(_run.At("out/checkpoint-2", name));
        _run.Refuses(["--resume_from_checkpoint=out/checkpoint-2"], "checkpoint-2 is not a whole checkpoint", name);
    }

    [Theory]
    [InlineData("--per_device_train_batch_size=4", "per_device_train_batch_size: 2 → 4")]
    [InlineData("--max_length=6", "max_length: 64 → 6")]
    public void Going_on_with_another_recipe(string change, string message)
    {
        Assert.Equal(0, _run.Sft("--max_steps=2").Code);
        _run.Refuses(["--max_steps=4", change], message, "--fresh=true");
    }

    [Fact]
    public void Going_on_with_other_rows_in_the_same_file()
    {
        Assert.Equal(0, _run.Sft("--max_steps=2", "--lr_scheduler_type=constant").Code);
        _run.Write("rows.jsonl",
            string.Concat(_run.Read("rows.jsonl").Split('\n').Reverse()
            .Select(line => line.Length > 0 ? line.Replace("number", "figure") + "\n" : "")));
        _run.Refuses(["--max_steps=4", "--lr_scheduler_type=constant"],
            "was trained on other rows, in another order, or with other batches", "--fresh=true");
    }

    [Fact]
    public void A_disk_that_is_full()
    {
        // 100 kB: enough for the log, not for a checkpoint. A file system of our own needs a mount, here in a name space of its own.
        const string mount = "mkdir -p out && mount -t tmpfs -o size=100k none out";
        Assert.SkipUnless(Shell(mount).Code == 0, "mounting a small file system is not allowed here; CheckpointFolderTests fills a disk "
            + "in the process");
        var outcome = Shell(mount + " && \"$0\" exec \"$@\"; code=$?; ls -A out; exit $code");
        _run.Refused(outcome, "not enough space: about ", "free", "nothing was written");
        Assert.DoesNotContain("checkpoint", outcome.Output);
        Assert.DoesNotContain("safetensors", outcome.Output);
    }

    [Theory]
    [InlineData("out")]
    [InlineData("out/below")]
    public void A_folder_without_permission(string output)
    {
        if (OperatingSystem.IsWindows())
            return;
        const UnixFileMode open = UnixFileMode.UserRead | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute
            | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;
        Directory.CreateDirectory(_run.At("out"));
        Directory.CreateDirectory(_run.At("cache"));
        File.SetUnixFileMode(_run.At("out"), open);
        try
        {
            string[] run = ["env", $"HANDBOOK_CACHE={_run.At("cache")}", "dotnet", "exec", HandbookProcess.ProgramFile, "sft", "r.yaml",
                $"--output_dir={output}"];
            if (Environment.IsPrivilegedProcess)        // root may write everywhere, so somebody else runs it
            {
                File.SetUnixFileMode(_run.Handbook.Folder, open);
                File.SetUnixFileMode(_run.At("cache"), open | UnixFileMode.UserWrite | UnixFileMode.GroupWrite | UnixFileMode.OtherWrite);
                string[] nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
                Assert.SkipUnless(_run.Handbook.RunOther("setpriv", [.. nobody, "test", "-r", HandbookProcess.ProgramFile]).Code == 0,
                    "root may write everywhere, and nobody else can run the program");
                _run.Refused(_run.Handbook.RunOther("setpriv", [.. nobody, .. run]), "output_dir", "no permission to write there",
                    "choose another output_dir");
            }
            else
            {
                File.SetUnixFileMode(_run.At("out"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
                _run.Refused(_run.Handbook.RunOther(run[0], run[1..]), "output_dir", "no permission to write there",
                    "choose another output_dir");
            }
        }
        finally
        {
            File.SetUnixFileMode(_run.At("out"), open | UnixFileMode.UserWrite);
        }
        Assert.Empty(Directory.EnumerateFileSystemEntries(_run.At("out")));
    }

    [Fact]
    public void A_cache_that_cannot_be_written()
    {
        _run.Write("cache", "a file");
        var outcome = _run.Handbook.Run(["sft", "r.yaml"], TimeSpan.FromMinutes(5),
            new Dictionary<string, string> { ["HANDBOOK_CACHE"] = _run.At("cache") });
        _run.Refused(outcome, "cache: the tokenised rows cannot be kept there", "set HANDBOOK_CACHE to a folder that can be written");
    }

    private static void Flip(string path)
    {
        var bytes = File.ReadAllBytes(path);
        bytes[^3] ^= 0x10;
        File.WriteAllBytes(path, bytes);
    }

    /// <summary>A command in a mount name space of its own; $0 is dotnet, $@ the program with the run's words.</summary>
    private Outcome Shell(string script) =>
        _run.Handbook.RunOther("unshare", "-rm", "sh", "-c", script, "dotnet", HandbookProcess.ProgramFile, "sft", "r.yaml");
}
