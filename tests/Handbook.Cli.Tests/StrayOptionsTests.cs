using System.CommandLine;
using Handbook.Base;

namespace Handbook.Cli.Tests;

/// <summary>A mistyped option is told by its name; it becomes neither a file nor the value of another option.</summary>
public sealed class StrayOptionsTests
{
    [Theory]
    [InlineData("verify --nope", "--nope is no option of `handbook verify`", "`handbook verify --help` lists them")]
    [InlineData("data inspect rows.jsonl --htlm p.html", "--htlm is no option of `handbook data inspect`", "did you mean --html? ")]
    // the values of --against are several words
    [InlineData("data decontaminate rows.jsonl --against human-eval --reprot r.jsonl",
        "--reprot is no option of `handbook data decontaminate`", "did you mean --report? ")]
    [InlineData("quantize m --tto=nf4 --output q", "--tto is no option of `handbook quantize`", "did you mean --to? ")]
    [InlineData("merge a --output m --rnak 8", "--rnak is no option of `handbook merge`", "did you mean --rank? ")]
    [InlineData("download o/m --local_dir x", "--local_dir is no option of `handbook download`", "did you mean --local-dir? ")]
    public void It_is_refused_by_its_name(string words, string what, string fix)
    {
        var problem = Find(words.Split(' '));
        Assert.Equal(what, problem?.What);
        Assert.StartsWith(fix, problem?.Fix);
    }

    [Theory]
    [InlineData("generate", "m", "--what is this?")]
    [InlineData("generate", "m", "--", "--prompt-of-mine")]
    [InlineData("generate", "m", "--system=--nope", "hello")]
    [InlineData("sft", "r.yaml", "--learning_rate=1e-4", "--nonsense")]     // the recipe's reader judges these
    [InlineData("plan", "r.yaml", "--device", "h100-80g", "--max_steps", "3")]
    [InlineData("launch", "--num_processes", "2", "sft", "r.yaml", "--max_steps=3")]
    [InlineData("explain", "--learning-rate")]
    [InlineData("verify", "--help")]
    public void What_is_meant_as_it_stands_is_left_alone(params string[] words) => Assert.Null(Find(words));

    [Fact]
    public void Every_command_that_writes_takes_both_spellings()
    {
        Command[] all = [.. Below(Commands.Root())];
        Assert.All(all.SelectMany(command => command.Options), option =>
        {
            string[] names = [option.Name, .. option.Aliases];
            Assert.Equal(names.Contains("--out"), names.Contains("--output"));
        });
        Assert.Contains(all.Single(command => command.Name == "migrate").Options, option => option.Aliases.Contains("--output"));

        static IEnumerable<Command> Below(Command command) => command.Subcommands.SelectMany(Below).Prepend(command);
    }

    private static InputException? Find(string[] words) => StrayOptions.Find(Commands.Root().Parse(words), words);
}
