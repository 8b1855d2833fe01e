using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Handbook.Recipes;
using Handbook.Testing;

namespace Handbook.Cli.Tests.Recipes;

/// <summary>The README of a folder of recipes: its commands can be typed, no recipe is left out, and its costs are what <c>plan</c>
/// says.</summary>
/// <remarks>With <c>HANDBOOK_WRITE_DOCS=1</c> the costs are written in the place of compared.</remarks>
public sealed partial class RecipeGuidesTests : IDisposable
{
    private static readonly string s_folder = Path.Combine(SharedFiles.Repository, "recipes");

    private readonly HandbookProcess _handbook = new();

    public void Dispose() => _handbook.Dispose();

    /// <summary>Folders of recipes of published models.</summary>
    public static TheoryData<string> Folders() => [.. Directory.GetDirectories(s_folder).Select(folder => Path.GetFileName(folder)!)
        .Where(name => name is not ("tiny" or "accelerate_configs")).Order(StringComparer.Ordinal)];

    [Theory, MemberData(nameof(Folders))]
    public void Every_command_of_a_guide_can_be_typed_and_every_recipe_is_one_of_them(string folder)
    {
        var text = File.ReadAllText(Path.Combine(s_folder, folder, "README.md"));
        var typed = new HashSet<string>();
        foreach (var line in GuideChapter.Commands($"recipes/{folder}/README.md"))
        {
            var words = GuideChapter.Words(line);
            var result = Commands.Root().Parse(words);
            Assert.Equal([], result.Errors.Select(error => error.Message));
            if (Recipe.MethodNamed(words[0]) is not { } method)
                continue;
            Assert.True(Recipe.Load(new(Path.Combine(SharedFiles.Repository, words[1])), words[2..], method).TryGet(out _,
                out var diagnostics),
                diagnostics.ToString());
            typed.Add(words[1]);
        }
        Assert.NotEmpty(typed);
        foreach (var recipe in ListedRecipe.In(Path.Combine(s_folder, folder)))
            Assert.True(typed.Contains($"recipes/{folder}/{recipe.Name}.yaml") || text.Contains(Path.GetFileName(recipe.Path),
                StringComparison.Ordinal)
                || text.Contains($"`{recipe.Name}`", StringComparison.Ordinal), $"{folder}/README.md does not tell of {recipe.Name}");
        foreach (var section in (string[])["## Data", "## Hardware", "## What it costs", "## What to expect"])
            Assert.Contains($"\n{section}\n", text);
        foreach (var set in ListedRecipe.In(Path.Combine(s_folder, folder)).SelectMany(recipe => recipe.Data).Distinct())
            Assert.Contains(set, text);
    }

    [Theory, Trait("speed", "slow"), MemberData(nameof(Folders))]
    public void Every_command_of_a_guide_runs_on_stand_ins(string folder)
    {
        Directory.CreateSymbolicLink(Path.Combine(_handbook.Folder, "recipes"), s_folder);
        var standIns = new StandIns(_handbook);
        foreach (var line in GuideChapter.Commands($"recipes/{folder}/README.md"))
        {
            var words = GuideChapter.Words(line);
            string[] few = [];
            if (Recipe.MethodNamed(words[0]) is { } method)
            {
                Assert.True(Recipe.Load(new(Path.Combine(SharedFiles.Repository, words[1])), words[2..], method).TryGet(out var recipe,
                    out var diagnostics), diagnostics.ToString());
                standIns.Make(recipe!);
                few = [.. StandIns.Short(recipe!)];
            }
            else if (words[0] == "merge")
                few = ["--max-drift", "100"];       // weights that mean nothing round badly
            else if (words[0] == "constitution")
            {
                SmallModel.Make(_handbook, words[1]);
                _handbook.Write("prompts.jsonl", string.Concat(Enumerable.Range(0, 4).Select(i => $"{{\"prompt\": \"Question {i}?\"}}\n")));
                few = ["--max-new-tokens", "8"];
            }
            var outcome = _handbook.Run([.. words, .. few], TimeSpan.FromMinutes(5), standIns.Environment);
            Assert.True(outcome.Code == 0, $"{line} {string.Join(' ', few)}\n{outcome.Error}");
        }
    }

    [Theory, Trait("speed", "slow"), MemberData(nameof(Folders))]
    public void The_costs_of_a_guide_are_those_of_plan(string folder) => RequireCosts(folder);

    [Fact]
    public void The_costs_of_one_guide_are_those_of_plan() => RequireCosts("gpt2-nl");

    private void RequireCosts(string folder)
    {
        var file = Path.Combine(s_folder, folder, "README.md");
        var standIns = new StandIns(_handbook);
        string[] lines = File.ReadAllLines(file);
        var found = 0;
        var from = Array.IndexOf(lines, "## What it costs");
        for (var at = from; at < Array.IndexOf(lines, "## What to expect"); at++)
            if (CostRow().Match(lines[at]) is { Success: true } match && ListedRecipe.In(Path.Combine(s_folder, folder))
                .FirstOrDefault(recipe => recipe.Name == match.Groups[1].Value) is { } recipe)
            {
                found++;
                var row = Cost(recipe, standIns.Shape(recipe.Recipe));
                if (System.Environment.GetEnvironmentVariable("HANDBOOK_WRITE_DOCS") == "1")
                    lines[at] = row;
                else
                    Assert.Equal(row, lines[at]);
            }
        Assert.Equal(ListedRecipe.In(Path.Combine(s_folder, folder)).Count(recipe => !recipe.Recipe.Definition.IsPipeline), found);
        if (System.Environment.GetEnvironmentVariable("HANDBOOK_WRITE_DOCS") == "1")
            File.WriteAllText(file, string.Join('\n', lines) + "\n");
    }

    private string Cost(ListedRecipe recipe, string shape)
    {
        var outcome = _handbook.Run("plan", recipe.Path, "--method", recipe.Recipe.MethodName, "--config", shape, "--world", "1,8",
            "--network", "50GB/s",
            "--row-tokens", "1024", "--json", "plan.json");
        Assert.True(outcome.Code == 0, outcome.Error);
        var plan = JsonNode.Parse(File.ReadAllText(Path.Combine(_handbook.Folder, "plan.json")))!;
        string Memory(int world, int stage)
        {
            var memory = plan["rows"]!.AsArray().First(row => row!["world"]!.GetValue<int>() == world
                && row["zero_stage"]!.GetValue<int>() == stage)!["memory"]!;
            var bytes = ((string[])["frozen", "weights", "gradients", "states"]).Sum(part => memory[part]!.GetValue<double>());
            return string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:N1} GB");
        }
        return string.Create(CultureInfo.InvariantCulture,
            $"| `{recipe.Name}` | {plan["trained_weights"]!.GetValue<long>():N0} | {Memory(1, 0)} | {Memory(8, 3)} |");
    }

    [GeneratedRegex(@"^\| `([a-z]+[a-z-]*/[a-z0-9_.]+)` \|")]
    private static partial Regex CostRow();
}
