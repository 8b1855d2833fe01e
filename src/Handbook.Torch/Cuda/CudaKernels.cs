using System.Runtime.CompilerServices;
using Handbook.Base;
using Handbook.Torch.Devices;
using Handbook.Torch.Fused;

namespace Handbook.Torch.Cuda;

/// <summary>The fused operations on GPUs: addresses and launches. The element type was picked by <see cref="DeviceKernels"/>.</summary>
/// <remarks>Sums, norms and parameters are float32; what goes to and comes from products is float32, bfloat16 or float16.</remarks>
/// <param name="queue">Where launches go.</param>
/// <param name="place">The kind of device that tensors must be on.</param>
/// <param name="flash">Finds libtorch's own attention when the first layer asks; null where there is none.</param>
internal sealed unsafe partial class CudaKernels(ICudaQueue queue, Device place, Func<FlashAttention?> flash) : DeviceKernels
{
    protected override int Kind => place.Kind;

    protected override string Name => Device.Cuda(-1).ToString();

    protected override bool Takes(DType type) => type is DType.Float32 or DType.BFloat16 or DType.Float16;

    // ---- addresses -----------------------------------------------------------------------------------------------

    // Numbers of the host that a device has seen, by the array: nobody changes one behind its first use.
    private readonly ConditionalWeakTable<Array, object> _sent = [];

    private void Launch(CudaLaunch launch, Device device)
    {
        if (!launch.Grid.IsEmpty)
            queue.Launch(launch, device);
    }

    private void Launch(CudaLaunch[] launches, Device device)
    {
        foreach (var launch in launches)
            Launch(launch, device);
    }

    /// <summary>Where a tensor lies; one of the host's would end the process's use of the card.</summary>
    private T* At<T>(Tensor tensor) where T : unmanaged
    {
        if (tensor.Device.Kind != place.Kind)
            throw new InvalidOperationException($"{tensor.Describe()} is given to a kernel of {Name}, which reads its own memory alone");
        return tensor.Address<T>();
    }

    private T* AtOrNull<T>(Tensor? tensor) where T : unmanaged => tensor is null ? null : At<T>(tensor);

    /// <summary>Where a copy of numbers of the host lies, sent once; the tensor is the scope's.</summary>
    private T* Sent<T>(T[] numbers, Device device) where T : unmanaged =>
        At<T>(((Mirrored<T>)_sent.GetValue(numbers, array => new Mirrored<T>((T[])array))).On(device));

    /// <summary>Where a copy of numbers lies that are for this launch alone; the tensor is the scope's.</summary>
    private T* Send<T>(ReadOnlySpan<T> numbers, Device device) where T : unmanaged => At<T>(Tensor.From(numbers).ToNonBlocking(device));

    // ---- norms ---------------------------------------------------------------------------------------------------

    public override void NormForward<T>(in NormForward norm) =>
        Launch(CudaNorms.Forward(At<float>(norm.Residual), AtOrNull<T>(norm.Delta),
            norm.Delta is null ? null : At<float>(norm.Sum), At<float>(norm.Weight), AtOrNull<float>(norm.Bias),
            At<T>(norm.Output), AtOrNull<float>(norm.Mean), At<float>(norm.InverseDeviation), norm.Residual.Size(0),
            (int)norm.Residual.Size(1), norm.Turns, norm.Offset, (float)norm.Epsilon), norm.Residual.Device);

    public override void NormBackward<T>(in NormBackward norm)
    {
        using var scope = TensorScope.Enter();
        var (rows, width, device) = (norm.Sum.Size(0), (int)norm.Sum.Size(1), norm.Sum.Device);
        var dy = At<T>(norm.OutputGradient);
        float* sum = At<float>(norm.Sum), means = AtOrNull<float>(norm.Mean), rstd = At<float>(norm.InverseDeviation);
        Launch(CudaNorms.Backward(dy, sum, At<float>(norm.Weight), means, rstd, AtOrNull<float>(norm.ResidualGradient),
            At<float>(norm.SumGradient), AtOrNull<T>(norm.DeltaGradient), rows, width, norm.Turns, norm.Offset), device);
        if (norm.WeightGradient is null && norm.BiasGradient is null)
            return;
        var (pieces, _) = CudaNorms.Pieces(rows, norm.Turns);
        var all = (long)width * norm.Turns;
        var weightParts = norm.WeightGradient is null ? null : Tensor.Empty(DType.Float32, device, pieces, all);
        var biasParts = norm.BiasGradient is null ? null : Tensor.Empty(DType.Float32, device, pieces, all);
        Launch(CudaNorms.WeightBackward(dy, sum, means, rstd, AtOrNull<float>(weightParts), AtOrNull<float>(biasParts), rows,
            width, norm.Turns), device);
        if (weightParts is not null)
            Launch(CudaNorms.AddParts(At<float>(weightParts), At<float>(norm.WeightGradient!), pieces, all), device);
        if (biasParts is not null)
            Launch(CudaNorms.AddParts(At<float>(biasParts), At<float>(norm.BiasGradient!), pieces, all), device);
    }

    // ---- point-wise ----------------------------------------------------------------------------------------------

    public override void ActivationForward<T>(Activation activation, bool gated, GateForm form, Tensor x, Tensor y)
    {
        var width = (int)y.Size(1);
        Launch(CudaPointwise.ActivationForward(activation, form, At<T>(x), gated ? At<T>(x) + width : null, x.Stride(0),
            At<T>(y), width, x.Size(0), width), x.Device);
    }

    public override void ActivationBackward<T>(Activation activation, bool gated, GateForm form, Tensor dy, Tensor x, Tensor dx)
    {
        var width = (int)dy.Size(1);
        Launch(CudaPointwise.ActivationBackward(activation, form, At<T>(dy), width, At<T>(x),
            gated ? At<T>(x) + width : null, x.Stride(0), At<T>(dx), gated ? At<T>(dx) + width : null, dx.Stride(0),
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
        Launch(source.DType == DType.BFloat16
            ? CudaPointwise.Accumulate(At<BFloat16>(source), At<float>(target), source.Count, add)
            : CudaPointwise.Accumulate(At<Half>(source), At<float>(target), source.Count, add), target.Device);
    }

    public override void Dropout<T>(Tensor x, Mirrored<long> keys, double rate, bool add, Tensor y)
    {
        using var scope = TensorScope.Enter();
        Launch(CudaPointwise.Dropout(At<T>(x), At<long>(keys.On(x.Device)), At<T>(y), x.Size(0), (int)x.Size(1), rate,
            add), x.Device);
    }

    public override void RoundToBFloat16<T>(Tensor x) => Launch(CudaPointwise.RoundToBFloat16(At<float>(x), x.Count), x.Device);

    public override void AddSquares<T>(Tensor x, ExactSum sum)
    {
        using var scope = TensorScope.Enter();
        var pieces = CudaGrid.Blocks(x.Count, CudaOptimizers.SquaresPiece);
        var (parts, total) = (Tensor.Empty(DType.Float64, x.Device, pieces), Tensor.Empty(DType.Float64, x.Device, 1));
        Launch(CudaOptimizers.Squares(At<T>(x), x.Count, At<double>(parts)), x.Device);
        Launch(CudaOptimizers.AddSquares(At<double>(parts), pieces, At<double>(total), add: false), x.Device);
        sum.Add(total.ToScalar());
    }
}
