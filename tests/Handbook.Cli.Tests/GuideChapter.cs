using System.Text.RegularExpressions;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>A chapter of the guide whose commands a test types.</summary>
internal static class GuideChapter
{
    /// <summary>The lines of its blocks of commands.</summary>
    public static IEnumerable<string> Lines(string file) =>
        Regex.Matches(File.ReadAllText(Path.Combine(SharedFiles.Repository, "docs", "guide", file)), @"^```bash\n(.*?)^```",
            RegexOptions.Singleline | RegexOptions.Multiline)
            .SelectMany(block => block.Groups[1].Value.Split('\n', StringSplitOptions.RemoveEmptyEntries));

    /// <summary>Gives a folder what the demo leaves behind: little data, a tokenizer, a new model, and the recipes.</summary>
    public static void Prepare(HandbookProcess handbook)
    {
        var recipes = Path.Combine(SharedFiles.Repository, "recipes", "tiny");
        Run(handbook, "demo-data", "--output", "data/tiny", "--scale", "0.05");
        Run(handbook, "tokenizer", "train", "data/tiny/text/train.jsonl", "data/tiny/sft/train.jsonl", "--vocab-size", "600", "--eos-token",
            "<|endoftext|>", "--special-token", "<|im_start|>", "--special-token", "<|im_end|>", "--chat-template",
            Path.Combine(recipes, "chat.jinja"), "--output", "data/tiny/tokenizer");
        Run(handbook, "init", "--config", Path.Combine(recipes, "config.json"), "--tokenizer", "data/tiny/tokenizer", "--output",
            "runs/tiny-cpt");
        Directory.CreateSymbolicLink(Path.Combine(handbook.Folder, "recipes"), Path.Combine(SharedFiles.Repository, "recipes"));
    }

    /// <summary>Runs a command that has to succeed.</summary>
    public static Outcome Run(HandbookProcess handbook, params string[] words)
    {
        var outcome = handbook.Run(words);
        Assert.True(outcome.Code == 0, $"handbook {string.Join(' ', words)}\n{outcome.Error}");
        return outcome;
    }
}
