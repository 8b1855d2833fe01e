namespace Handbook.Recipes;

/// <summary>The keys of a recipe that name a model, a tokenizer or a template; a key that is added later is among them by its
/// name.</summary>
internal static class RecipePaths
{
    public static IEnumerable<(string Key, string Path)> Of(Recipe recipe)
    {
        foreach (var key in RecipeKeys.All.Where(key => key.Property is not null && key.Type == typeof(string)
            && key.Name.EndsWith("_path", StringComparison.Ordinal) && key.Serves(recipe.Method)))
            if (key.Property!.GetValue(recipe.Records.First(record =>
                record.GetType() == key.Property.DeclaringType)) is string { Length: > 0 } path)
                yield return (key.Name, path);
    }
}
