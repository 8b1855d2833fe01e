using Handbook.Cli.Tests.BadInput;
using Handbook.Cli.Tests.Mistakes;
using Handbook.Recipes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>Every recipe is planned from its file alone, as on a fresh clone without a network.</summary>
[Collection("tensors")]
public sealed class PlanRecipesTests : IDisposable
{
    private readonly TemporaryFolder _clone = new();

    public PlanRecipesTests() => Copy(new(Path.Combine(SharedFiles.Repository, "recipes")), _clone["recipes"]);

    public void Dispose() => _clone.Dispose();

    [Fact]
    public void Every_recipe_is_planned_from_its_path_alone_and_the_shape_is_told()
    {
        var recipes = ListedRecipe.In(_clone["recipes"]);
        Assert.True(recipes.Count > 40, $"{recipes.Count} recipes");
        Assert.All(recipes.Select(recipe => $"recipes/{recipe.Name}.yaml"), recipe =>
        {
            var plan = Plan(recipe);
            Assert.True(plan.Code is 0 or 3, plan.Error);
            Assert.Matches(@"\d\.\d\d[MB] weights, [\d.,]+M trained", plan.Output);
            Assert.Single(plan.Error.Split('\n'), line => line.Contains(", as docs/shapes/", StringComparison.Ordinal));
        });
    }

    [Fact]
    public void A_model_that_another_recipe_makes_has_the_shape_of_what_it_is_made_from()
    {
        var plan = Plan("recipes/zephyr-7b-beta/dpo/config_qlora.yaml", "--model_name_or_path=data/zephyr-7b-sft-qlora");
        Assert.StartsWith("note: data/zephyr-7b-sft-qlora is not on this machine, and is made from mistralai/Mistral-7B-v0.1 by "
            + "recipes/zephyr-7b-beta/sft/config_qlora.yaml; planned with the shape of mistralai/Mistral-7B-v0.1, as docs/shapes/mistral-7b.json has it; "
            + "the numbers of adapters below are not counted\n", plan.Error);
        Assert.Contains("not known without its tokenizer, and rows", plan.Error);

        // What is here counts before what is known.
        Directory.CreateDirectory(_clone["runs", "tiny-init"]);
        File.WriteAllText(_clone["runs", "tiny-init", "config.json"], File.ReadAllText(Path.Combine(SharedFiles.Repository, "docs", "shapes", "tiny.json"))
            .Replace("1024", "2048"));
        var here = Plan("recipes/tiny/sft.yaml");
        Assert.Contains("by recipes/tiny/cpt.yaml; planned with the shape of runs/tiny-init, which is here\n".Replace("by recipes", "is made from runs/tiny-init by recipes"),
            here.Error);
        Assert.Contains("1.12M weights", here.Output);

        var unknown = Plan("recipes/tiny/sft.yaml", "--model_name_or_path=owner/none");
        Assert.Equal(2, unknown.Code);
        Assert.Contains("or plan from a config.json of the same shape: --config FILE", unknown.Error);
    }

    [Fact]
    public void A_plan_of_rows_that_no_run_could_begin_on_ends_as_the_run_would()
    {
        using var tiny = new TinyRun();
        tiny.Write("r.yaml", TinyRun.Recipe + "decontaminate: {against: [{id: rows.jsonl}], min_length: 4}\n");
        var (plan, run) = (Run(tiny.At("."), "plan", "r.yaml"), Run(tiny.At("."), "sft", "r.yaml"));
        Assert.Equal((2, 2), (plan.Code, run.Code));
        Assert.StartsWith("r.yaml:10:16: error: every row to train on holds a text of rows.jsonl", Problems(plan.Error));
        Assert.Equal(Problems(run.Error), Problems(plan.Error));

        static string Problems(string error) => error[error.IndexOf("r.yaml:", StringComparison.Ordinal)..];
    }

    private Outcome Plan(string recipe, params string[] words) => Run(_clone.Path, ["plan", recipe, .. words]);

    private Outcome Run(string folder, params string[] words) => InProcess.Run(folder, new Dictionary<string, string?>
    {
        ["HF_HUB_OFFLINE"] = "1",
        ["HF_HOME"] = _clone["hub"],
        ["HANDBOOK_MODELS"] = null,
        ["HANDBOOK_DATA"] = null,
    }, words);

    private static void Copy(DirectoryInfo from, string to)
    {
        foreach (var file in from.EnumerateFiles("*", SearchOption.AllDirectories))
        {
            var copy = Path.Combine(to, Path.GetRelativePath(from.FullName, file.FullName));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            file.CopyTo(copy);
        }
    }
}
