using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Plans;

namespace Handbook.Tests.Recipes;

/// <summary>Every recipe under <c>recipes/</c> is good, or lacks only what is not built yet.</summary>
public sealed class RecipeFilesTests
{
    public static TheoryData<string> Recipes() =>
        [.. Directory.EnumerateFiles(Path.Combine(SharedFiles.Repository, "recipes"), "*.yaml", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(SharedFiles.Repository, file)).Where(IsRecipe).Order(StringComparer.Ordinal)];

    [Theory, MemberData(nameof(Recipes))]
    public void A_recipe_validates(string path)
    {
        var file = new FileInfo(Path.Combine(SharedFiles.Repository, path));
        var report = Recipe.Load(file, [], Recipe.GuessMethod(file)).Diagnostics;
        Assert.DoesNotContain(report.Errors, error => !error.What.Contains("not built yet"));
    }

    [Theory, MemberData(nameof(Recipes))]
    public void The_template_of_a_recipe_is_found_from_any_folder(string path)
    {
        var file = new FileInfo(Path.Combine(SharedFiles.Repository, path));
        if (Recipe.Load(file, [], Recipe.GuessMethod(file)).Draft is not { Data.ChatTemplatePath: { } template } recipe)
            return;
        using var models = new TemporaryFolder();
        Directory.CreateDirectory(models[template]);
        File.WriteAllText(models[template, "chat_template.jinja"], "{{ messages }}");
        var before = Environment.GetEnvironmentVariable("HANDBOOK_MODELS");
        try
        {
            Environment.SetEnvironmentVariable("HANDBOOK_MODELS", models.Path);
            Assert.NotNull(RowPlan.TemplatePlace(recipe));
        }
        finally
        {
            Environment.SetEnvironmentVariable("HANDBOOK_MODELS", before);
        }
    }

    [Theory, MemberData(nameof(Recipes))]
    public void A_recipe_says_how_to_run_it(string path)
    {
        var method = RecipeNames.Of(Recipe.GuessMethod(new FileInfo(path)));
        Assert.Contains($"./handbook {method} {path}\n", File.ReadAllText(Path.Combine(SharedFiles.Repository, path)));
    }

    [Theory, MemberData(nameof(Recipes))]
    public void A_folder_of_recipes_has_a_guide(string path)
    {
        var folder = Path.Combine(SharedFiles.Repository, "recipes", path.Split('/')[1]);
        Assert.True(File.Exists(Path.Combine(folder, "README.md")), $"{folder} has no README.md");
    }

    // a folder may also hold configurations of other kinds
    private static bool IsRecipe(string path) => File.ReadLines(Path.Combine(SharedFiles.Repository, path))
        .Any(line => line.StartsWith("model_name_or_path:", StringComparison.Ordinal));
}
