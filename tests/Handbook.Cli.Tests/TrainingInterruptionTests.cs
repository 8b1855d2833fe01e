using System.Diagnostics;

namespace Handbook.Cli.Tests;

/// <summary>The real program, killed and interrupted: started again with the same command it ends where it would have ended anyway.</summary>
public sealed class TrainingInterruptionTests
{
    [Fact]
    public void A_run_killed_three_times_ends_as_if_it_had_not_been() => Kill(3, seed: 1);

    [Fact, Trait("speed", "slow")]
    public void A_run_killed_twenty_times_ends_as_if_it_had_not_been() => Kill(20, seed: 2);

    private static void Kill(int kills, int seed)
    {
        using var folder = new TrainingFolder($"max_steps: {kills * 12}\nsave_steps: 2\nsave_total_limit: 2\neval_strategy: steps\neval_steps: 4\nneftune_noise_alpha: 5");
        folder.Finish("--output_dir=whole");
        var random = new Random(seed);
        for (var killed = 0; killed < kills; killed++)
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

    [Theory]
    [InlineData("INT"), InlineData("TERM")]
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

    private static void WaitForLines(TrainingFolder folder, Process process, string run, int lines)
    {
        for (var waited = Stopwatch.StartNew(); folder.Lines(run) < lines && !process.HasExited; Thread.Sleep(2))
            Assert.True(waited.Elapsed < TimeSpan.FromMinutes(2), $"no {lines} lines in {waited.Elapsed}");
    }
}
