using Handbook.Base;
using Handbook.Recipes;
using Handbook.Training.Methods;

namespace Handbook.Tests.Recipes;

/// <summary>A recipe in a folder of its own, gone after the test.</summary>
internal sealed class RecipeFile : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("recipe-").FullName;

    public RecipeFile(string text)
    {
        File = new FileInfo(Path.Combine(_folder, "r.yaml"));
        System.IO.File.WriteAllText(File.FullName, text);
    }

    public FileInfo File { get; }

    /// <summary>The least that makes a good recipe.</summary>
    public const string Good = "model_name_or_path: m\ndataset_name: d.jsonl\nbf16: false\n";

    /// <summary>Loads a text that must be good.</summary>
    public static Recipe Load(string text, TrainingMethod method = TrainingMethod.Sft, params string[] overrides)
    {
        using var file = new RecipeFile(text);
        var result = Recipe.Load(file.File, overrides, method);
        Assert.True(result.TryGet(out var recipe, out var diagnostics), diagnostics.ToString());
        return recipe;
    }

    /// <summary>Everything that is said about a text, with <c>r.yaml</c> for the path.</summary>
    public static string Said(string text, TrainingMethod method = TrainingMethod.Sft, params string[] overrides)
    {
        using var file = new RecipeFile(text);
        return Recipe.Load(file.File, overrides, method).Diagnostics.ToString().Replace(file.File.FullName, "r.yaml");
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
