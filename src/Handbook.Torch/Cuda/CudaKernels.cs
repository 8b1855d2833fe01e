using Handbook.Base;
using Handbook.Torch.Devices;
using Handbook.Torch.Fused;

namespace Handbook.Torch.Cuda;

/// <summary>The fused operations on GPUs, as far as there are kernels: picks the element types and launches.</summary>
/// <remarks>Sums, norms and parameters are float32; what goes to and comes from products is float32, bfloat16 or float16.</remarks>
/// <param name="queue">Where launches go.</param>
internal sealed unsafe partial class CudaKernels(ICudaQueue queue) : DeviceKernels
{
    protected override int Kind => Device.Cuda(0).Kind;

    protected override string Name => Device.Cuda(-1).ToString();

    private static NotSupportedException Unsupported(string operation, params ReadOnlySpan<Tensor> tensors)
    {
        var described = new string[tensors.Length];
        for (var i = 0; i < tensors.Length; i++)
            described[i] = tensors[i].Describe();
        return new($"{operation} of {string.Join(" and ", described)} on a GPU");
    }

    private static void NeedFloat32(string operation, params ReadOnlySpan<Tensor?> tensors)
    {
        foreach (var tensor in tensors)
            if (tensor is not null && tensor.DType != DType.Float32)
                throw Unsupported(operation, tensor);
    }

    private static T* PointerOrNull<T>(Tensor? tensor) where T : unmanaged => tensor is null ? null : tensor.Pointer<T>();

    // ---- norms ---------------------------------------------------------------------------------------------------

    public override void NormForward(in NormForward norm)
    {
        NeedFloat32("a norm", norm.Residual, norm.Weight, norm.Bias);
        switch (norm.Output.DType)
        {
            case DType.Float32: Norm<float>(norm); break;
            case DType.BFloat16: Norm<BFloat16>(norm); break;
            case DType.Float16: Norm<Half>(norm); break;
            default: throw Unsupported("a norm", norm.Residual, norm.Output);
        }
    }

    private void Norm<T>(in NormForward norm) where T : unmanaged =>
        queue.Launch(CudaNorms.Forward(norm.Residual.Pointer<float>(), PointerOrNull<T>(norm.Delta),
            norm.Delta is null ? null : norm.Sum.Pointer<float>(), norm.Weight.Pointer<float>(), PointerOrNull<float>(norm.Bias),
            norm.Output.Pointer<T>(), PointerOrNull<float>(norm.Mean), norm.InverseDeviation.Pointer<float>(), norm.Residual.Size(0),
            (int)norm.Residual.Size(1), norm.Turns, norm.Offset, (float)norm.Epsilon), norm.Residual.Device);

    public override void NormBackward(in NormBackward norm)
    {
        NeedFloat32("the gradient of a norm", norm.Sum, norm.Weight, norm.ResidualGradient, norm.SumGradient, norm.WeightGradient,
            norm.BiasGradient);
        switch (norm.OutputGradient.DType)
        {
            case DType.Float32: Norm<float>(norm); break;
            case DType.BFloat16: Norm<BFloat16>(norm); break;
            case DType.Float16: Norm<Half>(norm); break;
            default: throw Unsupported("the gradient of a norm", norm.Sum, norm.OutputGradient);
        }
    }

    private void Norm<T>(in NormBackward norm) where T : unmanaged
    {
        using var scope = TensorScope.Enter();
        var (rows, width, device) = (norm.Sum.Size(0), (int)norm.Sum.Size(1), norm.Sum.Device);
        var dy = norm.OutputGradient.Pointer<T>();
        float* sum = norm.Sum.Pointer<float>(), means = PointerOrNull<float>(norm.Mean), rstd = norm.InverseDeviation.Pointer<float>();
        queue.Launch(CudaNorms.Backward(dy, sum, norm.Weight.Pointer<float>(), means, rstd, PointerOrNull<float>(norm.ResidualGradient),
            norm.SumGradient.Pointer<float>(), PointerOrNull<T>(norm.DeltaGradient), rows, width, norm.Turns, norm.Offset), device);
        if (norm.WeightGradient is null && norm.BiasGradient is null)
            return;
        var (pieces, _) = CudaNorms.Pieces(rows, norm.Turns);
        var all = (long)width * norm.Turns;
        var weightParts = norm.WeightGradient is null ? null : Tensor.Empty(DType.Float32, device, pieces, all);
        var biasParts = norm.BiasGradient is null ? null : Tensor.Empty(DType.Float32, device, pieces, all);
        queue.Launch(CudaNorms.WeightBackward(dy, sum, means, rstd, PointerOrNull<float>(weightParts), PointerOrNull<float>(biasParts), rows,
            width, norm.Turns), device);
        if (weightParts is not null)
            queue.Launch(CudaNorms.AddParts(weightParts.Pointer<float>(), norm.WeightGradient!.Pointer<float>(), pieces, all), device);
        if (biasParts is not null)
            queue.Launch(CudaNorms.AddParts(biasParts.Pointer<float>(), norm.BiasGradient!.Pointer<float>(), pieces, all), device);
    }

    // ---- point-wise ----------------------------------------------------------------------------------------------

