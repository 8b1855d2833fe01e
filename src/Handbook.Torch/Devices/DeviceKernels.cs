using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using Handbook.Base;
using Handbook.Torch.Cpu;
using Handbook.Torch.Cuda;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Devices;

/// <summary>
/// The fused operations as one kind of device computes them; <see cref="Of(Tensor)"/> is the one place that chooses by where a tensor
/// lives.
/// </summary>
/// <remarks>
/// A device overrides what it has; the rest answers with an exception that names operation and device. Whoever calls makes the tensors that
/// are
/// written, on the device of what is read; index arrays come as <see cref="Mirrored{T}"/>, of which a kernel takes the side that it reads.
/// N tokens, D columns, E experts, K choices, V entries of a vocabulary.
/// </remarks>
internal abstract partial class DeviceKernels
{
    private static ImmutableArray<DeviceKernels> s_all = [new CpuKernels(), new CudaKernels(new MachineQueue(), Device.Cuda(-1), FlashAttention.OfMachine)];

    /// <summary>libtorch's device type.</summary>
    protected abstract int Kind { get; }

    /// <summary>Computes for one more kind of device from here on.</summary>
    internal static void Register(DeviceKernels kernels) => ImmutableInterlocked.Update(ref s_all, all => all.Add(kernels));

    /// <summary>The kernels for a tensor's device.</summary>
    public static DeviceKernels Of(Tensor tensor) => Of(tensor.Device);

    /// <summary>The kernels of a device; where there are none, an object that says so at the first call.</summary>
    public static DeviceKernels Of(Device device)
    {
        foreach (var kernels in s_all)
            if (kernels.Kind == device.Kind)
                return kernels;
        return new NoKernels(device);
    }

    // ---- norms ---------------------------------------------------------------------------------------------------

    /// <summary>Sums, means and parameters are float64 where the output is, float32 elsewhere.</summary>
    public void NormForward(in NormForward norm)
    {
        NeedReal("a norm", norm.Output.DType, norm.Residual, norm.Weight, norm.Bias);
        switch (Element("a norm", norm.Output, norm.Residual))
        {
            case DType.Float32: NormForward<float>(norm); break;
            case DType.BFloat16: NormForward<BFloat16>(norm); break;
            case DType.Float16: NormForward<Half>(norm); break;
            default: NormForward<double>(norm); break;
        }
    }

    public virtual void NormForward<T>(in NormForward norm) where T : unmanaged => throw Missing();

    public void NormBackward(in NormBackward norm)
    {
        NeedReal("the gradient of a norm", norm.OutputGradient.DType, norm.Sum, norm.Weight, norm.ResidualGradient, norm.SumGradient,
            norm.WeightGradient, norm.BiasGradient);
        switch (Element("the gradient of a norm", norm.OutputGradient, norm.Sum))
        {
            case DType.Float32: NormBackward<float>(norm); break;
            case DType.BFloat16: NormBackward<BFloat16>(norm); break;
            case DType.Float16: NormBackward<Half>(norm); break;
            default: NormBackward<double>(norm); break;
        }
    }

    public virtual void NormBackward<T>(in NormBackward norm) where T : unmanaged => throw Missing();

    // ---- point-wise ----------------------------------------------------------------------------------------------

    /// <param name="x">[N, F], or [N, 2F] where gated.</param>
    /// <param name="y">[N, F]; written.</param>
    public void ActivationForward(Activation activation, bool gated, GateForm form, Tensor x, Tensor y)
    {
        switch (Element("an activation", x))
        {
            case DType.Float32: ActivationForward<float>(activation, gated, form, x, y); break;
            case DType.BFloat16: ActivationForward<BFloat16>(activation, gated, form, x, y); break;
            case DType.Float16: ActivationForward<Half>(activation, gated, form, x, y); break;
            default: ActivationForward<double>(activation, gated, form, x, y); break;
        }
    }

    public virtual void ActivationForward<T>(Activation activation, bool gated, GateForm form, Tensor x, Tensor y) where T : unmanaged =>
        throw Missing();

