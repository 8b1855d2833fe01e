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

    [Theory]
    [InlineData("plan r.yaml --wrld 8", "did you mean --world?")]
    [InlineData("plan r.yaml --netwrok=50GB/s", "did you mean --network?")]
    [InlineData("inspect r.yaml --toknes 8", "did you mean --tokens?")]
    [InlineData("plan r.yaml --lerning_rate 1e-4", null)]           // nearer to a key: the recipe's reader judges it
    [InlineData("plan r.yaml --max_length=8", null)]
    public void Beside_keys_an_option_of_the_command_is_meant_where_it_is_nearer(string words, string? fix)
    {
        var result = Commands.Root().Parse(words.Split(' '));
        string[] own = [.. result.CommandResult.Command.Options.Select(option => option.Name)];
        if (fix is null)
            Assert.Equal("r.yaml", RecipeWords.Of(result, own).File.Name);
        else
            Assert.Equal(fix, Assert.Throws<InputException>(() => RecipeWords.Of(result, own)).Fix);
    }

    [Theory]
    [InlineData("schema --out DIR", "--out DIR is a folder, and a file is wanted", "name a file, e.g. --out DIR/out.txt")]
    [InlineData("migrate run.sh --output DIR", "--output DIR is a folder", "--output DIR/output.txt")]
    [InlineData("data inspect rows.jsonl --html DIR", "--html DIR is a folder", "--html DIR/html.html")]
    [InlineData("data decontaminate rows.jsonl --against human-eval --output DIR", "--output DIR is a folder", "--output DIR/output.jsonl")]
    [InlineData("plan r.yaml --json DIR", "--json DIR is a folder", "--json DIR/json.txt")]
    [InlineData("login --token-file DIR", "--token-file DIR is a folder", "--token-file DIR/token-file.txt")]
    [InlineData("evaluate m --task gsm8k --output DIR", null, null)]         // this one is a folder
    public void A_folder_in_the_place_of_a_file_is_refused_by_every_command(string words, string? what, string? fix)
    {
        var folder = Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory);
        var problem = OutputFile.Folder(Commands.Root().Parse(words.Split(' ').Select(word => word == "DIR" ? folder : word).ToArray()));
        Assert.Equal(what is null, problem is null);
        Assert.StartsWith(what?.Replace("DIR", folder) ?? "", problem?.What ?? "");
        Assert.EndsWith(fix?.Replace("DIR", folder) ?? "", problem?.Fix ?? "");
    }

    private static InputException? Find(string[] words) => StrayOptions.Find(Commands.Root().Parse(words), words);
}
