using System.CommandLine.Parsing;
using System.Text.Json.Nodes;

namespace Handbook.Cli.Tests;

/// <summary>The chapter on what a run leaves behind, typed from its first line to its last, with little data and few steps.</summary>
public sealed class RunsGuideTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    [Fact]
    [Trait("speed", "slow")]
    public void Every_command_of_the_chapter_runs()
    {
        GuideChapter.Prepare(_handbook);

        var said = new List<Outcome>();
        foreach (var line in GuideChapter.Lines("runs.md"))
        {
            string[] words = [.. CommandLineParser.SplitCommandLine(line["./handbook ".Length..])];
            var outcome = GuideChapter.Run(_handbook, words[0] == "sft" ? [.. words, "--max_steps=6"] : words);
            if (line.Contains("tiny-told", StringComparison.Ordinal))       // the others have tests of their own
                said.Add(outcome);
        }

        Assert.Equal(5, said.Count);
        Assert.Contains("upload the run to Weights & Biases: wandb sync wandb/offline-run-", said[0].Error);
        foreach (var report in (string[])["wandb", "mlruns", "runs/tiny-told/runs"])
            Assert.NotEmpty(Directory.GetFiles(Path.Combine(_handbook.Folder, report), "*", SearchOption.AllDirectories));
        Assert.Matches(@"(?m)^rows +rows as drawn +same$", said[1].Output);
        Assert.True(JsonNode.Parse(said[2].Output)!["whole"]!.GetValue<bool>());
        Assert.Contains("3 steps: the same bits in every number", said[3].Output);
        Assert.Contains("6 steps: the same bits in every number; the weights have the same bits", said[4].Output);
        Assert.True(File.Exists(Path.Combine(_handbook.Folder, "runs", "tiny-told-reproduced", "reproduction.svg")));
    }

    public void Dispose() => _handbook.Dispose();
}
