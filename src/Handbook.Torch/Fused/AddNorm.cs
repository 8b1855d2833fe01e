using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>The addition to the residual stream and the norm that follows it, in one pass: h' = h + delta, y = norm(h').</summary>
/// <remarks>
/// The residual stream h stays in the master's precision (float32, or float64 in tests); delta and y have the precision of the products.
/// RMS norm: <see cref="RmsNormKernel"/>; layer norm: <see cref="LayerNormKernel"/>, which also takes the mean out.
/// </remarks>
internal sealed class AddNorm : AutogradNode
{
    private readonly Parameter _weight;
    private readonly Parameter? _bias;
    private readonly int _offset;
    private readonly int _turns;
    private readonly DType _output;
    private Tensor _sum = null!;
    private Tensor _rstd = null!;
    private Tensor? _mean;

    private AddNorm(Parameter weight, Parameter? bias, int offset, int turns, DType output) =>
        (_weight, _bias, _offset, _turns, _output) = (weight, bias, offset, turns, output);

    /// <param name="residual">h, [N, D], float32 or float64.</param>
    /// <param name="delta">[N, D], what the previous block adds; null for nothing.</param>
    /// <param name="weight">[D]; [turns, D] where the rows take several in turn.</param>
    /// <param name="epsilon">ε under the root.</param>
    /// <param name="output">Element type of y.</param>
    /// <param name="offset">1 where the weight is stored as an offset from 1.</param>
    /// <param name="turns">Weights that the rows take in turn: one for each head, where rows are heads.</param>
    /// <returns>h' and y.</returns>
    public static (Tensor Residual, Tensor Output) Rms(Tensor residual, Tensor? delta, Parameter weight, double epsilon, DType output,
        int offset = 0, int turns = 1) =>
        Run(residual, delta, weight, null, centred: false, epsilon, output, offset, turns);

    /// <summary>As <see cref="Rms"/>, with the mean taken out and an optional bias.</summary>
    public static (Tensor Residual, Tensor Output) Layer(Tensor residual, Tensor? delta, Parameter weight, Parameter? bias,
        double epsilon, DType output, int offset = 0, int turns = 1) =>
        Run(residual, delta, weight, bias, centred: true, epsilon, output, offset, turns);

    private static (Tensor, Tensor) Run(Tensor residual, Tensor? delta, Parameter weight, Parameter? bias, bool centred, double epsilon,
        DType output, int offset, int turns)
    {
        if (delta is not null && delta.DType != output)
            throw new ArgumentException($"delta is {delta.Describe()}, but the products are {output}", nameof(delta));
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(residual, delta, weight.Value, bias?.Value);
        var node = new AddNorm(weight, bias, offset, turns, output);
        Tensor sum, y;
        using (GradMode.Disabled())
        {
            sum = delta is null ? residual.Detach() : residual.EmptyLike();
            y = Tensor.Empty(output, residual.Device, residual.Shape);
            var rows = residual.Size(0);
            var rstd = Tensor.Empty(residual.DType, residual.Device, rows);
            var mean = centred ? Tensor.Empty(residual.DType, residual.Device, rows) : null;
            DeviceKernels.Of(residual).NormForward(new()
            {
                Residual = residual,
                Delta = delta,
                Weight = weight.Value,
                Bias = bias?.Value,
                Epsilon = epsilon,
                Offset = offset,
                Turns = turns,
                Sum = sum,
                Output = y,
                InverseDeviation = rstd,
                Mean = mean,
            });
            if (needed)
            {
                node._sum = node.Save(sum);
                node._rstd = node.Save(rstd);
                node._mean = mean is null ? null : node.Save(mean);
            }
        }
        if (needed)
            node.Attach([residual, delta, weight.Value, bias?.Value], sum, y);
        return (scope.Keep(sum), scope.Keep(y));
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        if (gradients[1] is not { } outputGradient)
            return [gradients[0], gradients[0]?.To(_output), null, null];      // y took no part: only the stream goes on
        var dh = _sum.EmptyLike();
        var delta = _sum.DType == _output ? dh : Tensor.Empty(_output, _sum.Device, _sum.Shape);
        DeviceKernels.Of(_sum).NormBackward(new()
        {
            OutputGradient = outputGradient.Contiguous(),
            ResidualGradient = gradients[0]?.Contiguous(),
            Sum = _sum,
            Weight = _weight.Value,
            Offset = _offset,
            Turns = _turns,
            InverseDeviation = _rstd,
            Mean = _mean,
            SumGradient = dh,
            DeltaGradient = _sum.DType == _output ? null : delta,
            WeightGradient = _weight.IsTrainable ? _weight.GradientToAddTo() : null,
            BiasGradient = _bias is { IsTrainable: true } ? _bias.GradientToAddTo() : null,
        });
        return [dh, delta, null, null];
    }
}
