namespace Handbook.Torch.Devices;

/// <summary>An operator that is called by the names of its arguments, wherever this installation's schema has them.</summary>
/// <param name="Schema">What it takes and gives.</param>
/// <param name="Invoke">The call itself, in the order of the schema.</param>
internal sealed record NamedOperator(OperatorSchema Schema, Func<Value[], Tensor[]> Invoke)
{
    /// <summary>Finds an operator, e.g. <c>aten::_scaled_mm</c>; null where this installation does not have it.</summary>
    public static NamedOperator? Find(string name, string overload = "") =>
        TorchOperator.TryFind(name, overload) is { } found ? new(found.Schema, values => found.CallMany(values)) : null;

    /// <summary>Calls it; the tensors belong to the caller's scope.</summary>
    /// <exception cref="TorchException">The schema has no such argument, or needs another one; or libtorch refused.</exception>
    public Tensor[] Call(params ReadOnlySpan<(string Name, Value Value)> arguments) => Invoke(Schema.Bind(arguments));
}