    /// <param name="dx">Like x; written.</param>
    public void ActivationBackward(Activation activation, bool gated, GateForm form, Tensor dy, Tensor x, Tensor dx)
    {
        switch (Element("the gradient of an activation", x))
        {
            case DType.Float32: ActivationBackward<float>(activation, gated, form, dy, x, dx); break;
            case DType.BFloat16: ActivationBackward<BFloat16>(activation, gated, form, dy, x, dx); break;
            case DType.Float16: ActivationBackward<Half>(activation, gated, form, dy, x, dx); break;
            default: ActivationBackward<double>(activation, gated, form, dy, x, dx); break;
        }
    }

    public virtual void ActivationBackward<T>(Activation activation, bool gated, GateForm form, Tensor dy, Tensor x, Tensor dx)
        where T : unmanaged => throw Missing();

    /// <summary>target = source, or target += source; contiguous, of any two precisions.</summary>
    public virtual void Accumulate(Tensor source, Tensor target, bool add) => throw Missing();

    /// <summary>y = mask(x), or y += mask(x), with the mask of each row's key.</summary>
    /// <param name="x">[N, D].</param>
    /// <param name="keys">[N].</param>
    /// <param name="rate">Share of the elements that become 0; the others grow by 1 / (1 − rate).</param>
    public void Dropout(Tensor x, Mirrored<long> keys, double rate, bool add, Tensor y)
    {
        if (!x.IsContiguous || !y.IsContiguous || x.DType != y.DType || keys.Count != x.Size(0))
            throw Unsupported($"dropout with {keys.Count} keys", x, y);
        switch (Element("dropout", x, y))
        {
            case DType.Float32: Dropout<float>(x, keys, rate, add, y); break;
            case DType.BFloat16: Dropout<BFloat16>(x, keys, rate, add, y); break;
            case DType.Float16: Dropout<Half>(x, keys, rate, add, y); break;
            default: Dropout<double>(x, keys, rate, add, y); break;
        }
    }

    public virtual void Dropout<T>(Tensor x, Mirrored<long> keys, double rate, bool add, Tensor y) where T : unmanaged => throw Missing();

    /// <summary>Rounds every element to the nearest bfloat16, in its place.</summary>
    public void RoundToBFloat16(Tensor x)
    {
        if (!x.IsContiguous || x.DType != DType.Float32)
            throw Unsupported("rounding to bfloat16", x);
        RoundToBFloat16<float>(x);
    }

    public virtual void RoundToBFloat16<T>(Tensor x) where T : unmanaged => throw Missing();

    /// <summary>Adds Σ x², in float64 within blocks of 256 elements, whose sums are added up exactly. Waits for the device.</summary>
    public void AddSquares(Tensor x, ExactSum sum)
    {
        switch (Element("a sum of squares", x))
        {
            case DType.Float32: AddSquares<float>(x, sum); break;
            case DType.BFloat16: AddSquares<BFloat16>(x, sum); break;
            case DType.Float16: AddSquares<Half>(x, sum); break;
            default: AddSquares<double>(x, sum); break;
        }
    }

    public virtual void AddSquares<T>(Tensor x, ExactSum sum) where T : unmanaged => throw Missing();

    // ---- optimisers ----------------------------------------------------------------------------------------------

