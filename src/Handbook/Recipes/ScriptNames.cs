using Handbook.Training.Methods;

namespace Handbook.Recipes;

/// <summary>The scripts of the Python handbook and of TRL, by the method that each trains.</summary>
internal static class ScriptNames
{
    /// <summary>The method of a script such as <c>scripts/run_sft.py</c>, <c>run_sft</c> or <c>reward_modeling.py</c>; null for another
    /// word.</summary>
    public static TrainingMethod? MethodOf(string word)
    {
        var name = Path.GetFileName(word);
        if (name.StartsWith("trl.scripts.", StringComparison.Ordinal))      // python -m
            return Recipe.MethodNamed(name["trl.scripts.".Length..]);
        var isFile = name.EndsWith(".py", StringComparison.Ordinal);
        name = isFile ? name[..^3] : name;
        return name.StartsWith("run_", StringComparison.Ordinal) || name.StartsWith("run-", StringComparison.Ordinal)
            ? Recipe.MethodNamed(name["run_".Length..])
            : !isFile ? null : name is "reward_modeling" or "reward_trainer" ? TrainingMethod.Reward : Recipe.MethodNamed(name);
    }
}
