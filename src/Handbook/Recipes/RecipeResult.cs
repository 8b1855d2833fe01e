using System.Diagnostics.CodeAnalysis;
using Handbook.Base;

namespace Handbook.Recipes;

/// <summary>A recipe, or the problems that keep it from being one.</summary>
public sealed class RecipeResult
{
    private readonly Recipe? _recipe;

    /// <param name="draft">The recipe as far as it could be read; null where nothing could.</param>
    internal RecipeResult(Recipe? draft, Diagnostics diagnostics)
    {
        _recipe = diagnostics.HasErrors ? null : draft;
        (Draft, Diagnostics) = (draft, diagnostics);
    }

    /// <summary>Every message; notes and warnings also where the recipe is good.</summary>
    public Diagnostics Diagnostics { get; }

    /// <summary>The recipe as far as it could be read, to look at what it names: keys with errors have their defaults, or values that
    /// nothing can run with.</summary>
    public Recipe? Draft { get; }

    /// <summary>The recipe, if it has no errors; the messages in any case.</summary>
    public bool TryGet([NotNullWhen(true)] out Recipe? recipe, out Diagnostics diagnostics)
    {
        (recipe, diagnostics) = (_recipe, Diagnostics);
        return recipe is not null;
    }
}
