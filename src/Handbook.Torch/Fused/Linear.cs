namespace Handbook.Torch.Fused;

/// <summary>A linear layer, y = x · Wᵀ + b, that sums the gradient of W where it is kept.</summary>
internal static class Linear
{
    /// <param name="x">[N, in].</param>
    /// <param name="weight">[out, in].</param>
    /// <param name="bias">[out]; null for none.</param>
    /// <param name="noise">From which the dropout of adapters follows; null computes without dropout.</param>
    /// <returns>[N, out], in the element type of x.</returns>
    public static Tensor Forward(Tensor x, Parameter weight, Parameter? bias = null, TokenNoise? noise = null) => weight.ByGroup is not null
        ? RowGroups.Linear(x, weight, bias)
        : weight.Adapters.Count > 0 ? AdaptedLinear.Forward(x, weight, bias, noise)
        : Forward(x, weight, weight.Operand, bias, bias?.Compute);

    /// <summary>x · Wᵀ + b outside the graph, without adapters.</summary>
    /// <param name="exact">Each row by itself.</param>
    internal static Tensor Multiply(Tensor x, Parameter weight, Parameter? bias, bool exact) => exact
        ? weight.Operand.RowByRow(x, bias?.Compute, x.DType)
        : weight.Operand.Linear(x, bias?.Compute);

    /// <summary>x · Wᵀ outside the graph, in the precision of x, which is the master's.</summary>
    internal static Tensor MultiplyInMaster(Tensor x, Parameter weight) => weight.Codes?.Multiply(x, null)
        ?? Product.Linear(x, weight.Value.Detach(), null);

    /// <summary>Some rows of a weight as they are used, in the master's precision or float32; [rows, in].</summary>
    internal static Tensor Whole(Parameter weight, long start, long rows)
    {
        if (weight.Codes is { } codes)
            return codes.Tile(DType.Float32, start, rows, 0, codes.Columns);
        var values = weight.Value.Detach().Narrow(0, start, rows);
        return values.DType == DType.Float64 ? values : values.To(DType.Float32);
    }

    /// <summary>dy · W outside the graph: the gradient of a layer's input.</summary>
    internal static Tensor MultiplyBack(Tensor dy, Parameter weight) => weight.Operand.Of(dy);

    /// <summary>A layer without bias whose product has the master's precision, whatever other products have: for a few outputs that must be
    /// exact.</summary>
    /// <param name="x">[N, in].</param>
    /// <param name="weight">[out, in].</param>
    /// <param name="bias">[out]; null for none.</param>
    /// <returns>[N, out], in the element type of the master.</returns>
    public static Tensor InMaster(Tensor x, Parameter weight, Parameter? bias = null)
    {
        using var scope = TensorScope.Enter();
        return scope.Keep(Forward(x.To(weight.Value.DType), weight, weight.Value, bias, bias?.Value));
    }

    private static Tensor Forward(Tensor x, Parameter weight, WeightOperand operand, Parameter? bias, Tensor? added)
    {
        using var scope = TensorScope.Enter();
        weight.InputObserver?.Invoke(x);
        var needed = AutogradNode.IsNeeded(x, weight.Value, bias?.Value);
        Tensor y;
        using (GradMode.Disabled())
            y = RowExact.IsEnabled && !needed ? operand.RowByRow(x, added, x.DType) : operand.Linear(x, added);
        if (needed)
            LinearNode.Attach(x, weight, operand, bias, y);
        return scope.Keep(y);
    }

    private sealed class LinearNode(Parameter weight, WeightOperand operand, Parameter? bias, bool inputNeedsGrad) : AutogradNode
    {
        private Tensor? _x;         // only a trained weight needs it

        public static void Attach(Tensor x, Parameter weight, WeightOperand operand, Parameter? bias, Tensor y)
        {
            var node = new LinearNode(weight, operand, bias, x.RequiresGrad);
            if (weight.IsTrainable)
                node._x = node.Save(x);
            node.Attach([x, weight.Value, bias?.Value], y);
        }

        protected override Tensor?[] Backward(Tensor?[] gradients)
        {
            var dy = gradients[0]!;
            if (_x is not null)
                weight.AddProduct(dy.T(), _x);
            if (bias is { IsTrainable: true })
                bias.Add(dy.To(bias.Gradient!.DType).Sum(0));
            return [inputNeedsGrad ? operand.Of(dy) : null, null, null];
        }
    }
}
