using System.Diagnostics;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>The real program, killed and interrupted: started again with the same command it ends where it would have ended
/// anyway.</summary>
public sealed class TrainingInterruptionTests
{
    [Fact] // KillCampaignTests kills more often, and every method
    [Trait("speed", "slow")]
    public void A_run_killed_three_times_ends_as_if_it_had_not_been()
    {
        const int Kills = 3;
        using var folder = new TrainingFolder($"max_steps: {Kills * 12}\nsave_steps: 2\nsave_total_limit: 2\neval_strategy: "
            + "steps\neval_steps: 4\nneftune_noise_alpha: 5");
        folder.Finish("--output_dir=whole");
        var random = new Random(1);
        for (var killed = 0; killed < Kills; killed++)
        {
            using var process = folder.Start("--output_dir=cut");
            if (random.Next(4) == 0)
                Thread.Sleep(random.Next(1500));        // anywhere: while it starts, reads, tokenises, trains
            else
                WaitForLines(folder, process, "cut", folder.Lines("cut") + random.Next(1, 14));
            Thread.Sleep(random.Next(20));              // anywhere within a step: computing, logging, saving
            process.Kill();
            process.WaitForExit();
        }
        folder.Finish("--output_dir=cut");
        Assert.Equal(folder.Curve("whole"), folder.Curve("cut"));
        Assert.Equal(folder.Weights("whole"), folder.Weights("cut"));
        Assert.Empty(Directory.GetDirectories(folder["cut"], ".*"));
    }

    [Fact]
    public void The_usual_signal_saves_a_checkpoint() => A_signal_saves_a_checkpoint_and_exits_with_130("TERM");

    [Theory, Trait("speed", "slow")]
    [InlineData("INT"), InlineData("USR1")]
    public void A_signal_saves_a_checkpoint_and_exits_with_130(string signal)
    {
        using var folder = new TrainingFolder("max_steps: 300\nsave_strategy: \"no\"");
        folder.Finish("--output_dir=whole", "--logging_steps=3");
        using (var process = folder.Start("--output_dir=cut", "--logging_steps=3"))
        {
            WaitForLines(folder, process, "cut", 2);
            Process.Start("kill", [$"-{signal}", process.Id.ToString()]).WaitForExit();
            Assert.True(process.WaitForExit(TimeSpan.FromMinutes(2)));
            Assert.Equal(130, process.ExitCode);
        }
        Assert.Single(folder.Checkpoints("cut"));
        Assert.False(File.Exists(folder["cut", "model.safetensors"]));
        var outcome = folder.Finish("--output_dir=cut", "--logging_steps=3");
        Assert.Contains("going on from", outcome.Error);
        Assert.Equal(folder.Curve("whole"), folder.Curve("cut"));
        Assert.Equal(folder.Weights("whole"), folder.Weights("cut"));
    }

    [Theory] // the saved tokenizer names a padding token, which stands in these texts and which the model's config does not name
    [InlineData("sft", "--pad_token=<|im_start|>")]
    [InlineData("reward", "--learning_rate=3e-3")]
    [Trait("speed", "slow")]
    public void A_run_that_goes_on_learns_the_padding_token_as_it_did_before(string method, string key)
    {
        using var handbook = new HandbookProcess();
        SmallModel.Make(handbook);
        const string question = """{"role": "user", "content": "one two"}""", good = """{"role": "assistant", "content": "the sun"}""",
            bad = """{"role": "assistant", "content": "the moon"}""";
        handbook.Write("rows/train.jsonl",
            string.Concat(Enumerable.Repeat(method == "sft" ? $$"""{"messages": [{{question}}, {{good}}]}""" + "\n"
            : $$"""{"prompt": [{{question}}], "chosen": [{{good}}], "rejected": [{{bad}}]}""" + "\n", 8)));
        handbook.Write("recipe.yaml", "model_name_or_path: model\ndataset_name: rows\nlearning_rate: 0.01\nmax_steps: 6\nsave_steps: "
            + "3\nlogging_steps: 1\nper_device_train_batch_size: 2\n");
        SmallModel.Succeed(handbook.Run(method, "recipe.yaml", key, "--output_dir=whole"));
        SmallModel.Succeed(handbook.RunOther("sh", "-c",
            "mkdir cut && cp -r whole/checkpoint-3 whole/run.json whole/recipe.yaml whole/metrics.jsonl cut && sed -i "
            + "'s/\"finished\"/\"ended\"/' cut/run.json"));

        Assert.Contains("going on from", SmallModel.Succeed(handbook.Run(method, "recipe.yaml", key, "--output_dir=cut")).Error);

        string[] Curve(string run) => [.. LogLines.Timeless(Path.Combine(handbook.Folder, run)).Select(entry => entry.ToJsonString())];
        Assert.Equal(Curve("whole"), Curve("cut"));
        Assert.Equal(File.ReadAllBytes(Path.Combine(handbook.Folder, "whole", "model.safetensors")),
            File.ReadAllBytes(Path.Combine(handbook.Folder, "cut", "model.safetensors")));
    }

    private static void WaitForLines(TrainingFolder folder, Process process, string run, int lines)
    {
        for (var waited = Stopwatch.StartNew(); folder.Lines(run) < lines && !process.HasExited; Thread.Sleep(2))
            Assert.True(waited.Elapsed < TimeSpan.FromMinutes(2), $"no {lines} lines in {waited.Elapsed}");
    }
}
