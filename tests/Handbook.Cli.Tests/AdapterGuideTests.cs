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

        var notes = new Dictionary<string, string>();
        foreach (var line in Lines())
        {
            string[] words = [.. CommandLineParser.SplitCommandLine(line["./handbook ".Length..])];
            string[] fewer = Recipe.MethodNamed(words[0]) is null ? ["--max-new-tokens", "12"] : ["--max_steps=3", "--eval_strategy=no"];
            var outcome = Run([.. words, .. words[0] is "merge" or "quantize" ? [] : fewer]);
            if (words[0] == "generate")
                notes[words[1]] = outcome.Error;
        }
        Assert.Equal(["runs/tiny-dpo-merged", "runs/tiny-dpo-qlora"], notes.Keys.Order(StringComparer.Ordinal));
        // "… is used over the weights before they were quantised, and says so in a note."
        Assert.Contains("note: trained over weights kept as nf4, and used over them kept as numbers: ", notes["runs/tiny-dpo-qlora"]);
        Assert.DoesNotContain("note: ", notes["runs/tiny-dpo-merged"]);
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
