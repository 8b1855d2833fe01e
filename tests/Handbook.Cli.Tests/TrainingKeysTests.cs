namespace Handbook.Cli.Tests;

/// <summary>When a run saves, evaluates and ends, as its recipe says.</summary>
public sealed class TrainingKeysTests
{
    [Fact]
    public void The_best_checkpoint_is_kept_and_taken_at_the_end()
    {
        // The rate rises without end, so that the last weights are far from the best ones.
        using var folder = new TrainingFolder("max_steps: 24\nwarmup_steps: 24\nmax_grad_norm: 0\neval_strategy: steps\neval_steps: "
            + "4\nsave_steps: 4\nsave_total_limit: 1\nload_best_model_at_end: true");
        folder.Finish("--output_dir=run", "--learning_rate=3.0");
        var best = folder.State("run")["best_global_step"]!.GetValue<int>();
        Assert.InRange(best, 4, 20);
        Assert.Equal([$"checkpoint-{best}", "checkpoint-24"], folder.Checkpoints("run"));
        Assert.Equal(folder.Weights("run", $"checkpoint-{best}"), folder.Weights("run"));
        Assert.NotEqual(folder.Weights("run", "checkpoint-24"), folder.Weights("run"));
    }

    [Fact]
    public void Epochs_decide_where_no_number_of_steps_is_given()
    {
        // 60 rows in steps of 4: 15 steps an epoch
        using var folder = new TrainingFolder("num_train_epochs: 2\nsave_strategy: epoch\neval_strategy: epoch\nlogging_strategy: epoch");
        folder.Finish("--output_dir=run");
        Assert.Equal(["checkpoint-15", "checkpoint-30"], folder.Checkpoints("run"));
        var curve = folder.Curve("run");
        Assert.Equal(2, curve.Length);
        Assert.All(curve, line => Assert.Contains("eval_loss", line));
        Assert.StartsWith("{\"step\":30,\"epoch\":2,", curve[1].Replace("2.0", "2"));
        Assert.True(File.Exists(folder["run", "eval_results.json"]));
    }

    [Fact]
    public void Only_better_models_are_saved_with_save_strategy_best_and_fresh_begins_anew()
    {
        using var folder = new TrainingFolder("max_steps: 12\nsave_strategy: best\neval_strategy: steps\neval_steps: 3");
        folder.Finish("--output_dir=run");
        var curve = folder.Curve("run");
        var best = folder.State("run")["best_global_step"]!.GetValue<int>();
        Assert.Contains($"checkpoint-{best}", folder.Checkpoints("run"));
        folder.Finish("--output_dir=run", "--fresh=true");
        Assert.Equal(curve, folder.Curve("run"));
        Assert.Equal(12, curve.Length);
    }

    [Fact]
    public void The_older_dialect_packs_and_trains()
    {
        using var folder = new TrainingFolder("max_steps: 8\nmax_seq_length: 32\neval_strategy: steps\neval_steps: 4",
            "dataset_mixer:\n  rows: 1.0\ndataset_splits:\n- train\n- test");
        var outcome = folder.Finish("--output_dir=run");
        Assert.Equal(8, folder.Curve("run").Length);
        Assert.Contains("eval_loss", outcome.Output);
    }
}
