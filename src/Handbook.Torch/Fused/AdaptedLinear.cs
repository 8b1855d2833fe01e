namespace Handbook.Torch.Fused;

/// <summary>A linear layer with adapters; <see cref="AdapterWork"/> is what they do.</summary>
internal sealed class AdaptedLinear : AutogradNode
{
    private readonly Parameter _weight;
    private readonly Parameter? _bias;
    private readonly bool _inputNeedsGrad;
    private readonly AdapterWork _adapters;
    private Tensor _x = null!;

    private AdaptedLinear(Parameter weight, Parameter? bias, TokenNoise? noise, bool inputNeedsGrad) =>
        (_weight, _bias, _adapters, _inputNeedsGrad) = (weight, bias, new(weight, noise), inputNeedsGrad);

    /// <param name="x">[N, in].</param>
    /// <param name="weight">[out, in], frozen, with its adapters.</param>
    /// <param name="bias">[out]; null for none.</param>
    /// <param name="noise">For dropout; null computes without.</param>
    /// <returns>[N, out], in the element type of x.</returns>
    public static Tensor Forward(Tensor x, Parameter weight, Parameter? bias, TokenNoise? noise)
    {
        using var scope = TensorScope.Enter();
        Tensor?[] inputs = [x, bias?.Value, .. weight.Adapters.SelectMany(adapter => adapter.Parameters).Select(p => p.Value)];
        var needed = IsNeeded(inputs);
        var node = new AdaptedLinear(weight, bias, noise, needed && x.RequiresGrad);
        Tensor y;
        using (GradMode.Disabled())
            y = node.Run(x, needed);
        if (needed)
        {
            node._x = node.Save(x);
            node.Attach(inputs, y);
        }
        return scope.Keep(y);
    }

    /// <summary>‖W + Σ s·B·A‖ of each row with all adapters, the last one's magnitudes left aside: what they begin with; [out].</summary>
    public static Tensor RowNorms(Parameter weight) =>
        SquaredNorms(weight, weight.Adapters.Count - 1).Sqrt();

    /// <summary>‖W + Σ s·B·A‖² of each row with the adapters up to one, its magnitudes left aside; [out], in the master's
    /// precision.</summary>
    internal static Tensor SquaredNorms(Parameter weight, int last) => new AdapterWork(weight, null).SquaredNorms(last);

    private Tensor Run(Tensor x, bool keep)
    {
        var exact = RowExact.IsEnabled && !keep;
        var y = Linear.Multiply(x, _weight, _adapters.Scales ? null : _bias, exact);
        _adapters.Add(x, y, keep ? Save : null, exact);
        if (_adapters.Scales && _bias is not null)
            y.AddInPlace(_bias.Compute.Detach());
        return y;
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!;
        if (_bias is { IsTrainable: true })
            _bias.Add(dy.To(_bias.Gradient!.DType).Sum(0));
        if (_adapters.Scales)
            dy = dy.Clone();
        var lows = _adapters.Share(_x, dy);
        Tensor? dx = null;
        if (_inputNeedsGrad)
        {
            dx = Linear.MultiplyBack(dy, _weight);
            _adapters.AddInput(lows, dx);
        }
        return [dx, .. new Tensor?[_weight.Adapters.Sum(adapter => adapter.Parameters.Count()) + 1]];
    }
}
