using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Recipes;
using Handbook.Training;

namespace Handbook.Launch;

/// <summary>What a launcher was told that is a key of the recipe here, such as <c>zero_stage</c>.</summary>
/// <param name="Where">The launcher's file and key.</param>
/// <param name="Key">The recipe's key.</param>
/// <param name="Value">Its value.</param>
/// <param name="Yields">Whether what the recipe says itself wins; otherwise the two must not contradict each other.</param>
internal sealed record LaunchedKey(string Where, string Key, string Value, bool Yields = false)
{
    /// <summary>The word that gives a recipe the key; null where it says so itself.</summary>
    /// <param name="recipe">What is started; null where it cannot be read.</param>
    /// <param name="note">Hears where the recipe's own value wins.</param>
    /// <exception cref="InputException">The recipe says something else.</exception>
    public string? Word(Recipe? recipe, Action<string>? note = null)
    {
        var there = recipe is null ? null : Key switch
        {
            "zero_stage" => recipe.Training.ZeroStage == 0 ? null : $"{recipe.Training.ZeroStage}",
            "offload_optimizer" => recipe.Training.OffloadOptimizer == OptimizerOffload.None ? null
                : RecipeNames.Of(recipe.Training.OffloadOptimizer),
            _ => throw new InvalidOperationException($"{Key} is not a launcher's"),
        };
        if (there is not null && there != Value && Yields)
            note?.Invoke($"{Where} {Value} has no effect: the recipe says {Key} {there}");
        else if (there is not null && there != Value)
            throw new InputException($"{Where} asks for {Key} {Value}, but the recipe says {there}", why: "only one of them could count",
                fix: $"say --{Key}={Value} behind the recipe, or take {Key} out of it");
        return there is null ? $"--{Key}={Value}" : null;
    }
}
