using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>The chapter for people who come from Python, typed from its first line to its last, with little data and few steps.</summary>
public sealed class ComingFromPythonGuideTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    [Fact]
    [Trait("speed", "slow")]
    public void Every_command_of_the_chapter_runs()
    {
        GuideChapter.Prepare(_handbook);
        // the demo's second stage, which the examples begin with
        GuideChapter.Run(_handbook, "sft", "recipes/tiny/sft.yaml", "--max_steps=5");

        var said = "";
        foreach (var line in GuideChapter.Lines("coming-from-python.md"))
        {
            var outcome = GuideChapter.Run(_handbook, GuideChapter.Short(GuideChapter.Words(line)));
            said += outcome.Error + outcome.Output;
        }

        Assert.Contains("14 keys of a recipe for handbook dpo; 2 settings have no counterpart", said);
        foreach (var run in (string[])["migrated-trl", "migrated-axolotl", "migrated-llamafactory"])
            Assert.True(Directory.GetFiles(Path.Combine(_handbook.Folder, "runs", run), "*model.safetensors").Length == 1, run);
        Assert.True(File.Exists(Path.Combine(_handbook.Folder, "runs", "migrated", "dpo-schema.json")));
        Assert.Contains("sft/config_qlora", said);
    }

    public void Dispose() => _handbook.Dispose();
}
