namespace Handbook.Cli.Tests;

/// <summary>The chapter on adapters, typed from its first line to its last, with little data and few steps.</summary>
public sealed class AdapterGuideTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    [Fact]
    [Trait("speed", "slow")]
    public void Every_command_of_the_chapter_runs()
    {
        GuideChapter.Prepare(_handbook);

        var answers = new Dictionary<string, string>();
        foreach (var line in GuideChapter.Lines("adapters.md"))
        {
            var words = GuideChapter.Words(line);
            var outcome = GuideChapter.Run(_handbook, GuideChapter.Short(words));
            if (words[0] == "generate")
                answers[words[1]] = outcome.Output;
        }
        // "the last two commands say the same"
        Assert.Equal(answers["runs/tiny-sft-lora"], answers["runs/tiny-sft-lora-merged"]);
        Assert.True(File.Exists(Path.Combine(_handbook.Folder, "runs/tiny-dpo-merged/model.safetensors")));
    }

    public void Dispose() => _handbook.Dispose();
}
