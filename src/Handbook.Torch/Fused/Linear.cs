using Handbook.Torch.Devices;

namespace Handbook.Torch.Fused;

/// <summary>A linear layer, y = x · Wᵀ + b, that sums the gradient of W where it is kept.</summary>
internal static class Linear
{
    /// <param name="x">[N, in].</param>
    /// <param name="weight">[out, in].</param>
    /// <param name="bias">[out]; null for none.</param>
    /// <param name="noise">From which the dropout of adapters follows; null computes without dropout.</param>
    /// <returns>[N, out], in the element type of x.</returns>
    public static Tensor Forward(Tensor x, Parameter weight, Parameter? bias = null, TokenNoise? noise = null) => weight.Adapters.Count > 0
        ? AdaptedLinear.Forward(x, weight, bias, noise)
        : Forward(x, weight, weight.Compute, bias);

    /// <summary>x · Wᵀ + b outside the graph, without adapters.</summary>
    /// <param name="exact">Each row by itself.</param>
    internal static Tensor Multiply(Tensor x, Parameter weight, Parameter? bias, bool exact) => exact
        ? RowByRow(x, weight.Compute, bias?.Compute, x.DType)
        : Product.Linear(x, weight.Compute, bias?.Compute);

    /// <summary>x · Wᵀ outside the graph, in the precision of x, which is the master's.</summary>
    internal static Tensor MultiplyInMaster(Tensor x, Parameter weight) => Product.Linear(x, weight.Value.Detach(), null);

    /// <summary>Some rows of a weight as they are used, in the master's precision or float32; [rows, in].</summary>
    internal static Tensor Whole(Parameter weight, long start, long rows)
    {
        var values = weight.Value.Detach().Narrow(0, start, rows);
        return values.DType == DType.Float64 ? values : values.To(DType.Float32);
    }

    /// <summary>dy · W outside the graph: the gradient of a layer's input.</summary>
    internal static Tensor MultiplyBack(Tensor dy, Parameter weight) => Product.Of(dy, weight.Compute);

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

    private static Tensor Forward(Tensor x, Parameter weight, Tensor matrix, Parameter? bias)
    {
        using var scope = TensorScope.Enter();
        var needed = AutogradNode.IsNeeded(x, weight.Value, bias?.Value);
        Tensor y;
        using (GradMode.Disabled())
            y = RowExact.IsEnabled && !needed ? RowByRow(x, matrix, bias?.Compute, x.DType) : Product.Linear(x, matrix, bias?.Compute);
        if (needed)
            LinearNode.Attach(x, weight, matrix, bias, y);
        return scope.Keep(y);
    }

    /// <summary>The same with results that depend on their own row alone; without gradients.</summary>
    /// <param name="output">Element type of the result: that of x, or float32.</param>
    internal static Tensor RowByRow(Tensor x, Tensor weight, Tensor? bias, DType output)
    {
        var y = Tensor.Empty(output, x.Device, x.Size(0), weight.Size(0));
        if (!Product.IsStored(x, weight))
            DeviceKernels.Of(x).RowLinear(x, weight, bias, y);
        else
            for (long start = 0, count; start < weight.Size(0); start += count)
            {
                using var scope = TensorScope.Enter();
                var rows = Product.WidenedRows(weight, start);
                count = rows.Size(0);
                y.Narrow(1, start, count).CopyFrom(RowByRow(x, rows, bias?.Narrow(0, start, count), output));
            }
        return y;
    }

    private sealed class LinearNode(Parameter weight, Tensor matrix, Parameter? bias, bool inputNeedsGrad) : AutogradNode
    {
        private Tensor? _x;         // only a trained weight needs it

        public static void Attach(Tensor x, Parameter weight, Tensor matrix, Parameter? bias, Tensor y)
        {
            var node = new LinearNode(weight, matrix, bias, x.RequiresGrad);
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
            return [inputNeedsGrad ? Product.Of(dy, matrix) : null, null, null];
        }
    }
}