    /// <summary>One step of a rule that treats every element alike, over flat tensors of one length.</summary>
    /// <param name="states">The rule's states, at most two.</param>
    /// <param name="copy">The new parameters once more, in bfloat16; null where not wanted.</param>
    public void OptimizerStep<TRule>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<Tensor> states, Tensor? copy,
        double gradientScale) where TRule : struct, IOptimizerRule
    {
        switch (Element("an optimiser's step", parameters))
        {
            case DType.Float32: OptimizerStep<TRule, float>(rule, parameters, gradients, states, copy, gradientScale); break;
            case DType.BFloat16: OptimizerStep<TRule, BFloat16>(rule, parameters, gradients, states, copy, gradientScale); break;
            case DType.Float64: OptimizerStep<TRule, double>(rule, parameters, gradients, states, copy, gradientScale); break;
            default: throw Unsupported("an optimiser's step", parameters);
        }
    }

    public virtual void OptimizerStep<TRule, T>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<Tensor> states, Tensor? copy,
        double gradientScale)
        where TRule : struct, IOptimizerRule where T : unmanaged => throw Missing();

    /// <summary>The same with states in eight bits a number.</summary>
    /// <param name="states">At least one, at most two; a block of codes begins where the parameters do.</param>
    public void OptimizerStep<TRule>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<CodedTensors> states, Tensor? copy,
        double gradientScale) where TRule : struct, IOptimizerRule
    {
        switch (Element("an optimiser's step with 8-bit states", parameters))
        {
            case DType.Float32: OptimizerStep<TRule, float>(rule, parameters, gradients, states, copy, gradientScale); break;
            case DType.Float64: OptimizerStep<TRule, double>(rule, parameters, gradients, states, copy, gradientScale); break;
            default: throw Unsupported("an optimiser's step with 8-bit states", parameters);
        }
    }

    public virtual void OptimizerStep<TRule, T>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<CodedTensors> states,
        Tensor? copy, double gradientScale)
        where TRule : struct, IOptimizerRule where T : unmanaged => throw Missing();

    /// <param name="parameters">[rows, width], or [count].</param>
    /// <param name="rowState">[rows], or [count].</param>
    /// <param name="columnState">[width]; null for a vector.</param>
    public virtual void AdafactorStep(AdafactorStep step, Tensor parameters, Tensor gradients, Tensor rowState, Tensor? columnState,
        double gradientScale) =>
        throw Missing();

    // ---- what it is ----------------------------------------------------------------------------------------------

    /// <summary>The device in an error message.</summary>
    protected abstract string Name { get; }

    /// <summary>Whether there are kernels for elements of a type.</summary>
    protected abstract bool Takes(DType type);

    /// <summary>What has no kernel, in words.</summary>
    protected NotSupportedException Unsupported(string operation, params ReadOnlySpan<Tensor> tensors)
    {
        var described = new string[tensors.Length];
        for (var i = 0; i < tensors.Length; i++)
            described[i] = tensors[i].Describe();
        return new($"{operation} of {string.Join(" and ", described)} on {Name}");
    }

    /// <summary>The element type that a kernel is chosen by.</summary>
    private DType Element(string operation, Tensor tensor, params ReadOnlySpan<Tensor> others) =>
        Takes(tensor.DType) ? tensor.DType : throw Unsupported(operation, [tensor, .. others]);

    /// <summary>The element type of a table, which may be kept in half precision by devices that do not compute in it.</summary>
    private DType Stored(string operation, Tensor table) => table.DType == DType.Float16 ? DType.Float16 : Element(operation, table);

    /// <summary>The element type of what is float32 or float64, both alike.</summary>
    private DType Real(string operation, Tensor tensor, Tensor other) =>
        tensor.DType is DType.Float32 or DType.Float64 && other.DType == tensor.DType ? Element(operation, tensor)
            : throw Unsupported(operation, tensor, other);

    /// <summary>Refuses sums and parameters of another type than float64 beside elements of float64, float32 beside all others.</summary>
    private void NeedReal(string operation, DType elements, params ReadOnlySpan<Tensor?> tensors)
    {
        foreach (var tensor in tensors)
            if (tensor is not null && tensor.DType != (elements == DType.Float64 ? DType.Float64 : DType.Float32))
                throw Unsupported($"{operation} with elements of {elements.ToString().ToLowerInvariant()}", tensor);
    }

    private TorchException Missing([CallerMemberName] string operation = "") =>
        new($"{operation} has no kernel for tensors on {Name}; it has one for: "
            + string.Join(", ", s_all.Where(kernels => kernels.Has(operation)).Select(kernels => kernels.Name).Distinct()));

    /// <summary>The operations that a kind of device has a kernel for, by name.</summary>
    public static IReadOnlyList<string> FusedOn(Device device)
    {
        var kernels = Of(device);
        return [.. typeof(DeviceKernels).GetMethods().Where(method => method.IsVirtual && kernels.Has(method.Name)).Select(method => method.Name)
            .Distinct().Order(StringComparer.Ordinal)];
    }

    private bool Has(string operation) => GetType().GetMethods().Any(method => method.Name == operation && method.DeclaringType == GetType());

    /// <summary>A device that we have no kernel for.</summary>
    private sealed class NoKernels(Device device) : DeviceKernels
    {
        protected override int Kind => device.Kind;

        protected override string Name => device.ToString();

        protected override bool Takes(DType type) => true;         // each operation says that it is missing
    }
}

