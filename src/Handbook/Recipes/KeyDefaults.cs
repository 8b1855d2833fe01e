using Handbook.Base.Keys;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Recipes;

/// <summary>The defaults of keys as they are told.</summary>
internal static class KeyDefaults
{
    /// <summary>A key's default in recipes of a method, as it is written.</summary>
    public static string Of(RecipeKey key, TrainingMethod method, RecipeDialect dialect = RecipeDialect.Mixture) =>
        YamlWriter.Flow(MethodDefinition.Of(method).Defaults(dialect, new()).Where(other => other.Key == key.Name)
            .Select(other => other.Value)
            .FirstOrDefault(key.Default));

    /// <summary>A key's defaults, each with the methods it is for, in words; empty words for what holds elsewhere.</summary>
    public static IReadOnlyList<(string Value, string Where)> Words(RecipeKey key)
    {
        TrainingMethod[] methods = [.. Enum.GetValues<TrainingMethod>().Where(key.Serves)];
        var usual = YamlWriter.Flow(key.Default);
        var newer = methods.Select(method => (Value: Of(key, method), Method: method)).ToArray();
        var older = methods.Select(method => (Value: Of(key, method, RecipeDialect.Mixer), Method: method)).Except(newer).ToArray();
        return
        [
            .. newer.Any(entry => entry.Value == usual) ? new[] { (usual, "") } : [],
            .. newer.Where(entry => entry.Value != usual).GroupBy(entry => entry.Value).Select(group => (group.Key, Names(group))),
            .. older.GroupBy(entry => entry.Value).Select(group =>
            (group.Key, (group.Count() == methods.Length ? "" : Names(group) + " ") + "with dataset_mixer")),
        ];

        static string Names(IEnumerable<(string Value, TrainingMethod Method)> group) =>
            string.Join(", ", group.Select(entry => RecipeNames.Of(entry.Method)));
    }
}