    public override void ActivationForward(Activation activation, bool gated, GateForm form, Tensor x, Tensor y)
    {
        switch (x.DType)
        {
            case DType.Float32: Activate<float>(activation, gated, form, x, y); break;
            case DType.BFloat16: Activate<BFloat16>(activation, gated, form, x, y); break;
            case DType.Float16: Activate<Half>(activation, gated, form, x, y); break;
            default: throw Unsupported("an activation", x);
        }
    }

    private void Activate<T>(Activation activation, bool gated, GateForm form, Tensor x, Tensor y) where T : unmanaged
    {
        var width = (int)y.Size(1);
        queue.Launch(CudaPointwise.ActivationForward(activation, form, x.Pointer<T>(), gated ? x.Pointer<T>() + width : null, x.Stride(0),
            y.Pointer<T>(), width, x.Size(0), width), x.Device);
    }

    public override void ActivationBackward(Activation activation, bool gated, GateForm form, Tensor dy, Tensor x, Tensor dx)
    {
        switch (x.DType)
        {
            case DType.Float32: Activate<float>(activation, gated, form, dy, x, dx); break;
            case DType.BFloat16: Activate<BFloat16>(activation, gated, form, dy, x, dx); break;
            case DType.Float16: Activate<Half>(activation, gated, form, dy, x, dx); break;
            default: throw Unsupported("the gradient of an activation", x);
        }
    }

    private void Activate<T>(Activation activation, bool gated, GateForm form, Tensor dy, Tensor x, Tensor dx) where T : unmanaged
    {
        var width = (int)dy.Size(1);
        queue.Launch(CudaPointwise.ActivationBackward(activation, form, dy.Pointer<T>(), width, x.Pointer<T>(),
            gated ? x.Pointer<T>() + width : null, x.Stride(0), dx.Pointer<T>(), gated ? dx.Pointer<T>() + width : null, dx.Stride(0),
            dy.Size(0), width), x.Device);
    }

    public override void Accumulate(Tensor source, Tensor target, bool add)
    {
        if (target.DType != DType.Float32 || !source.IsContiguous || !target.IsContiguous || source.DType is not (DType.BFloat16 or DType.Float16))
        {
            // what libtorch does in one pass
            if (add)
                target.AddInPlace(source);
            else
                target.CopyFromNonBlocking(source);
            return;
        }
        queue.Launch(source.DType == DType.BFloat16
            ? CudaPointwise.Accumulate(source.Pointer<BFloat16>(), target.Pointer<float>(), source.Count, add)
            : CudaPointwise.Accumulate(source.Pointer<Half>(), target.Pointer<float>(), source.Count, add), target.Device);
    }

    public override void Dropout(Tensor x, Mirrored<long> keys, double rate, bool add, Tensor y)
    {
        if (!x.IsContiguous || !y.IsContiguous || x.DType != y.DType || keys.Count != x.Size(0))
            throw Unsupported($"dropout with {keys.Count} keys", x, y);
        switch (x.DType)
        {
            case DType.Float32: Dropout<float>(x, keys, rate, add, y); break;
            case DType.BFloat16: Dropout<BFloat16>(x, keys, rate, add, y); break;
            case DType.Float16: Dropout<Half>(x, keys, rate, add, y); break;
            default: throw Unsupported("dropout", x, y);
        }
    }

    private void Dropout<T>(Tensor x, Mirrored<long> keys, double rate, bool add, Tensor y) where T : unmanaged
    {
        using var scope = TensorScope.Enter();
        queue.Launch(CudaPointwise.Dropout(x.Pointer<T>(), keys.On(x.Device).Pointer<long>(), y.Pointer<T>(), x.Size(0), (int)x.Size(1), rate,
            add), x.Device);
    }

    public override void RoundToBFloat16(Tensor x)
    {
        if (!x.IsContiguous || x.DType != DType.Float32)
            throw Unsupported("rounding to bfloat16", x);
        queue.Launch(CudaPointwise.RoundToBFloat16(x.Pointer<float>(), x.Count), x.Device);
    }

    public override void AddSquares(Tensor x, ExactSum sum)
    {
        switch (x.DType)
        {
            case DType.Float32: Squares<float>(x, sum); break;
            case DType.BFloat16: Squares<BFloat16>(x, sum); break;
            case DType.Float16: Squares<Half>(x, sum); break;
            default: throw Unsupported("a sum of squares", x);
        }
    }

    private void Squares<T>(Tensor x, ExactSum sum) where T : unmanaged
    {
        using var scope = TensorScope.Enter();
        var pieces = CudaGrid.Blocks(x.Count, CudaOptimizers.SquaresPiece);
        var (parts, total) = (Tensor.Empty(DType.Float64, x.Device, pieces), Tensor.Empty(DType.Float64, x.Device, 1));
        queue.Launch(CudaOptimizers.Squares(x.Pointer<T>(), x.Count, parts.Pointer<double>()), x.Device);
        queue.Launch(CudaOptimizers.AddSquares(parts.Pointer<double>(), pieces, total.Pointer<double>(), add: false), x.Device);
        sum.Add(total.ToScalar());
    }
}
