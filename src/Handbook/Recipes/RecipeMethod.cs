using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Training.Methods;

namespace Handbook.Recipes;

/// <summary>Guesses what a recipe is for when nobody says.</summary>
internal static class RecipeMethod
{
    /// <summary>From the file's name or its folder (<c>zephyr/sft/config.yaml</c>), otherwise from its keys; fine-tuning when nothing
    /// tells.</summary>
    public static TrainingMethod Guess(string path, IReadOnlyList<string> overrides)
    {
        var full = Path.GetFullPath(path);
        foreach (var part in new[] { Path.GetFileNameWithoutExtension(full), Path.GetFileName(Path.GetDirectoryName(full)) ?? "" })
            foreach (var word in part.Split('_', '-', '.'))
                if (Named(word) is { } named)
                    return named;
        if (!File.Exists(path) || YamlReader.Read(File.ReadAllText(path), path, new Diagnostics(path)) is not MapNode root)
            return TrainingMethod.Sft;
        var names = root.Entries.Select(entry => entry.Key.Text)
            .Concat(Override.Parse(overrides, new Diagnostics(path)).Select(change => change.Path[0]));
        return OfKeys([.. names.Select(RecipeKeys.Find).OfType<RecipeKey>().Where(key => key.Methods.Count > 0 && key.Elsewhere is null)]);
    }

    private static TrainingMethod? Named(string word) => MethodDefinition.All.FirstOrDefault(method =>
        RecipeNames.Spellings(typeof(TrainingMethod)).Where(spelling => spelling.Value.Equals(method.Method))
            .Select(spelling => spelling.Name)
            .Concat(method.OtherNames).Contains(word, StringComparer.OrdinalIgnoreCase))?.Method;

    // the first method that reads every key; beside it, the one that reads most
    private static TrainingMethod OfKeys(IReadOnlyList<RecipeKey> keys) =>
        Enum.GetValues<TrainingMethod>().MaxBy(method => keys.Count(key => key.Serves(method)));
}
