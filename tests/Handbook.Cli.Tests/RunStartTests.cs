using System.Diagnostics;
using System.Text.Json.Nodes;
using Handbook.Cli.Tests.BadInput;

namespace Handbook.Cli.Tests;

/// <summary>What a run does with the folder that it is to write to: it overwrites nothing, mixes no two recipes, and shares it with
/// nobody.</summary>
public sealed class RunStartTests : IDisposable
{
    private readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Theory]
    [InlineData("model", "is also the folder of model_name_or_path")]
    [InlineData("./model/../model/", "is also the folder of model_name_or_path")]
    [InlineData("link", "is also the folder of model_name_or_path")]
    [InlineData("tok", "is also the folder of tokenizer_name_or_path")]
    [InlineData("other", "holds a model that no run of the handbook made")]
    public void A_model_is_never_overwritten(string output, string message)
    {
        Directory.CreateSymbolicLink(_run.At("link"), _run.At("model"));
        TinyRun.Copy(_run.At("model"), _run.At("other"));
        Directory.CreateDirectory(_run.At("tok"));
        foreach (var name in (string[])["tokenizer.json", "tokenizer_config.json"])
            File.Copy(_run.At("model", name), _run.At("tok", name));
        var before = Contents();
        _run.Refuses([$"--output_dir={output}", "--tokenizer_name_or_path=tok", "--fresh=true"], message, "output_dir");
        Assert.Equal(before, Contents());
    }

    [Fact]
    public void A_checkpoint_that_a_run_would_remove_is_not_its_model()
    {
        Assert.Equal(0, _run.Sft().Code);
        _run.Refuses(["--model_name_or_path=out/checkpoint-2", "--fresh=true"], "model_name_or_path names checkpoint-2 of output_dir out");
        Assert.True(File.Exists(_run.At("out/checkpoint-2/model.safetensors")));
    }

    [Fact]
    public void A_run_does_not_write_among_the_rows_that_it_reads()
    {
        Directory.CreateDirectory(_run.At("rows"));
        File.Copy(_run.At("rows.jsonl"), _run.At("rows/train.jsonl"));
        _run.Refuses(["--dataset_name=rows", "--output_dir=rows/out"], "output_dir rows/out lies in the folder of the data set rows");
    }

    [Fact]
    public void A_finished_run_started_again_changes_nothing()
    {
        Assert.Equal(0, _run.Sft().Code);
        var before = Contents();
        var again = _run.Sft();
        Assert.Equal(0, again.Code);
        Assert.Contains("out is at its end, step 4: nothing was trained, and no file was changed", again.Error);
        Assert.Contains("--fresh=true", again.Error);
        Assert.Equal("", again.Output);
        Assert.Equal(before, Contents());
        Assert.Equal(0, _run.Sft("--fresh=true").Code);
        Assert.NotEqual(before, Contents());
    }

    [Fact]
    [Trait("speed", "slow")]
    public void A_finished_run_whose_schedule_was_laid_out_for_its_length_does_not_grow_and_stays_as_it_is()
    {
        Assert.Equal(0, _run.Sft().Code);
        Assert.Contains("lr_scheduler_type linear is laid out for that length", _run.Sft().Error);
        var before = Contents();
        _run.Refuses(["--max_steps=6"], "belongs to a run of 4 steps, but the recipe has 6");
        _run.Refuses(["--max_steps=3"], "stands at step 4, but the recipe ends at step 3");
        _run.Refused(_run.Handbook.Run("validate", "r.yaml", "--method", "sft", "--max_steps=6"), "belongs to a run of 4 steps");
        Assert.Equal(before, Contents());
        Assert.Contains("at its end", _run.Sft().Error);
    }

    [Fact]
    public void A_recipe_that_is_repeated_from_its_run_does_not_remove_the_run()
    {
        Assert.Equal(0, _run.Sft("--fresh=true").Code);
        Assert.Contains("fresh: false", _run.Read("out/recipe.yaml"));
        var before = Contents();
        Assert.Contains("at its end", _run.Handbook.Run("sft", "out/recipe.yaml").Error);
        Assert.Equal(before, Contents());
    }

    [Fact]
    [Trait("speed", "slow")]
    public void A_finished_run_whose_rows_changed_since_says_so_and_trains_on_them_when_told()
    {
        Assert.Equal(0, _run.Sft().Code);
        _run.Write("rows.jsonl", _run.Read("rows.jsonl"));      // another time, the same rows
        Assert.Contains("at its end", _run.Sft().Error);
        _run.Write("rows.jsonl", _run.Read("rows.jsonl").Replace("it is 3", "it is three", StringComparison.Ordinal));
        var before = Contents();
        _run.Refuses([], "out holds a finished run, but the files of its data have changed since: rows.jsonl [train]", "--fresh=true",
            "another output_dir");
        _run.Refused(_run.Handbook.Run("validate", "r.yaml", "--method", "sft"), "the files of its data have changed since");
        Assert.Equal(before, Contents());
        File.Move(_run.At("rows.jsonl"), _run.At("gone.jsonl"));
        Assert.Contains("at its end", _run.Sft().Error);
        File.Move(_run.At("gone.jsonl"), _run.At("rows.jsonl"));
        Assert.Equal(0, _run.Sft("--fresh=true").Code);
        Assert.Contains("at its end", _run.Sft().Error);
    }

    [Fact]
    public void A_finished_run_without_checkpoints_is_not_overwritten_by_another()
    {
        Assert.Equal(0, _run.Sft("--save_strategy=no").Code);
        var before = Contents();
        _run.Refuses(["--save_strategy=no", "--learning_rate=0.5"], "out was started with other values than this recipe has:",
            "learning_rate: 2.0e-05 → 0.5");
        _run.Refuses(["--save_strategy=no", "--max_steps=6"], "at its end and has no checkpoint to go on from");
        _run.Refuses(["--save_strategy=no", "--resume_from_checkpoint=false"], "resume_from_checkpoint is false, but out holds a run");
        Assert.Equal(before, Contents());
    }

    [Fact]
    public void Going_on_with_keys_that_decide_the_result_changed_is_refused_until_it_is_asked_for()
    {
        Assert.Equal(0, _run.Sft().Code);
        Unfinish();
        TinyRun.Copy(_run.At("model"), _run.At("other"));
        var before = Contents();
        _run.Refuses(["--learning_rate=0.1", "--weight_decay=0.3", "--model_name_or_path=other"],
            "out was started with other values than this recipe has:", "\n    learning_rate: 2.0e-05 → 0.1\n",
            "\n    weight_decay: 0.0 → 0.3\n",
            "\n    model_name_or_path: model → other\n", "--fresh=true", "another output_dir", "--ignore_recipe_changes=true");
        _run.Refused(_run.Handbook.Run("cpt", "r.yaml"), "out is a run of `handbook sft`, not of cpt");
        Assert.Equal(before, Contents());

        var outcome = _run.Sft("--learning_rate=0.1", "--ignore_recipe_changes=true");
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.Contains("note: changed since the run was started: learning_rate: 2.0e-05 → 0.1", outcome.Error);
        var start = JsonNode.Parse(_run.Read("out/run.json"))!["starts"]!.AsArray()[^1]!;
        Assert.True(start["ignore_recipe_changes"]!.GetValue<bool>());
        Assert.Equal("""[{"key":"learning_rate","from":"2.0e-05","to":"0.1"}]""", start["recipe_changes"]!.ToJsonString());
    }

    [Fact]
    public void The_same_model_under_another_spelling_is_no_change()
    {
        Assert.Equal(0, _run.Sft().Code);
        Unfinish();
        var outcome = _run.Sft($"--model_name_or_path={_run.At("model")}", "--output_dir=./out");
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.DoesNotContain("changed since", outcome.Error);
    }

    [Fact]
    [Trait("speed", "slow")]
    public void Keys_that_change_no_step_may_change_and_are_recorded()
    {
        Assert.Equal(0, _run.Sft().Code);
        Unfinish();
        var outcome = _run.Sft("--logging_steps=2", "--save_total_limit=1", "--max_tokens=128");
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.Contains("note: changed since the run was started: logging_steps: 10 → 2", outcome.Error);
        var starts = JsonNode.Parse(_run.Read("out/run.json"))!["starts"]!.AsArray();
        Assert.Equal([0, 4], starts.Select(start => start!["from_step"]!.GetValue<int>()));
        Assert.Equal(["max_tokens", "save_total_limit", "logging_steps"],
            starts[1]!["recipe_changes"]!.AsArray().Select(change => change!["key"]!.GetValue<string>()));
        Assert.Null(starts[1]!["ignore_recipe_changes"]);
    }

    [Fact]
    [Trait("speed", "slow")]
    public void A_run_may_become_longer_where_the_steps_already_taken_stay_what_they_were()
    {
        Assert.Equal(0, _run.Sft("--lr_scheduler_type=constant", "--output_dir=whole", "--max_steps=6").Code);
        Assert.Equal(0, _run.Sft("--lr_scheduler_type=constant").Code);
        var outcome = _run.Sft("--lr_scheduler_type=constant", "--max_steps=6");
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.Contains("max_steps: 4 → 6", outcome.Error);
        Assert.Equal(File.ReadAllBytes(_run.At("whole/model.safetensors")), File.ReadAllBytes(_run.At("out/model.safetensors")));
        _run.Refuses(["--lr_scheduler_type=constant", "--max_steps=5"], "checkpoint-6 stands at step 6, but the recipe ends at step 5");
    }

    [Fact]
    [Trait("speed", "slow")]
    public void A_checkpoint_is_named_by_its_path_or_by_its_name_in_the_run_folder()
    {
        Assert.Equal(0, _run.Sft().Code);
        Unfinish();
        Assert.Equal(0, _run.Handbook.Run("validate", "r.yaml", "--method", "sft", "--resume_from_checkpoint=checkpoint-2").Code);
        foreach (var name in (string[])["checkpoint-2", "out/checkpoint-2"])
        {
            var outcome = _run.Sft($"--resume_from_checkpoint={name}");
            Assert.True(outcome.Code == 0, outcome.Error);
            Assert.Contains("/out/checkpoint-2;", outcome.Error);
        }
        _run.Refuses(["--resume_from_checkpoint=checkpoint-3"], "checkpoint-3 does not exist");
    }

    [Fact]
    [Trait("speed", "slow")]
    public void A_run_whose_learning_rates_depend_on_its_length_does_not_become_longer()
    {
        Assert.Equal(0, _run.Sft().Code);
        var model = File.ReadAllBytes(_run.At("out/model.safetensors"));
        _run.Refuses(["--max_steps=6"], "checkpoint-4 belongs to a run of 4 steps, but the recipe has 6", "lr_scheduler_type linear",
            "step 2 had 1.5e-05, and would have 1.667e-05", "--ignore_recipe_changes=true");
        Assert.Equal(model, File.ReadAllBytes(_run.At("out/model.safetensors")));
        Assert.Equal(0, _run.Sft("--max_steps=6", "--ignore_recipe_changes=true").Code);
    }

    [Fact]
    public void Two_runs_do_not_share_a_folder()
    {
        Assert.Equal(0, _run.Sft().Code);
        using var first = _run.Handbook.Start(["sft", "r.yaml", "--fresh=true", "--max_steps=100000", "--logging_steps=1"]);
        first.BeginErrorReadLine();
        first.BeginOutputReadLine();
        try
        {
            for (var waited = Stopwatch.StartNew(); !File.Exists(_run.At("out/run.lock")); Thread.Sleep(5))
                Assert.True(waited.Elapsed < TimeSpan.FromMinutes(2) && !first.HasExited);
            var second = _run.Sft("--fresh=true");
            Assert.Equal(2, second.Code);
            Assert.Contains($"is in use by another run: process {first.Id} on ", second.Error);
            Assert.Contains("handbook sft r.yaml --fresh=true --max_steps=100000", second.Error);
        }
        finally
        {
            first.Kill();
            first.WaitForExit();
        }
        // A lock dies with its process, whatever is left of the file.
        Assert.True(File.Exists(_run.At("out/run.lock")));
        var after = _run.Sft("--fresh=true");
        Assert.True(after.Code == 0, after.Error);
        Assert.False(File.Exists(_run.At("out/run.lock")));
    }

    // As if the process had been killed between its last checkpoint and its end.
    private void Unfinish()
    {
        var run = JsonNode.Parse(_run.Read("out/run.json"))!.AsObject();
        Assert.True(run.Remove("finished"));
        _run.Write("out/run.json", run.ToJsonString());
    }

    private string[] Contents() =>
        [.. Directory.EnumerateFiles(_run.Handbook.Folder, "*", SearchOption.AllDirectories).Where(file => !file.Contains("handbook-cache"))
        .Order(StringComparer.Ordinal).Select(file =>
            $"{file} {File.GetLastWriteTimeUtc(file).Ticks} {Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(file)))}")];
}
