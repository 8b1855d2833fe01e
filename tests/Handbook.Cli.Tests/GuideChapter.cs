using System.CommandLine.Parsing;
using Handbook.Testing;
using Handbook.Training.Methods;

namespace Handbook.Cli.Tests;

/// <summary>A document whose commands a test types, as they stand or with few steps and little data.</summary>
internal static class GuideChapter
{
    /// <summary>Every document of the repository that tells people what to type, by its path.</summary>
    public static IEnumerable<string> Documents() =>
        ((string[])["docs", "recipes"]).SelectMany(folder => Directory.EnumerateFiles(Path.Combine(SharedFiles.Repository, folder), "*.md",
            SearchOption.AllDirectories)).Append(Path.Combine(SharedFiles.Repository, "README.md"))
            .Select(file => Path.GetRelativePath(SharedFiles.Repository, file)).Where(file => Commands(file).Any()).Order(StringComparer.Ordinal);

    /// <summary>The command lines of a chapter of the guide, without remarks, long ones joined.</summary>
    public static IEnumerable<string> Lines(string chapter) => Commands(Path.Combine("docs", "guide", chapter));

    /// <summary>The files that a document shows, by name: its blocks that are opened with a language and a file's name.</summary>
    public static IEnumerable<(string Name, string Text)> Files(string path)
    {
        var lines = File.ReadAllLines(Path.Combine(SharedFiles.Repository, path));
        for (var i = 0; i < lines.Length; i++)
            if (lines[i].StartsWith("```", StringComparison.Ordinal) && lines[i][3..].Split(' ') is [_, var name])
                yield return (name, string.Join('\n', lines.Skip(i + 1).TakeWhile(line => line != "```")) + "\n");
    }

    /// <summary>The command lines in the blocks of a document.</summary>
    /// <param name="path">The document, from the repository's folder.</param>
    public static IEnumerable<string> Commands(string path)
    {
        string? fence = null;       // the words behind the mark that opened a block
        var line = "";
        foreach (var part in File.ReadLines(Path.Combine(SharedFiles.Repository, path)))
        {
            if (part.StartsWith("```", StringComparison.Ordinal))
                fence = fence is null ? part[3..].Trim() : null;
            else if (fence is "" or "bash")
            {
                line += part.TrimEnd('\\').Trim();
                if (part.EndsWith('\\'))
                {
                    line += " ";
                    continue;
                }
                if (line.StartsWith("./handbook ", StringComparison.Ordinal))
                    yield return line.Split(" #")[0].Trim();
                line = "";
            }
        }
    }

    /// <summary>The words behind <c>./handbook</c>.</summary>
    public static string[] Words(string line) =>
        [.. CommandLineParser.SplitCommandLine(line["./handbook ".Length..]).Select(word => word.Trim('\''))];

    /// <summary>A command, and what makes it short: few steps, few prompts, few tokens.</summary>
    public static string[] Short(string[] words) => [.. words, .. words[0] switch
    {
        "generate" => (string[])["--max-new-tokens", "12"],
        "chat" => ["--max-new-tokens", "12"],
        "evaluate" when !words.Contains("--list") => ["--limit", "4"],
        "mt-bench" or "alpaca-eval" when !words.Contains("--annotations") => ["--max-new-tokens", "12", "--judge-max-tokens", "12"],
        "demo-data" => ["--scale", "0.05"],
        var name when MethodDefinition.All.FirstOrDefault(method => method.Name == name) is { } method =>
            (string[])[.. ShortRun.Keys(method, 3), .. method.IsPipeline ? Array.Empty<string>() : ["--eval_strategy=no"]],
        _ => [],
    }];

    /// <summary>Gives a folder what the demo leaves behind: little data, a tokenizer, a new model, and the repository's recipes and shapes of
    /// models.</summary>
    public static void Prepare(HandbookProcess handbook)
    {
        var recipes = Path.Combine(SharedFiles.Repository, "recipes", "tiny");
        Run(handbook, "demo-data", "--output", "data/tiny", "--scale", "0.05");
        Run(handbook, "tokenizer", "train", "data/tiny/text/train.jsonl", "data/tiny/sft/train.jsonl", "--vocab-size", "600", "--eos-token",
            "<|endoftext|>", "--special-token", "<|im_start|>", "--special-token", "<|im_end|>", "--chat-template",
            Path.Combine(recipes, "chat.jinja"), "--output", "data/tiny/tokenizer");
        Run(handbook, "init", "--config", Path.Combine(recipes, "config.json"), "--tokenizer", "data/tiny/tokenizer", "--output",
            "runs/tiny-cpt");
        foreach (var folder in (string[])["docs", "recipes"])
            Directory.CreateSymbolicLink(Path.Combine(handbook.Folder, folder), Path.Combine(SharedFiles.Repository, folder));
    }

    /// <summary>Runs a command that has to succeed.</summary>
    public static Outcome Run(HandbookProcess handbook, params string[] words)
    {
        var outcome = handbook.Run(words);
        Assert.True(outcome.Code == 0, $"handbook {string.Join(' ', words)}\n{outcome.Error}");
        return outcome;
    }
}
