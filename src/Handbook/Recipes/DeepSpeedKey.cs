using Handbook.Base;
using Handbook.Launch;

namespace Handbook.Recipes;

/// <summary>The key <c>deepspeed</c>: settings that are keys of a recipe here, or have to agree with them.</summary>
internal static class DeepSpeedKey
{
    private const string Name = "deepspeed";

    /// <summary>Puts the keys that the settings give in its place.</summary>
    /// <param name="recipe">The recipe's path; settings are looked for from the working folder, then from beside it.</param>
    /// <returns>What the settings say of other keys, each with the place of the key.</returns>
    public static IReadOnlyList<(SourceSpan At, ExpectedValue Value)> Expand(RecipeEntries entries, string recipe, Diagnostics report)
    {
        if (entries[Name] is not { } entry || entry.Value is ScalarNode { IsNull: true })
            return [];
        LaunchPlan plan;
        try
        {
            plan = entry.Value switch
            {
                MapNode settings => DeepSpeedFile.Read(settings, Name, new()),
                ScalarNode file => DeepSpeedFile.Read(Find(file.Text, recipe), Name, new()),
                _ => throw new InputException($"{Name} is a list", fix: "name a JSON file as DeepSpeed reads it"),
            };
        }
        catch (InputException problem)
        {
            report.ErrorAt(entry.Value.Span, problem.What, problem.Why, problem.Fix);
            entries.Expand(entry, []);
            return [];
        }
        foreach (var note in plan.Notes)
            report.Note(entry.KeySpan, note);
        foreach (var other in entries.Expand(entry, plan.Keys.Select(key => (key.Key, key.Value))))
            if (plan.Keys.First(key => key.Key == other) is var said)
                report.ErrorAt(entry.Value.Span, $"{said.Where} asks for {other} {said.Value}, but the recipe says something else",
                    "only one of the two could count", $"set {other} to {said.Value}, or remove it");
        return [.. plan.Expected.Select(expected => (entry.Value.Span, expected))];
    }

    /// <summary>Compares what the settings say of other keys with the recipe.</summary>
    public static void Compare(IReadOnlyList<(SourceSpan At, ExpectedValue Value)> expected, Recipe recipe, Diagnostics report)
    {
        foreach (var (at, value) in expected)
            try
            {
                if (value.Compare(recipe) is { } note)
                    report.Note(at, note);
            }
            catch (InputException other)
            {
                report.ErrorAt(at, other.What, other.Why, $"write the same in both, or auto for {value.Where.Split(' ')[^1]}");
            }
    }

    private static string Find(string named, string recipe) => File.Exists(named) ? named
        : Path.Combine(Path.GetDirectoryName(recipe) ?? "", named) is var beside && File.Exists(beside) ? beside : named;
}
