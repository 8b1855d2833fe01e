using System.CommandLine.Parsing;
using Handbook.Recipes;

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
            string[] words = [.. CommandLineParser.SplitCommandLine(line["./handbook ".Length..])];
            string[] fewer = Recipe.MethodNamed(words[0]) is null ? ["--max-new-tokens", "12"] : ["--max_steps=3", "--eval_strategy=no"];
            var outcome = Run([.. words, .. words[0] is "merge" or "quantize" ? [] : fewer]);
            if (words[0] == "generate")
                answers[words[1]] = outcome.Output;
        }
        // "the last two commands say the same"
        Assert.Equal(answers["runs/tiny-sft-lora"], answers["runs/tiny-sft-lora-merged"]);
        Assert.True(File.Exists(Path.Combine(_handbook.Folder, "runs/tiny-dpo-merged/model.safetensors")));
    }

    public void Dispose() => _handbook.Dispose();

    private Outcome Run(params string[] words) => GuideChapter.Run(_handbook, words);
}
