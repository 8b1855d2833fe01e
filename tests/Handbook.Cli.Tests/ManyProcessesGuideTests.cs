using System.Text.Json.Nodes;
using Handbook.Launch;

namespace Handbook.Cli.Tests;

/// <summary>The chapter on several processes, typed from its first line to its last, with little data and few steps.</summary>
public sealed class ManyProcessesGuideTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    [Fact]
    [Trait("speed", "slow")]
    public async Task Every_command_of_the_chapter_runs()
    {
        GuideChapter.Prepare(_handbook);

        var said = "";
        string[][] lines = [.. Lines()];
        Assert.Equal(8, lines.Length);
        for (var i = 0; i < lines.Length; i++)
            said += lines[i].Contains("node0:29500") ? await RunTogether(lines[i], lines[++i]) : Run(lines[i]).Error;

        Assert.Contains("2 processes on 1 host", said);
        Assert.Contains("per_device_train_batch_size 2 x gradient_accumulation_steps 1 x 2 processes = 4 rows a step", said);
        Assert.Contains("ZeRO-3: each of 2 processes keeps 1/2 of the optimiser's states, gradients and weights", said);
        // "the same training twice"
        var (one, two) = (Losses("tiny-sft-one"), Losses("tiny-sft-two"));
        Assert.Equal(3, one.Length);
        Assert.All(one.Zip(two), pair => Assert.Equal(pair.First, pair.Second, 1e-4));
        // "the loss and the gradients are the same to rounding"
        Assert.Contains("per_device_train_batch_size 4 x gradient_accumulation_steps 1 x 1 group of 2 processes = 4 rows a step", said);
        Assert.All(one.Zip(Losses("tiny-sft-long")), pair => Assert.Equal(pair.First, pair.Second, 1e-4));
        // "the second line says"
        Assert.Contains("the run began on 2 processes and goes on on 1: its steps keep their rows", said);
        foreach (var run in (string[])["tiny-sft-hosts", "tiny-sft-moved", "tiny-dpo", "tiny-sft-zero"])
            Assert.True(File.Exists(Path.Combine(_handbook.Folder, "runs", run, "model.safetensors")), run);
    }

    public void Dispose() => _handbook.Dispose();

    private static IEnumerable<string[]> Lines() =>
        GuideChapter.Lines("many-processes.md")
            .Select(GuideChapter.Words)
            .Select(words => words.Any(word => word.StartsWith("--max_steps", StringComparison.Ordinal)) ? [.. words, "--logging_steps=1"]
                : (string[])[.. words, "--max_steps=3", "--eval_strategy=no", "--logging_steps=1"]);

    private double[] Losses(string run) =>
        [.. File.ReadLines(Path.Combine(_handbook.Folder, "runs", run, "metrics.jsonl")).Select(line => JsonNode.Parse(line)!["loss"])
            .OfType<JsonNode>().Select(loss => loss.GetValue<double>())];

    private Outcome Run(params string[] words) => GuideChapter.Run(_handbook, words);

    // The two hosts of the chapter are this one.
    private async Task<string> RunTogether(params string[][] hosts)
    {
        var place = $"localhost:{Launcher.FreePort()}";
        var running = Array.ConvertAll(hosts, words => Task.Run(() => Run([.. words.Select(word => word == "node0:29500" ? place : word)])));
        return string.Concat((await Task.WhenAll(running)).Select(outcome => outcome.Error));
    }
}
