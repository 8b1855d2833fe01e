using Handbook.Data.Mixing;
using Handbook.Data.Sources;

namespace Handbook.Recipes;

/// <summary>The keys of a recipe that name what lies elsewhere: a model, a tokenizer or a template, where a key that is added later is
/// among
/// them by its name, and data sets.</summary>
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

    /// <summary>Where a recipe says what a data set is, by the name of one of its own keys: <c>split</c>, <c>config</c>, <c>columns</c>
    /// and their
    /// like; null where it has no such key.</summary>
    /// <param name="set">The data set, with the split that is meant; null for the data as a whole.</param>
    public static string? KeyOf(Recipe recipe, DatasetSpec? set, string own)
    {
        var key = recipe.Data switch
        {
            { DatasetMixer: not null } => own switch
            {
                "split" => "dataset_splits",
                "config" => "dataset_configs",
                "weight" => set is null ? "dataset_mixer" : $"dataset_mixer.{set.Id}",
                _ => null,
            },
            { DatasetMixture: not null } => own == "test_split_size" ? $"dataset_mixture.{own}"
                : set is not null && own is not "column_mapping" ? $"{KeyOf(recipe, set)[..^"id".Length]}{own}" : null,
            _ => own switch
            {
                "split" => set?.Split == recipe.Data.DatasetTestSplit ? "dataset_test_split" : "dataset_train_split",
                "config" => "dataset_config",
                _ => null,
            },
        };
        return key ?? RecipeKeys.Find(own)?.Name;
    }

    /// <summary>What a recipe names that lies elsewhere, each with its key: what a message about one of them begins with.</summary>
    public static IEnumerable<(string Key, string Path)> Named(Recipe recipe) => Of(recipe)
        .Concat((recipe.Data.Mixture()?.Datasets ?? []).Where(set => !string.IsNullOrWhiteSpace(set.Id)).Select(set =>
            (KeyOf(recipe, set), set.Id)))
        .Append(("output_dir", recipe.Training.OutputDir));

    /// <summary>The key that names the data, or one data set of several; dotted below maps and lists.</summary>
    public static string KeyOf(Recipe recipe, DatasetSpec? set = null)
    {
        if (recipe.Data.DatasetMixer is not null)
            return set is null ? "dataset_mixer" : $"dataset_mixer.{set.Id}.id";
        if (recipe.Data.DatasetMixture is not { Datasets: var sets })
            return "dataset_name";
        var at = set is null ? -1 : sets.ToList().FindIndex(entry => entry.Id == set.Id && entry.Config == set.Config
            && entry.Split == set.Split);
        return at < 0 ? "dataset_mixture" : $"dataset_mixture.datasets.{at}.id";
    }
}
