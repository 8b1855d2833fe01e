using Handbook.Base;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Recipes;

/// <summary>Says of keys that the user wrote and that nothing reads with these settings: what <see cref="KeyConditions"/> declares is
/// evaluated here alone.</summary>
internal static class KeyEffects
{
    /// <summary>The condition that keeps a key from having an effect in a recipe; null where it has one.</summary>
    /// <param name="key">The key's name, dotted below maps.</param>
    public static KeyCondition? Unmet(Recipe recipe, string key) =>
        KeyConditions.Of(key).FirstOrDefault(condition => !condition.Holds(recipe));

    /// <summary>A warning for each key that asks for something, a note for each that repeats its default.</summary>
    public static void Report(Recipe recipe, RecipeEntries entries, Diagnostics report)
    {
        foreach (var entry in entries.All.Where(entry => entry.Key.Disposition == Disposition.Works && entry.Key.Serves(recipe.Method)))
        {
            if (entry.Value is ScalarNode { IsNull: true } || report.IsAnswered(entry.Key.Name))
                continue;
            Tell(entry.Key.Name, entry.Spelled, entry.KeySpan, IsDefault(recipe, entry.Key));
            if (entry.Value is MapNode map)
                foreach (var (inner, value) in map.Entries)
                    Tell($"{entry.Key.Name}.{inner.Text}", $"{entry.Spelled}.{inner.Text}", inner.Span,
                        isDefault: value is ScalarNode { IsNull: true });
        }

        void Tell(string key, string spelled, SourceSpan at, bool isDefault)
        {
            if (Unmet(recipe, key) is not { } condition || condition.Reads.Any(report.IsAnswered))
                return;
            var what = $"has no effect {condition.Otherwise(recipe)}";
            if (isDefault)
                report.Note(at, $"{spelled} {what}");
            else
                report.Warning(key, what, fix: condition.Cure(recipe) is { } cure ? $"{cure}, or remove the key" : "remove the key");
        }
    }

    private static bool IsDefault(Recipe recipe, RecipeKey key)
    {
        var value = key.Property!.GetValue(recipe.Records.First(record => record.GetType() == key.Property.DeclaringType));
        return recipe.Definition.Defaults(recipe.Dialect, recipe.Preference).Where(other => other.Key == key.Name)
            .Select(other => other.Value).Append(key.Default).Any(usual => YamlWriter.Flow(usual) == YamlWriter.Flow(value));
    }
}

/// <summary>What must hold for keys to be read at all.</summary>
/// <param name="Only">For the reference of keys: when they are read, e.g. "with `packing: true`", or a sentence; empty where they say so
/// themselves.</param>
/// <param name="Holds">Whether they are.</param>
/// <param name="Otherwise">For the message: what is the case instead, e.g. "without packing".</param>
/// <param name="Fix">What to write so that they are read; null where nothing does.</param>
/// <param name="Reads">The keys that decide it: where one of them is wrong itself, nothing is said.</param>
internal sealed record KeyCondition(string Only, Func<Recipe, bool> Holds, Func<Recipe, string> Otherwise, string? Fix,
    IReadOnlyList<string> Reads)
{
    /// <summary>What to write; null where the recipe's method could not do it.</summary>
    // it samples its rows, and holds none out
    public string? Cure(Recipe recipe) => Reads.Contains("eval_strategy") && recipe.Definition.IsPipeline
        || Reads.Contains("sync_ref_model") && !recipe.Definition.AsksReference(recipe) ? null : Fix;
}
