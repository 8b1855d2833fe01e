namespace Handbook.Training.Methods;

/// <summary>The heading under which the keys of a record of options are listed.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class KeyGroupAttribute(string title) : Attribute
{
    public string Title => title;
}
