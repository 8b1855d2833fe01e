namespace Handbook.Base.Keys;

/// <summary>How a recipe spells a value of an enumeration; the first name is written, the others are read as well.</summary>
[AttributeUsage(AttributeTargets.Field)]
internal sealed class SpelledAttribute(params string[] names) : Attribute
{
    public IReadOnlyList<string> Names { get; } = names;
}
