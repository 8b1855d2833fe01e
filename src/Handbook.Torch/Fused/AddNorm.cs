using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>The addition to the residual stream and the norm that follows it, in one pass: h' = h + delta, y = norm(h').</summary>
/// <remarks>
/// The residual stream h stays in the master's precision (float32, or float64 in tests); delta and y have the precision of the products.
/// RMS norm: <see cref="RmsNormKernel"/>; layer norm: <see cref="LayerNormKernel"/>, which also takes the mean out.
/// </remarks>
public sealed unsafe class AddNorm : AutogradNode
{
    private readonly Parameter _weight;
    private readonly Parameter? _bias;
    private readonly bool _centred;
    private readonly int _offset;
    private readonly DType _output;
    private Tensor _sum = null!;
    private Tensor _rstd = null!;
    private Tensor? _mean;

    private AddNorm(Parameter weight, Parameter? bias, bool centred, int offset, DType output) =>
        (_weight, _bias, _centred, _offset, _output) = (weight, bias, centred, offset, output);

    /// <param name="residual">h, [N, D], float32 or float64.</param>
    /// <param name="delta">[N, D], what the previous block adds; null for nothing.</param>
    /// <param name="weight">[D].</param>
    /// <param name="epsilon">ε under the root.</param>
    /// <param name="output">Element type of y.</param>
    /// <param name="offset">1 where the weight is stored as an offset from 1.</param>
    /// <returns>h' and y.</returns>
    public static (Tensor Residual, Tensor Output) Rms(Tensor residual, Tensor? delta, Parameter weight, double epsilon, DType output, int offset = 0) =>
        Run(residual, delta, weight, null, centred: false, epsilon, output, offset);

    /// <summary>As <see cref="Rms"/>, with the mean taken out and an optional bias.</summary>
    public static (Tensor Residual, Tensor Output) Layer(Tensor residual, Tensor? delta, Parameter weight, Parameter? bias, double epsilon, DType output) =>
        Run(residual, delta, weight, bias, centred: true, epsilon, output, 0);

    private static (Tensor, Tensor) Run(Tensor residual, Tensor? delta, Parameter weight, Parameter? bias, bool centred, double epsilon, DType output, int offset)
    {
        if (delta is not null && delta.DType != output)
            throw new ArgumentException($"delta is {delta.Describe()}, but the products are {output}", nameof(delta));
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(residual, delta, weight.Value, bias?.Value);
        var node = new AddNorm(weight, bias, centred, offset, output);
        Tensor sum, y;
        using (GradMode.Disabled())
        {
            sum = delta is null ? residual.Detach() : residual.EmptyLike();
            y = Tensor.Empty(output, Device.Cpu, residual.Shape);
            var rows = residual.Size(0);
            var rstd = Tensor.Empty(residual.DType, Device.Cpu, rows);
            var mean = centred ? Tensor.Empty(residual.DType, Device.Cpu, rows) : null;
            switch (residual.DType, output)
            {
                case (DType.Float32, DType.Float32): node.Forward<float, float>(residual, delta, sum, y, rstd, mean, epsilon); break;
                case (DType.Float32, DType.BFloat16): node.Forward<float, BFloat16>(residual, delta, sum, y, rstd, mean, epsilon); break;
                case (DType.Float64, DType.Float64): node.Forward<double, double>(residual, delta, sum, y, rstd, mean, epsilon); break;
                default: throw new NotSupportedException($"a norm of {residual.Describe()} to {output}");
            }
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

    private void Forward<TReal, T>(Tensor residual, Tensor? delta, Tensor sum, Tensor y, Tensor rstd, Tensor? mean, double epsilon)
        where TReal : unmanaged where T : unmanaged
    {
        var (rows, width) = ((int)residual.Size(0), (int)residual.Size(1));
        var added = delta is null ? null : delta.Pointer<T>();
        var target = delta is null ? null : sum.Pointer<TReal>();
        if (_centred)
            LayerNormKernel.Forward(residual.Pointer<TReal>(), added, target, _weight.Value.Pointer<TReal>(), _bias is null ? null : _bias.Value.Pointer<TReal>(),
                y.Pointer<T>(), mean!.Pointer<TReal>(), rstd.Pointer<TReal>(), rows, width, epsilon);
        else
            RmsNormKernel.Forward(residual.Pointer<TReal>(), added, target, _weight.Value.Pointer<TReal>(), y.Pointer<T>(), rstd.Pointer<TReal>(), rows, width, epsilon, _offset);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients) => (_sum.DType, _output) switch
    {
        (DType.Float32, DType.Float32) => Backward<float, float>(gradients),
        (DType.Float32, _) => Backward<float, BFloat16>(gradients),
        _ => Backward<double, double>(gradients),
    };

    private Tensor?[] Backward<TReal, T>(Tensor?[] gradients) where TReal : unmanaged where T : unmanaged
    {
        var (rows, width) = ((int)_sum.Size(0), (int)_sum.Size(1));
        if (gradients[1] is not { } outputGradient)
            return [gradients[0], gradients[0]?.To(_output), null, null];      // y took no part: only the stream goes on
        outputGradient = outputGradient.Contiguous();
        var residualGradient = gradients[0]?.Contiguous();
        var dh = _sum.EmptyLike();
        var sameType = typeof(TReal) == typeof(T);
        var delta = sameType ? dh : Tensor.Empty(_output, Device.Cpu, rows, width);
        var dres = residualGradient is null ? null : residualGradient.Pointer<TReal>();
        var ddelta = sameType ? null : delta.Pointer<T>();
        var dw = _weight.IsTrainable ? _weight.GradientToAddTo().Pointer<TReal>() : null;
        if (_centred)
            LayerNormKernel.Backward(outputGradient.Pointer<T>(), _sum.Pointer<TReal>(), _weight.Value.Pointer<TReal>(), _mean!.Pointer<TReal>(), _rstd.Pointer<TReal>(),
                dres, dh.Pointer<TReal>(), ddelta, dw, _bias is { IsTrainable: true } ? _bias.GradientToAddTo().Pointer<TReal>() : null, rows, width);
        else
            RmsNormKernel.Backward(outputGradient.Pointer<T>(), _sum.Pointer<TReal>(), _weight.Value.Pointer<TReal>(), _rstd.Pointer<TReal>(),
                dres, dh.Pointer<TReal>(), ddelta, dw, rows, width, _offset);
        return [dh, delta, null, null];
    }
}
