using System.CommandLine;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Recipes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>What messages advise to type exists: commands, their options, keys of recipes, scripts.</summary>
public sealed partial class AdviceInSourceTests
{
    /// <summary>Options of other programs that messages name.</summary>
    private static readonly string[] s_others = ["--mime", "--repo-type", "--local-dir", "--key", "--flag", "--no_flag", "--map", "--help", "--cpu-list",
        "--config", "--no", "--no_", "--stage", "--finetuning", "--backend-store-uri", "--type", "--gpu-architecture", "--std", "--fmad", "--pre-include"];

    /// <summary>Keys of other files than recipes that messages advise.</summary>
    private static readonly string[] s_otherKeys = ["data_files", "max_gen_toks"];

    private static readonly Lazy<(string File, string Text)[]> s_texts = new(() =>
        [.. Directory.EnumerateFiles(Path.Combine(SharedFiles.Repository, "src"), "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains("/obj/") && !file.Contains("/bin/")
                && !file.EndsWith("CodeSandbox.cs", StringComparison.Ordinal))
            .SelectMany(file => Literal().Matches(Comment().Replace(File.ReadAllText(file), ""))
                .Select(match => (Path.GetFileName(file), match.Groups[1].Value)))]);

    [Fact]
    public void Commands_that_are_named_exist()
    {
        var commands = Commands.Root().Subcommands.Select(command => command.Name).ToHashSet();
        var named = s_texts.Value.SelectMany(text => NamedCommand().Matches(text.Text)
            .Select(match => (text.File, Name: match.Groups[1].Value))).ToArray();
        Assert.True(named.Length > 20);
        Assert.Equal([], named.Where(command => !commands.Contains(command.Name)).Distinct());
    }

    [Fact]
    public void Options_that_are_named_are_options_or_keys()
    {
        var options = All(Commands.Root()).SelectMany(command => command.Options).SelectMany(option => option.Aliases.Prepend(option.Name))
            .ToHashSet();
        var named = s_texts.Value.SelectMany(text => NamedOption().Matches(text.Text).Select(match => (text.File, Name: match.Value)))
            .ToArray();
        Assert.True(named.Length > 40);
        Assert.Equal([], named.Where(option => !options.Contains(option.Name) && !s_others.Contains(option.Name)
            && !IsKey(option.Name[2..])).Distinct());
    }

    [Fact]
    public void Scripts_that_are_named_exist()
    {
        foreach (var (file, text) in s_texts.Value)
            foreach (Match script in Script().Matches(text))
                Assert.True(File.Exists(Path.Combine(SharedFiles.Repository, script.Value)), $"{file}: {script.Value}");
    }

    [Fact] // "set max_length: 512", "use loss_type: sigmoid" and their like
    public void Keys_that_are_advised_exist()
    {
        var named = s_texts.Value.SelectMany(text => AdvisedKey().Matches(text.Text)
            .Select(match => (text.File, Key: match.Groups[1].Value))).ToArray();
        Assert.True(named.Length > 60);
        Assert.Equal([], named.Where(advice => !IsKey(advice.Key) && !s_otherKeys.Contains(advice.Key)).Distinct());
    }

    private static IEnumerable<Command> All(Command command) => command.Subcommands.SelectMany(All).Prepend(command);

    private static bool IsKey(string name)
    {
        try
        {
            return KeyReference.Explain(name.Split('.')[0]).Length > 0;
        }
        catch (InputException)
        {
            return false;
        }
    }

    [GeneratedRegex("""\$?"((?:[^"\\\r\n]|\\.)*)["]""")]
    private static partial Regex Literal();

    [GeneratedRegex(@"^\s*///?.*$", RegexOptions.Multiline)]
    private static partial Regex Comment();

    [GeneratedRegex(@"(?:`|\brun |\bwith |\buse |: )(?:\./)?handbook ([a-z][a-z-]+)")]
    private static partial Regex NamedCommand();

    [GeneratedRegex(@"(?<![\w-])--[a-z][a-z0-9_-]+")]
    private static partial Regex NamedOption();

    [GeneratedRegex(@"tools/[\w-]+\.sh")]
    private static partial Regex Script();

    [GeneratedRegex(@"\b(?:set|use|add|write|say|with|or) `?([a-z]+(?:_[a-z0-9]+)+): ")]
    private static partial Regex AdvisedKey();
}
