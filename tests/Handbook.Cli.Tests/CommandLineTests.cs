
namespace Handbook.Cli.Tests;

public sealed class CommandLineTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    [Theory]
    [InlineData("--help")]
    [InlineData("-h")]
    [InlineData()]
    public void Help_teaches_what_to_type_first(params string[] words)
    {
        var outcome = _handbook.Run(words);
        Assert.Equal(0, outcome.Code);
        Assert.Equal("", outcome.Error);
        Assert.Contains("handbook sft recipes/tiny/sft.yaml", outcome.Output);
        foreach (var command in new[] { "cpt", "sft", "validate", "explain" })
            Assert.Contains($"\n  {command} ", outcome.Output);
        foreach (var code in new[] { "0 done", "1 a bug", "2 something", "3 a plan", "4 a run", "130 interrupted" })
            Assert.Contains($" {code} ", outcome.Output.Replace(",", " "));
    }

    [Fact]
    public void A_command_s_help_names_the_launcher()
    {
        var outcome = _handbook.Run("sft", "--help");
        Assert.Equal(0, outcome.Code);
        Assert.Contains("handbook sft [<recipe>...]", outcome.Output);
        Assert.DoesNotContain("handbook-cli", outcome.Output);
    }

    [Fact]
    public void The_version_is_printed()
    {
        var outcome = _handbook.Run("--version");
        Assert.Equal(0, outcome.Code);
        Assert.Matches(@"^\d+\.\d+\.\d+", outcome.Output);
    }

    [Fact]
    public void An_unknown_command_is_the_user_s_to_fix()
    {
        var outcome = _handbook.Run("fly");
        Assert.Equal(2, outcome.Code);
        Assert.Equal("", outcome.Output);
        Assert.Equal("error: fly is no command of the handbook\n  fix: `handbook --help` lists them\n", outcome.Error);
    }

    [Theory]
    [InlineData("sft")]
    [InlineData("cpt")]
    [InlineData("validate")]
    public void A_command_without_a_recipe_says_what_to_type(string command)
    {
        var outcome = _handbook.Run(command);
        Assert.Equal(2, outcome.Code);
        Assert.Equal($"error: handbook {command}: no recipe is named\n  fix: `handbook {command} recipes/tiny/sft.yaml`, or any other "
            + "YAML recipe\n", outcome.Error);
    }

    [Fact]
    public void The_help_of_a_training_command_lists_usual_keys_with_their_defaults_and_says_where_all_are()
    {
        var (sft, dpo) = (_handbook.Run("sft", "--help").Output, _handbook.Run("dpo", "--help").Output);
        foreach (var (help, method) in (ReadOnlySpan<(string, string)>)[(sft, "sft"), (dpo, "dpo")])
        {
            Assert.Contains("Keys of a recipe, those that most have, with their defaults:\n", help);
            Assert.Matches(@"(?m)^  model_name_or_path: null +The model to start from$", help);
            Assert.Contains($"handbook explain --method {method}; ", help);
            Assert.All(help.Split('\n'), line => Assert.True(line.Length <= 180, line));
        }
        Assert.Matches(@"(?m)^  learning_rate: 2\.0e-05 +The peak learning rate", sft);
        Assert.Matches(@"(?m)^  learning_rate: 1\.0e-06 ", dpo);
        Assert.Matches(@"(?m)^  beta: 0\.1 +β: how strongly", dpo);
        Assert.DoesNotContain("  beta:", sft);
    }

    [Fact]
    public void A_wrong_recipe_starts_nothing()
    {
        _handbook.Write("r.yaml", "model_name_or_path: m\ndataset_name: d\nbf16: false\nlerning_rate: 1\n");
        var outcome = _handbook.Run("sft", "r.yaml", "--max_steps", "0");
        Assert.Equal(2, outcome.Code);
        Assert.Equal("", outcome.Output);
        Assert.Contains("""
            r.yaml:4:1: error: lerning_rate is not a key of a recipe
                4 | lerning_rate: 1
                  | ^^^^^^^^^^^^
              why: a key that is ignored would be a run that is not what it says
              fix: did you mean learning_rate?
            command line: error: max_steps is 0, but must be at least 1, or -1 for no limit
                  | --max_steps 0
                  |             ^
              fix: use -1 to let num_train_epochs decide
            """, outcome.Error);
        Assert.Contains("r.yaml:1:21: error: model_name_or_path: m is not on this machine", outcome.Error);
        Assert.EndsWith("4 problems found; nothing was started.\n", outcome.Error);
        Assert.Equal(["r.yaml"], Directory.GetFileSystemEntries(_handbook.Folder).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData("validate", "--keys-only", "r.yaml", "--learning_rate=1e-3")]
    [InlineData("validate", "--keys-only", "--learning_rate", "1e-3", "r.yaml")]
    [InlineData("validate", "--keys-only", "--config", "r.yaml", "--packing")]
    [InlineData("validate", "--keys-only", "r.yaml", "--method", "cpt", "--no_packing")]
    [InlineData("validate", "--keys-only", "r.yaml", "--chat_template=@a=b")]
    public void Both_ways_of_calling_are_understood(params string[] words)
    {
        _handbook.Write("r.yaml", "model_name_or_path: m\ndataset_name: d\nbf16: false\n");
        var outcome = _handbook.Run(words);
        Assert.Equal("", outcome.Error);
        Assert.Equal(0, outcome.Code);
        Assert.Contains("r.yaml: a good recipe for `handbook ", outcome.Output);
    }

    [Fact]
    public void Validate_prints_notes_on_stderr()
    {
        _handbook.Write("r.yaml", "model_name_or_path: m\ndataset_name: d\nbf16: false\nproject: x\n");
        var outcome = _handbook.Run("validate", "r.yaml", "--keys-only");
        Assert.Equal(0, outcome.Code);
        Assert.Equal("r.yaml:4:1: note: project has no effect here: runs are kept on the disk, in metrics.jsonl and in the forms that report_to "
            + "names\n", outcome.Error);
        Assert.Equal("r.yaml: a good recipe for `handbook sft`. It would train m on d into trainer_output.\n" + Batch, outcome.Output);
    }

    [Fact]
    public void The_folder_of_a_recipe_names_its_method()
    {
        _handbook.Write("dpo/r.yaml", "model_name_or_path: m\ndataset_name: d\nbeta: 0.1\nbf16: false\n");
        var outcome = _handbook.Run("validate", "--keys-only", "dpo/r.yaml");
        Assert.Equal(0, outcome.Code);
        Assert.Equal("dpo/r.yaml: a good recipe for `handbook dpo`. It would train m on d into trainer_output.\n" + Batch, outcome.Output);
    }

    [Fact]
    public void One_process_of_several_says_what_it_misses()
    {
        _handbook.Write("r.yaml", "model_name_or_path: m\ndataset_name: d\nbf16: false\n");
        var outcome = _handbook.Run(["sft", "r.yaml"], TimeSpan.FromMinutes(1), new Dictionary<string, string> { ["WORLD_SIZE"] = "2" });
        Assert.Equal(2, outcome.Code);
        Assert.StartsWith("error: the environment variable RANK is not set\n", outcome.Error);
    }

    [Fact]
    public void A_recipe_that_may_not_be_read_says_so()
    {
        Assert.SkipWhen(Environment.IsPrivilegedProcess, "root may read everything");
        if (OperatingSystem.IsWindows())
            return;
        File.SetUnixFileMode(_handbook.Write("r.yaml", "seed: 1\n"), UnixFileMode.None);
        var outcome = _handbook.Run("sft", "r.yaml");
        Assert.Equal(2, outcome.Code);
        Assert.StartsWith("r.yaml: error: the recipe cannot be read: permission denied\n", outcome.Error);
    }

    [Fact]
    public void Explain_tells_type_default_and_meaning()
    {
        var outcome = _handbook.Run("explain", "--", "max_seq_length");
        Assert.Equal(0, outcome.Code);
        Assert.StartsWith("max_length\n  Longest row in tokens;", outcome.Output);
        Assert.Contains("\n  type: a whole number\n  default: 1024; 512 for dpo, orpo, kto, cpo, bco with dataset_mixer\n  also read as: "
            + "max_seq_length\n", outcome.Output);
    }

    [Fact]
    public void Explain_knows_what_was_meant()
    {
        var outcome = _handbook.Run("explain", "learning_rat");
        Assert.Equal(2, outcome.Code);
        Assert.Equal("error: learning_rat is not a key of a recipe\n  fix: did you mean learning_rate?\n", outcome.Error);
    }

    [Fact]
    public void Explain_lists_the_keys_of_a_method()
    {
        var outcome = _handbook.Run("explain", "--method", "cpt");
        Assert.Equal(0, outcome.Code);
        Assert.Contains("  learning_rate = 2.0e-05\n", outcome.Output);
        Assert.DoesNotContain("assistant_only_loss", outcome.Output);
    }

    [Fact]
    public void Explain_tells_of_the_keys_that_are_named_in_Markdown_too()
    {
        var outcome = _handbook.Run("explain", "beta", "packing", "--markdown");
        Assert.Equal(0, outcome.Code);
        Assert.Equal(["| `packing`", "| `beta`"],
            outcome.Output.Split('\n').Where(line => line.StartsWith("| `", StringComparison.Ordinal)).Select(line =>
                line[..line.IndexOf(" |", 2,
                StringComparison.Ordinal)]).OrderDescending());
        Assert.DoesNotContain("# Recipe keys", outcome.Output.Replace("## ", ""));
        Assert.StartsWith("error: bata is not a key of a recipe\n  fix: did you mean beta?",
            _handbook.Run("explain", "bata", "--markdown").Error);
        Assert.DoesNotContain("| `beta`", _handbook.Run("explain", "--method", "sft", "--markdown").Output);
    }

    [Fact]
    public void Explain_tells_a_key_s_default_for_the_method_that_is_named()
    {
        Assert.Contains("\n  default: 1.0e-06\n", _handbook.Run("explain", "learning_rate", "--method", "dpo").Output);
        var outcome = _handbook.Run("explain", "num_generations", "--method", "sft");
        Assert.Equal(2, outcome.Code);
        Assert.StartsWith("error: num_generations is not a key of `handbook sft`\n  fix: leave --method out, or name one of ",
            outcome.Error);
    }

    private const string Batch =
        "global batch: per_device_train_batch_size 8 x gradient_accumulation_steps 1 x 1 process = 8 rows a step\n";

    public void Dispose() => _handbook.Dispose();
}
