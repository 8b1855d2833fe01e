using System.CommandLine.Parsing;
using System.Text.RegularExpressions;
using Handbook.Recipes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>What the guide tells people to type can be typed: commands, options, recipes, keys.</summary>
public sealed class GuideTests
{
    private static readonly string s_folder = Path.Combine(SharedFiles.Repository, "docs", "guide");

    public static TheoryData<string, string> Lines()
    {
        var data = new TheoryData<string, string>();
        foreach (var file in Directory.EnumerateFiles(s_folder, "*.md").Order(StringComparer.Ordinal))
            foreach (var line in GuideChapter.Lines(Path.GetFileName(file)))
                data.Add(Path.GetFileName(file), line);
        return data;
    }

    [Theory, MemberData(nameof(Lines))]
    public void A_command_line_of_the_guide_parses(string chapter, string line)
    {
        var words = GuideChapter.Words(line);
        var result = Commands.Root().Parse(words);
        Assert.True(result.CommandResult.Command.Parents.Any(), $"{chapter}: there is no handbook {words[0]}");
        Assert.Equal([], result.Errors.Select(error => $"{chapter}: {error.Message}"));
        if (words[0] == "launch")
            words = LaunchCommand.Split(result.CommandResult.Command, words[1..], note => Assert.Fail($"{chapter}: {note}")).Started;
        // the YAML of an evaluation is a task, which the chapter itself holds
        if (words[0] == "evaluate" || Array.Find(words, word => word.EndsWith(".yaml", StringComparison.Ordinal)) is not { } path)
            return;
        var file = new FileInfo(Path.Combine(SharedFiles.Repository, path));
        var method = Recipe.MethodNamed(words[0]);
        string[] keys = method is null ? [] : [.. words.Skip(1).Where(word => word != path)];
        Assert.True(Recipe.Load(file, keys, method ?? Recipe.GuessMethod(file)).TryGet(out _, out var diagnostics),
            $"{chapter}: {line}\n{diagnostics}");
    }

    [Fact]
    public void Every_chapter_has_something_to_run_and_stands_in_the_index()
    {
        var index = File.ReadAllText(Path.Combine(s_folder, "README.md"));
        foreach (var file in Directory.EnumerateFiles(s_folder, "*.md")
            .Where(file => !file.EndsWith("README.md", StringComparison.Ordinal)))
        {
            Assert.Contains("```bash\n./handbook ", File.ReadAllText(file));
            Assert.Contains($"]({Path.GetFileName(file)})", index);
        }
    }

    [Fact]
    public void Every_link_of_the_guide_leads_somewhere()
    {
        foreach (var file in Directory.EnumerateFiles(s_folder, "*.md"))
            foreach (Match link in Regex.Matches(File.ReadAllText(file), @"\]\(([^)#]+)\)"))
                Assert.True(link.Groups[1].Value.Contains("://", StringComparison.Ordinal)
                    || File.Exists(Path.Combine(s_folder, link.Groups[1].Value)), $"{Path.GetFileName(file)}: {link.Groups[1].Value}");
    }
}
