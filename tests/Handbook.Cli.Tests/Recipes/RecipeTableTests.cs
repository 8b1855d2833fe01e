using System.Globalization;
using System.Text.Json.Nodes;
using Handbook.Base.Keys;
using Handbook.Recipes;
using Handbook.Testing;

namespace Handbook.Cli.Tests.Recipes;

/// <summary>Every recipe, ours and those of the Python handbook, with the real commands: it parses, plans, trains a stand-in of its
/// model on stand-ins
/// of its data, and leaves the files and the card that it should. <c>docs/recipes.md</c> has a row for each, which these tests hold to
/// what they saw.</summary>
/// <remarks>The Python handbook's files run as they are; what is changed on the command line is the number of steps, and where a recipe
/// holds out more
/// rows than a stand-in has, that number. With <c>HANDBOOK_WRITE_DOCS=1</c> the rows are written in the place of compared.</remarks>
public sealed class RecipeTableTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    public void Dispose() => _handbook.Dispose();

    /// <summary>Folders of recipes whose stages follow on one another.</summary>
    public static TheoryData<string> Folders() => [.. RecipeTable.Names.Select(RecipeTable.Folder).Distinct()];

    [Theory, Trait("speed", "slow"), MemberData(nameof(Folders))]
    public void A_folder_of_recipes_trains_stage_after_stage(string folder) => RequireRows(folder);

    [Fact] // orpo, experts, older keys
    public void One_folder_of_recipes_trains() => RequireRows("a/zephyr-141b-A35b");

    [Fact]
    public void Every_recipe_has_a_row_without_an_empty_cell()
    {
        var rows = RecipeTable.Rows();
        Assert.Equal(RecipeTable.Names.Order(StringComparer.Ordinal), rows.Keys.Order(StringComparer.Ordinal));
        Assert.All(rows, row => Assert.All(row.Value.Trim('|', ' ').Split('|'), cell => Assert.NotEqual("", cell.Trim())));
    }

    [Fact]
    public void The_list_of_our_recipes_is_what_the_command_writes() => Assert.Contains(
        RecipesReport.Markdown(ListedRecipe.In(Path.Combine(SharedFiles.Repository, "recipes"))), RecipeTable.Text);

    private void RequireRows(string folder)
    {
        var standIns = new StandIns(_handbook);
        var names = RecipeTable.Names.Where(name => RecipeTable.Folder(name) == folder).OrderBy(Stage).ToArray();
        Assert.NotEmpty(names);
        foreach (var name in names)
        {
            var row = Row(name, standIns);
            if (System.Environment.GetEnvironmentVariable("HANDBOOK_WRITE_DOCS") == "1")
                RecipeTable.Write(name, row);
            else
                Assert.Equal(row, RecipeTable.Rows()[name]);
        }
    }

    // what one stage writes, the next begins with
    private static int Stage(string name) => Recipe.MethodNames.ToList() is var methods && RecipeTable.Load(name).MethodName is var method
        ? method switch { "cpt" => -3, "sft" => -2, "reward" => -1, _ => methods.IndexOf(method) } : 0;

    private string Row(string name, StandIns standIns)
    {
        var (path, recipe) = (RecipeTable.PathOf(name), RecipeTable.Load(name));
        var shown = RecipeNames.Of(recipe.Method);

        var parsed = _handbook.Run("validate", path, "--keys-only", "--method", shown);
        Assert.True(parsed.Code == 0, parsed.Error);

        standIns.Make(recipe);
        var planned = Planned(recipe, path, shown, standIns.Shape(recipe));
        string[] words = [shown, path, .. StandIns.Short(recipe)];
        var run = _handbook.Run(words, TimeSpan.FromMinutes(5), standIns.Environment);
        Assert.True(run.Code == 0, $"handbook {string.Join(' ', words)}\n{run.Error}");

        var folder = Path.Combine(_handbook.Folder, recipe.Training.OutputDir);
        return $"| `{name}` | {shown} | {recipe.Sources.Count(source => source.Value == Training.Plans.KeySource.File) + recipe.WithoutEffect.Count} keys "
            + $"| {planned} | {Steps(folder, recipe)} | {Card(folder, recipe)} | {Files(folder, recipe)} |";
    }

    private string Planned(Recipe recipe, string path, string method, string shape)
    {
        var outcome = _handbook.Run("plan", path, "--method", method, "--config", shape, "--world", "8",
            "--network", "50GB/s", "--row-tokens", "1024", "--json", "plan.json");
        Assert.True(outcome.Code == 0, outcome.Error);
        if (recipe.Definition.IsPipeline)
        {
            Assert.Contains("this is the plan of its training", outcome.Error);
            return "as its training stage";
        }
        var weights = JsonNode.Parse(File.ReadAllText(Path.Combine(_handbook.Folder, "plan.json")))!["trained_weights"]!.GetValue<long>();
        return string.Create(CultureInfo.InvariantCulture, $"{weights:N0} weights trained");
    }

    private static string Steps(string folder, Recipe recipe)
    {
        if (recipe.Definition.IsPipeline)
            return $"{recipe.Sampling.NumGenerations} answers to each prompt, trained on the best";
        var state = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "trainer_state.json")))!;
        Assert.Equal(2, state["global_step"]!.GetValue<int>());
        var losses = state["log_history"]!.AsArray().Where(entry => entry!["loss"] is not null
            || entry["train_loss"] is not null).ToArray();
        Assert.NotEmpty(losses);
        Assert.All(losses, entry => Assert.True(double.IsFinite((entry!["loss"] ?? entry["train_loss"])!.GetValue<double>())));
        return recipe.Training.Evaluates() ? "2 steps, evaluated" : "2 steps";
    }

    private static string Card(string folder, Recipe recipe)
    {
        var card = File.ReadAllText(Path.Combine(folder, "README.md"));
        if (!recipe.Definition.IsPipeline)
            Assert.Contains(recipe.Model.ModelNameOrPath!, card);
        // the one that stepped, not the one of the paper
        Assert.Contains($"optimizer: {(RecipeNames.Of(recipe.Training.Optimizer()).StartsWith("rmsprop", StringComparison.Ordinal) ? "RMSprop" : "AdamW")} (", card);
        if (!recipe.Definition.IsPipeline)
            foreach (var set in recipe.Mixture.Datasets)
                Assert.Contains(set.Id, card);
        return "base, data, optimiser";
    }

    private static string Files(string folder, Recipe recipe)
    {
        List<string> expected = ["README.md", "tokenizer.json", "tokenizer_config.json", "train_results.json", "all_results.json",
            "trainer_state.json",
            "recipe.yaml", "run.json"];
        expected.AddRange(recipe.Adapter.UsePeft && !recipe.Definition.IsPipeline ? ["adapter_model.safetensors", "adapter_config.json"]
            : ["model.safetensors", "config.json"]);
        if (recipe.Training.Evaluates() && !recipe.Definition.IsPipeline)
            expected.Add("eval_results.json");
        var missing = expected.Where(file => !File.Exists(Path.Combine(folder, file))).ToArray();
        Assert.True(missing.Length == 0, $"{folder} lacks {string.Join(", ", missing)}");
        return recipe.Adapter.UsePeft ? "adapter, tokenizer, results" : "model, tokenizer, results";
    }
}
