namespace Handbook.Torch.Fused;

/// <summary>
/// A number that was computed elsewhere, with its derivatives: how a loss over a few log-probabilities in C# joins the graph.
/// </summary>
internal sealed class KnownGradient : AutogradNode
{
    private readonly double[] _gradient;
    private readonly DType _dtype;
    private readonly Device _device;

    private KnownGradient(double[] gradient, Tensor x) => (_gradient, _dtype, _device) = (gradient, x.DType, x.Device);

    /// <param name="x">[M], what the number depends on.</param>
    /// <param name="value">The number.</param>
    /// <param name="gradient">∂value/∂x; [M].</param>
    /// <returns>One number, float64.</returns>
    public static Tensor Of(Tensor x, double value, double[] gradient)
    {
        if (x.Count != gradient.Length)
            throw new ArgumentException($"{gradient.Length} derivatives for {x.Describe()}", nameof(gradient));
        using var scope = TensorScope.Enter();
        Tensor result;
        using (GradMode.Disabled())
            result = Tensor.From([value]);
        if (IsNeeded(x))
            new KnownGradient(gradient, x).Attach([x], result);
        return scope.Keep(result);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var factor = gradients[0]!.ToScalar();
        return [Tensor.From(factor == 1 ? _gradient : Array.ConvertAll(_gradient, g => g * factor)).To(_dtype).To(_device)];
    }
}
