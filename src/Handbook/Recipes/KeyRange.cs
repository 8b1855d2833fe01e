using System.Globalization;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Recipes;

/// <summary>Between which numbers a key's value must lie. It is found out by asking: the checks of a recipe are given recipes that differ
/// from the usual one in this key alone, so that no bound stands in two places.</summary>
/// <param name="Least">The least value; null for no bound.</param>
/// <param name="Most">The greatest; null for no bound.</param>
/// <param name="IsAboveLeast">Whether the value must be greater than <paramref name="Least"/>.</param>
/// <param name="IsBelowMost">Whether it must be less than <paramref name="Most"/>.</param>
internal sealed record KeyRange(double? Least, double? Most, bool IsAboveLeast = false, bool IsBelowMost = false)
{
    /// <summary>The bounds of a key.</summary>
    /// <param name="method">The method whose recipe is asked about; null for what no method takes.</param>
    /// <returns>Null for a key without bounds.</returns>
    public static KeyRange? Of(RecipeKey key, TrainingMethod? method)
    {
        var type = Nullable.GetUnderlyingType(key.Type) ?? key.Type;
        if (key.Property is null || type != typeof(int) && type != typeof(long) && type != typeof(double))
            return null;
        Recipe[] recipes = [.. MethodDefinition.All.Select(each => each.Method)
            .Where(each => method is null ? key.Serves(each) : each == method).SelectMany(Usual)];
        var (isLow, isZero) = (Refused(-1), Refused(0));
        if (type != typeof(double))
            return !isLow ? null : !isZero ? new(0, null) : !Refused(1) ? new(1, null) : !Refused(2) ? new(2, null) : null;
        var (isOne, isBeyond) = (Refused(1), Refused(1.5));
        var isShare = isBeyond && (!isOne || !Refused(0.5));
        return !isLow && !isShare ? null : new(isLow ? 0 : null, isShare ? 1 : null, IsAboveLeast: isLow && isZero,
            IsBelowMost: isShare && isOne);

        bool Refused(double value) => recipes.Length > 0 && recipes.All(recipe => IsRefused(recipe, key,
            Convert.ChangeType(value, type, CultureInfo.InvariantCulture)));
    }

    /// <summary>Puts the bounds into a JSON schema.</summary>
    public void Write(JsonObject schema)
    {
        if (Least is { } least)
            schema[IsAboveLeast ? "exclusiveMinimum" : "minimum"] = least;
        if (Most is { } most)
            schema[IsBelowMost ? "exclusiveMaximum" : "maximum"] = most;
    }

    // and with keys set on which it depends whether others count
    private static IEnumerable<Recipe> Usual(TrainingMethod method)
    {
        for (var variant = 0; variant < 3; variant++)
        {
            var records = OptionRecords.New();
            foreach (var (name, value, _) in MethodDefinition.Of(method).Defaults(RecipeDialect.Mixture,
                records.OfType<PreferenceOptions>().Single()).ToArray())
                if (RecipeKeys.Find(name) is { Property: { } property } key)
                    property.SetValue(OptionRecords.Holding(records, key), value);
            var recipe = OptionRecords.With(new Recipe { Method = method, Path = "recipe.yaml" }, records);
            yield return variant switch
            {
                0 => recipe,
                1 => recipe with { Adapter = recipe.Adapter with { UsePeft = true } },
                _ => recipe with { Training = recipe.Training with { MaxSteps = 10 } },
            };
        }
    }

    private static bool IsRefused(Recipe usual, RecipeKey key, object value)
    {
        var holder = OptionRecords.Holding(usual.Records, key);
        var before = key.Property!.GetValue(holder);
        var report = new Diagnostics("");
        try
        {
            key.Property.SetValue(holder, value);
            usual.Validate(report);
        }
        finally
        {
            key.Property.SetValue(holder, before);
        }
        return report.IsOutOfRange(key.Name);
    }
}
