using Handbook.Base;
using Handbook.Training.Plans;

namespace Handbook.Recipes;

/// <summary>A key whose value is not the one that a run was started with.</summary>
/// <param name="Old">The run's value, as a recipe writes it.</param>
/// <param name="New">This start's value.</param>
internal sealed record RecipeChange(string Key, string Old, string New, ResumeRule Rule)
{
    public override string ToString() => $"{Key}: {Old} → {New}";

    /// <summary>What differs between the resolved recipe of a run and that of this start; null where the run's cannot be read.</summary>
    /// <param name="before">The run's <c>recipe.yaml</c>.</param>
    public static IReadOnlyList<RecipeChange>? Between(string before, Recipe now)
    {
        if (Values(before) is not { } old)
            return null;
        var current = Values(now.ToYaml())!;
        var changes = new List<RecipeChange>();
        foreach (var key in RecipeKeys.All.Where(key => key.Disposition == Disposition.Works && key.Serves(now.Method)))
        {
            if (KeyEffects.Unmet(now, key.Name) is not null)
                continue;       // nothing reads it
            // A key that the older version did not know yet, and that nobody has set, changes nothing.
            if (!old.TryGetValue(key.Name,
                out var was) && now.Sources.GetValueOrDefault(key.Name) is not (KeySource.File or KeySource.CommandLine))
                continue;
            was ??= Default(key);
            var @is = current.GetValueOrDefault(key.Name) ?? Default(key);
            if (was != @is && !IsSamePlace(was, @is))
                changes.Add(new(key.Name, was, @is, ResumeRules.Of(key)));
        }
        return changes;
    }

    private static Dictionary<string, string>? Values(string yaml) =>
        YamlReader.Read(yaml, "recipe.yaml", new Diagnostics("recipe.yaml")) is MapNode map
            ? map.Entries.ToDictionary(entry => entry.Key.Text, entry => Shown(entry.Value)) : null;

    private static string Default(RecipeKey key) =>
        YamlReader.Read(YamlWriter.Flow(key.Default), null, new Diagnostics("")) is { } node ? Shown(node) : "null";

    private static string Shown(RecipeNode node) => node switch
    {
        ScalarNode { IsNull: true } => "null",
        ScalarNode scalar => scalar.Text,
        ListNode list => $"[{string.Join(", ", list.Items.Select(Shown))}]",
        MapNode map => $"{{{string.Join(", ", map.Entries.Select(entry => $"{entry.Key.Text}: {Shown(entry.Value)}"))}}}",
        _ => "",
    };

    // The same folder may be written in several ways.
    private static bool IsSamePlace(string one, string other) => Path.Exists(one) && Path.Exists(other)
        && RealPath.Of(one) == RealPath.Of(other);
}
