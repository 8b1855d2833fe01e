using System.Text.RegularExpressions;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>What the README tells people to type exists.</summary>
public sealed class ReadmeTests
{
    public static TheoryData<string> Commands()
    {
        var data = new TheoryData<string>();
        foreach (var command in Named().Distinct().Order(StringComparer.Ordinal))
            data.Add(command);
        return data;
    }

    // Words behind ./handbook that name commands; file names, options and values do not look like them.
    private static IEnumerable<string> Named() =>
        Regex.Matches(File.ReadAllText(Path.Combine(SharedFiles.Repository, "README.md")), @"\./handbook((?: [a-z]+(?=[ `\n]))*)")
            .Select(match => match.Groups[1].Value.Trim());

    [Theory, MemberData(nameof(Commands))]
    public void A_command_of_the_README_exists(string command)
    {
        using var handbook = new HandbookProcess();
        var outcome = handbook.Run([.. command.Split(' ', StringSplitOptions.RemoveEmptyEntries), "--help"]);
        Assert.True(outcome.Code == 0, $"handbook {command} --help\n{outcome.Error}");
        Assert.Contains(command.Length == 0 ? "handbook" : $"handbook {command} ", outcome.Output);
    }

    [Fact]
    public void The_first_run_of_the_README_works_as_it_stands()
    {
        var readme = File.ReadAllText(Path.Combine(SharedFiles.Repository, "README.md"));
        var script = Regex.Match(readme, @"## A first run of your own.*?```bash\n(.*?)```", RegexOptions.Singleline).Groups[1].Value;
        Assert.Contains("./handbook sft ", script);
        using var handbook = new HandbookProcess();
        handbook.Write("handbook", $"#!/bin/sh\nexec dotnet exec '{HandbookProcess.ProgramFile}' \"$@\"\n");
        handbook.Write("first.sh", "set -e\nchmod +x handbook\n" + script);
        var outcome = handbook.RunOther("bash", "first.sh");
        Assert.True(outcome.Code == 0, outcome.Output + outcome.Error);
        Assert.True(File.Exists(Path.Combine(handbook.Folder, "runs/mine/model.safetensors")));
    }

    [Fact]
    public void Every_target_of_make_in_the_README_exists()
    {
        var makefile = File.ReadAllText(Path.Combine(SharedFiles.Repository, "Makefile"));
        foreach (Match match in Regex.Matches(File.ReadAllText(Path.Combine(SharedFiles.Repository, "README.md")), @"[`\n]make ([a-z-]+)"))
            Assert.Contains($"\n{match.Groups[1].Value}:", makefile);
    }
}
