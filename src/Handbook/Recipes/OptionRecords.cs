using System.Reflection;
using Handbook.Training.Methods;

namespace Handbook.Recipes;

/// <summary>The records of options that a recipe's keys are bound to: the properties of <see cref="MethodOptions"/> that have a
/// heading.</summary>
internal static class OptionRecords
{
    /// <summary>Each with the heading of its keys, in the order in which they are listed.</summary>
    public static IReadOnlyList<(PropertyInfo Property, string Group)> All { get; } =
        [.. typeof(MethodOptions).GetProperties().Select(property => (property, property.GetCustomAttribute<KeyGroupAttribute>()?.Title))
            .Where(pair => pair.Title is not null).Select(pair => (pair.property, pair.Title!))];

    /// <summary>New records with every key at its default.</summary>
    public static IReadOnlyList<object> New() => [.. All.Select(record => Activator.CreateInstance(record.Property.PropertyType)!)];

    /// <summary>The records of some options.</summary>
    public static IReadOnlyList<object> Of(MethodOptions options) => [.. All.Select(record => record.Property.GetValue(options)!)];

    /// <summary>The recipe with other records.</summary>
    /// <param name="records">One for each of <see cref="All"/>, in that order.</param>
    public static Recipe With(Recipe recipe, IReadOnlyList<object> records)
    {
        var changed = recipe with { };
        for (var i = 0; i < records.Count; i++)
            All[i].Property.SetValue(changed, records[i]);
        return changed;
    }

    /// <summary>The one among records that holds a key.</summary>
    public static object Holding(IReadOnlyList<object> records, RecipeKey key) =>
        records.First(record => record.GetType() == key.Property!.DeclaringType);
}
