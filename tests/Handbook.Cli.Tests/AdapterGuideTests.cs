using System.CommandLine.Parsing;
using System.Text.RegularExpressions;
using Handbook.Recipes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>The chapter on adapters, typed from its first line to its last, with little data and few steps.</summary>
public sealed class AdapterGuideTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    [Fact]
    [Trait("speed", "slow")]
    public void Every_command_of_the_chapter_runs()
    {
        var recipes = Path.Combine(SharedFiles.Repository, "recipes", "tiny");
        Run("demo-data", "--output", "data/tiny", "--scale", "0.05");
        Run("tokenizer", "train", "data/tiny/text/train.jsonl", "data/tiny/sft/train.jsonl", "--vocab-size", "600", "--eos-token",
            "<|endoftext|>", "--special-token", "<|im_start|>", "--special-token", "<|im_end|>", "--chat-template",
            Path.Combine(recipes, "chat.jinja"), "--output", "data/tiny/tokenizer");
        Run("init", "--config", Path.Combine(recipes, "config.json"), "--tokenizer", "data/tiny/tokenizer", "--output", "runs/tiny-cpt");
        Directory.CreateSymbolicLink(Path.Combine(_handbook.Folder, "recipes"), Path.Combine(SharedFiles.Repository, "recipes"));

        var answers = new Dictionary<string, string>();
        foreach (var line in Lines())
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

    private static IEnumerable<string> Lines() =>
        Regex.Matches(File.ReadAllText(Path.Combine(SharedFiles.Repository, "docs", "guide", "adapters.md")), @"^```bash\n(.*?)^```",
            RegexOptions.Singleline | RegexOptions.Multiline)
            .SelectMany(block => block.Groups[1].Value.Split('\n', StringSplitOptions.RemoveEmptyEntries));

    private Outcome Run(params string[] words)
    {
        var outcome = _handbook.Run(words);
        Assert.True(outcome.Code == 0, $"handbook {string.Join(' ', words)}\n{outcome.Error}");
        return outcome;
    }
}