/// <summary>The addition to the residual stream and the norm behind it; what <see cref="AddNorm"/> computes.</summary>
internal readonly record struct NormForward
{
    /// <summary>h, [N, D].</summary>
    public required Tensor Residual { get; init; }

    /// <summary>[N, D]; null for nothing.</summary>
    public required Tensor? Delta { get; init; }

    /// <summary>[D]; [turns, D] where there are several.</summary>
    public required Tensor Weight { get; init; }

    /// <summary>[D]; null for none.</summary>
    public required Tensor? Bias { get; init; }

    /// <summary>ε under the root.</summary>
    public required double Epsilon { get; init; }

    /// <summary>1 where the weight is stored as an offset from 1.</summary>
    public required int Offset { get; init; }

    /// <summary>Weights that the rows take in turn, below one another; 1 for most.</summary>
    public required int Turns { get; init; }

    /// <summary>h', [N, D]; written where there is a delta.</summary>
    public required Tensor Sum { get; init; }

    /// <summary>[N, D]; written.</summary>
    public required Tensor Output { get; init; }

    /// <summary>1/√(mean square or variance + ε), [N]; written.</summary>
    public required Tensor InverseDeviation { get; init; }

    /// <summary>[N]; written. Null: the mean stays in (RMS norm).</summary>
    public required Tensor? Mean { get; init; }
}

/// <summary>Back through <see cref="NormForward"/>.</summary>
internal readonly record struct NormBackward
{
    /// <summary>∂loss/∂y, [N, D].</summary>
    public required Tensor OutputGradient { get; init; }

    /// <summary>∂loss/∂h' from elsewhere, [N, D]; null where none arrived.</summary>
    public required Tensor? ResidualGradient { get; init; }

    /// <summary>h', [N, D].</summary>
    public required Tensor Sum { get; init; }

    /// <summary>[D]; [turns, D] where there are several.</summary>
    public required Tensor Weight { get; init; }

    public required int Offset { get; init; }

    public required int Turns { get; init; }

    /// <summary>[N].</summary>
    public required Tensor InverseDeviation { get; init; }

    /// <summary>[N]; null for an RMS norm.</summary>
    public required Tensor? Mean { get; init; }

    /// <summary>∂loss/∂h, [N, D]; written.</summary>
    public required Tensor SumGradient { get; init; }

    /// <summary>The same in the precision of the products, [N, D]; written. Null where that is the same.</summary>
    public required Tensor? DeltaGradient { get; init; }

    /// <summary>[D]; added to. Null where the weight is frozen.</summary>
    public required Tensor? WeightGradient { get; init; }

    /// <summary>[D]; added to. Null where there is no bias, or it is frozen.</summary>
    public required Tensor? BiasGradient { get; init; }
}

/// <summary>A state of an optimiser in eight bits a number.</summary>
/// <param name="Codes">[whole blocks of 256], bytes.</param>
/// <param name="Scales">[blocks], float32.</param>
/// <param name="Code">What the codes mean.</param>
internal readonly record struct CodedTensors(Tensor Codes, Tensor Scales, DynamicCode Code);
