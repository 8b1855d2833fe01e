namespace Handbook.Training.Methods;

/// <summary>What a recipe key has beyond its name, type, default and summary.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class KeyAttribute : Attribute
{
    /// <summary>The key, where it is not the property's name in snake_case; null where it is.</summary>
    public string? Name { get; init; }

    /// <summary>Other spellings with the same meaning, e.g. the older handbook's name.</summary>
    public string[] Aliases { get; init; } = [];

    /// <summary>Why other methods need not read it, in a note; null where it is a mistake in their recipes.</summary>
    public string? Elsewhere { get; init; }

    /// <summary>Whether its value is a secret, which is written nowhere.</summary>
    public bool IsSecret { get; init; }

    /// <summary>Whether it is among the keys that most recipes write: the help of a command shows those.</summary>
    public bool IsUsual { get; init; }

    /// <summary>Why a value other than the default stops the run in this version; null where the key works.</summary>
    public string? NotBuilt { get; init; }
}
