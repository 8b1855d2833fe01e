using System.Diagnostics.CodeAnalysis;
using Handbook.Base;

namespace Handbook.Recipes;

/// <summary>A recipe, or the problems that keep it from being one.</summary>
public sealed class RecipeResult
{
    private readonly Recipe? _recipe;

    internal RecipeResult(Recipe? recipe, Diagnostics diagnostics)
    {
        _recipe = recipe;
        Diagnostics = diagnostics;
    }

    /// <summary>Every message; notes and warnings also where the recipe is good.</summary>
    public Diagnostics Diagnostics { get; }

    /// <summary>The recipe, if it has no errors; the messages in any case.</summary>
    public bool TryGet([NotNullWhen(true)] out Recipe? recipe, out Diagnostics diagnostics)
    {
        (recipe, diagnostics) = (_recipe, Diagnostics);
        return recipe is not null;
    }
}
