using Handbook.Torch;

namespace Handbook.Models.Sharding;

/// <summary>Changes nothing, and tells when a backward pass comes through: then all gradients behind it are there.</summary>
internal sealed class UnitBorder : AutogradNode
{
    private readonly Action _passed;

    private UnitBorder(Action passed) => _passed = passed;

    /// <summary>The same tensors.</summary>
    /// <param name="passed">Called in a backward pass, before it goes on.</param>
    public static (Tensor Residual, Tensor? Delta) Forward(Action passed, Tensor residual, Tensor? delta)
    {
        if (!IsNeeded(residual, delta))
            return (residual, delta);
        var node = new UnitBorder(passed);
        var (first, second) = (residual.Detach(), delta?.Detach());
        node.Attach([residual, delta], second is null ? [first] : [first, second]);
        return (first, second);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        _passed();
        return gradients.Length == 1 ? [gradients[0], null] : [gradients[0], gradients[1]];
    }
}
