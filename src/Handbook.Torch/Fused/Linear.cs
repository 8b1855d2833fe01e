namespace Handbook.Torch.Fused;

/// <summary>A linear layer, y = x · Wᵀ + b, that sums the gradient of W where it is kept.</summary>
internal static class Linear
{
    /// <param name="x">[N, in].</param>
    /// <param name="weight">[out, in].</param>
    /// <param name="bias">[out]; null for none.</param>
    /// <returns>[N, out], in the element type of x.</returns>
    public static Tensor Forward(Tensor x, Parameter weight, Parameter? bias = null) => Forward(x, weight, weight.Operand, bias);

    /// <summary>A layer without bias whose product has the master's precision, whatever other products have: for a few outputs that must be
    /// exact.</summary>
    /// <param name="x">[N, in].</param>
    /// <param name="weight">[out, in].</param>
    /// <returns>[N, out], in the element type of the master.</returns>
    public static Tensor InMaster(Tensor x, Parameter weight)
    {
        using var scope = TensorScope.Enter();
        return scope.Keep(Forward(x.To(weight.Value.DType), weight, weight.Value, bias: null));
    }

    private static Tensor Forward(Tensor x, Parameter weight, WeightOperand operand, Parameter? bias)
    {
        using var scope = TensorScope.Enter();
        var needed = AutogradNode.IsNeeded(x, weight.Value, bias?.Value);
        Tensor y;
        using (GradMode.Disabled())
            y = RowExact.IsEnabled && !needed ? operand.RowByRow(x, bias?.Compute, x.DType) : operand.Linear(x, bias?.Compute);
        if (needed)
            LinearNode.Attach(x, weight, operand, bias, y);
        return scope.Keep(y);
    }

    private sealed class LinearNode(Parameter weight, WeightOperand operand, Parameter? bias, bool inputNeedsGrad) : AutogradNode
    {
        private Tensor _x = null!;

        public static void Attach(Tensor x, Parameter weight, WeightOperand operand, Parameter? bias, Tensor y)
        {
            var node = new LinearNode(weight, operand, bias, x.RequiresGrad);
            node._x = node.Save(x);
            node.Attach([x, weight.Value, bias?.Value], y);
        }

        protected override Tensor?[] Backward(Tensor?[] gradients)
        {
            var dy = gradients[0]!;
            weight.AddProduct(dy.T(), _x);
            if (bias is { IsTrainable: true })
                bias.Add(dy.To(bias.Gradient!.DType).Sum(0));
            return [inputNeedsGrad ? operand.Of(dy) : null, null, null];
        }
    }
}
