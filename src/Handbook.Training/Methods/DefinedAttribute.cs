namespace Handbook.Training.Methods;

/// <summary>Names what defines a method, in the table of methods.</summary>
[AttributeUsage(AttributeTargets.Field)]
internal sealed class DefinedAttribute<T> : DefinedAttribute where T : MethodDefinition, new()
{
    public override MethodDefinition Make(TrainingMethod method) => new T { Method = method };
}

/// <summary>Makes the definition of a method.</summary>
internal abstract class DefinedAttribute : Attribute
{
    /// <param name="method">The method that bears the attribute.</param>
    public abstract MethodDefinition Make(TrainingMethod method);
}
