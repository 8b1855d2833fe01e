using System.Reflection;
using Handbook.Training.Methods;

namespace Handbook.Recipes;

/// <summary>What happens to a key.</summary>
internal enum Disposition
{
    /// <summary>It has an effect.</summary>
    Works,
    /// <summary>It names other keys with their values, which are taken from what it says.</summary>
    Expands,
    /// <summary>It has none here; a note says so.</summary>
    NoEffect,
    /// <summary>It would have one that this version cannot give; a value other than the default stops the run.</summary>
    NotBuilt,
    /// <summary>It stops the run with a pointer to what to write instead.</summary>
    Rejected,
}

/// <summary>One key that a recipe may have: the row of the one table that reading, the reference page and the tests share.</summary>
internal sealed record RecipeKey
{
    public required string Name { get; init; }

    public required string Group { get; init; }

    /// <summary>The type its value must have.</summary>
    public required Type Type { get; init; }

    /// <summary>The value without the key.</summary>
    public object? Default { get; init; }

    public Disposition Disposition { get; init; }

    /// <summary>Why it has no effect, is not built or is rejected; null for a key that works.</summary>
    public string? Reason { get; init; }

    /// <summary>Whether its value is a secret, which is written nowhere.</summary>
    public bool IsSecret { get; init; }

    /// <summary>Whether it is among the keys that most recipes write.</summary>
    public bool IsUsual { get; init; }

    /// <summary>Other spellings.</summary>
    public IReadOnlyList<string> Aliases { get; init; } = [];

    /// <summary>The methods that name it among their keys; empty where none does, because all read it.</summary>
    public IReadOnlyList<TrainingMethod> Methods { get; init; } = [];

    /// <summary>Why other methods need not read it; null where it is a mistake in their recipes.</summary>
    public string? Elsewhere { get; init; }

    /// <summary>The property that holds it; null for a key without one.</summary>
    public PropertyInfo? Property { get; init; }

    /// <summary>Whether its property cannot be without a value.</summary>
    public bool NeedsValue => Property is { } property && !Type.IsValueType
        && new NullabilityInfoContext().Create(property).WriteState == NullabilityState.NotNull;

    /// <summary>Whether a method reads it; a pipeline reads what its training stage does.</summary>
    public bool Serves(TrainingMethod method) => Methods.Count == 0 || Methods.Contains(method)
        || MethodDefinition.Of(method).Stages.Any(stage => Methods.Contains(stage.Method));
}
