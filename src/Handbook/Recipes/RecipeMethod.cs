namespace Handbook.Recipes;

/// <summary>Guesses what a recipe is for when nobody says.</summary>
internal static class RecipeMethod
{
    /// <summary>From the file's name or its folder (<c>zephyr/sft/config.yaml</c>), otherwise from its keys; fine-tuning when nothing tells.</summary>
    public static TrainingMethod Guess(string path)
    {
        var full = Path.GetFullPath(path);
        foreach (var part in new[] { Path.GetFileNameWithoutExtension(full), Path.GetFileName(Path.GetDirectoryName(full)) ?? "" })
            foreach (var word in part.Split('_', '-', '.'))
                if (RecipeNames.Spellings(typeof(TrainingMethod)).FirstOrDefault(spelling => spelling.Name.Equals(word, StringComparison.OrdinalIgnoreCase)).Value is TrainingMethod named)
                    return named;
        if (!File.Exists(path) || YamlReader.Read(File.ReadAllText(path), path, new Diagnostics(path)) is not MapNode root)
            return TrainingMethod.Sft;
        return root.Entries.Select(entry => RecipeKeys.Find(entry.Key.Text)).FirstOrDefault(key => key is { Property: null, Methods.Count: > 0 })?.Methods[0] ?? TrainingMethod.Sft;
    }
}
