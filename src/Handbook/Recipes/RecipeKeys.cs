using System.Reflection;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Plans;
using Handbook.Training.Sampling;

namespace Handbook.Recipes;

/// <summary>Every key that a recipe may have.</summary>
internal static class RecipeKeys
{
    private static readonly Lazy<IReadOnlyList<RecipeKey>> s_all = new(() =>
    [
        .. OptionRecords.All.SelectMany(record => FromRecord(record.Property.PropertyType, record.Group)),
        .. OtherKeys.All,
    ]);

    private static readonly Lazy<IReadOnlyDictionary<string, RecipeKey>> s_byName = new(() =>
        All.SelectMany(key => key.Aliases.Prepend(key.Name).Select(name => (name, key))).ToDictionary(pair => pair.name, pair => pair.key));

    public static IReadOnlyList<RecipeKey> All => s_all.Value;

    /// <summary>The key with this name or alias; null when there is none.</summary>
    public static RecipeKey? Find(string name) => s_byName.Value.GetValueOrDefault(name);

    /// <summary>The known name that a word means, or is most like; null when there is none.</summary>
    public static string? Nearest(string name, TrainingMethod method) =>
        KeySynonyms.KeyFor(name) is { } meant && Find(meant)!.Serves(method) ? meant
            : Spelling.Nearest(name, All.OrderByDescending(key => key.Disposition == Disposition.Works && key.Serves(method))
            .SelectMany(key => key.Aliases.Prepend(key.Name)));

    /// <summary>The methods that name a key, by its property.</summary>
    private static readonly Lazy<ILookup<string, TrainingMethod>> s_readers = new(() => MethodDefinition.All
        .SelectMany(method => method.Keys.Select(key => (key, method.Method))).ToLookup(pair => pair.key, pair => pair.Method));

    private static IEnumerable<RecipeKey> FromRecord(Type record, string group)
    {
        var defaults = Activator.CreateInstance(record);
        foreach (var property in record.GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(property => property.CanWrite))
        {
            var extra = property.GetCustomAttribute<KeyAttribute>();
            yield return new RecipeKey
            {
                Name = extra?.Name ?? RecipeNames.Key(property.Name),
                Group = group,
                Type = property.PropertyType,
                Default = property.GetValue(defaults),
                Disposition = extra?.NotBuilt is null ? Disposition.Works : Disposition.NotBuilt,
                Reason = extra?.NotBuilt,
                IsSecret = extra?.IsSecret == true,
                IsUsual = extra?.IsUsual == true,
                Aliases = extra?.Aliases ?? [],
                Methods = [.. s_readers.Value[property.Name]],
                Elsewhere = extra?.Elsewhere,
                Property = property,
            };
        }
    }
}
