using Handbook.Base;
using Handbook.Base.Keys;

namespace Handbook.Training.Methods.Preferences;

/// <summary>The values of <c>loss_type</c>.</summary>
internal static class LossNames
{
    /// <summary>The methods that have them, each with its losses.</summary>
    public static IEnumerable<(MethodDefinition Method, Type Losses)> All =>
        MethodDefinition.All.Where(method => method.Losses is not null).Select(method => (method, method.Losses!));

    /// <summary>The known losses of a recipe; reports the others, with the nearest name or the method that has them.</summary>
    /// <param name="several">Whether losses are added up.</param>
    public static List<T> Check<T>(IReadOnlyList<string> names, string method, Diagnostics report, bool several = false) where T : struct,
        Enum
    {
        var known = RecipeNames.Spellings(typeof(T));
        List<T> losses = [];
        foreach (var name in names)
            if (Array.Find(known, spelling => spelling.Name == name) is { Name: not null } found)
                losses.Add((T)found.Value);
            else
                report.Error("loss_type", $"is {name}, which {method} does not have", fix: Advice(name));
        if (names.Count == 0)
            report.Error("loss_type", "is empty", fix: $"use {known[0].Name}, or remove the key");
        if (!several && names.Count > 1)
            report.Error("loss_type", $"has {names.Count} losses, but {method} has one",
                fix: $"keep {names[0]}; handbook dpo adds losses up");
        return losses;

        string Advice(string name)
        {
            foreach (var (other, type) in All.Select(entry => (entry.Method.Name, entry.Losses)))
                if (other != method && (name == other || RecipeNames.Spellings(type).Any(spelling => spelling.Name == name)))
                    return $"run the recipe with handbook {other}";
            return name == "orpo" ? "run the recipe with handbook orpo"
                : Spelling.Nearest(name, known.Select(spelling => spelling.Name)) is { } nearest ? $"did you mean {nearest}?"
                : $"use one of {string.Join(", ", known.Select(spelling => spelling.Name))}";
        }
    }
}
