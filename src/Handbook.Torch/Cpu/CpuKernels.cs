using Handbook.Base;
using Handbook.Torch.Devices;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cpu;

/// <summary>The fused operations on the CPU: picks the element types and hands pointers to the kernels.</summary>
internal sealed unsafe partial class CpuKernels : DeviceKernels
{
    protected override int Kind => Device.Cpu.Kind;

    protected override string Name => Device.Cpu.ToString();

    private static NotSupportedException Unsupported(string operation, params ReadOnlySpan<Tensor> tensors)
    {
        var described = new string[tensors.Length];
        for (var i = 0; i < tensors.Length; i++)
            described[i] = tensors[i].Describe();
        return new($"{operation} of {string.Join(" and ", described)}");
    }

    private static T* PointerOrNull<T>(Tensor? tensor) where T : unmanaged => tensor is null ? null : tensor.Pointer<T>();

    // ---- norms ---------------------------------------------------------------------------------------------------

    public override void NormForward(in NormForward norm)
    {
        switch (norm.Residual.DType, norm.Output.DType)
        {
            case (DType.Float32, DType.Float32): Norm<float, float>(norm); break;
            case (DType.Float32, DType.BFloat16): Norm<float, BFloat16>(norm); break;
            case (DType.Float64, DType.Float64): Norm<double, double>(norm); break;
            default: throw Unsupported("a norm", norm.Residual, norm.Output);
        }
    }

    private static void Norm<TReal, T>(in NormForward norm) where TReal : unmanaged where T : unmanaged
    {
        var (rows, width) = ((int)norm.Residual.Size(0), (int)norm.Residual.Size(1));
        var sum = norm.Delta is null ? null : norm.Sum.Pointer<TReal>();
        if (norm.Mean is not null)
            LayerNormKernel.Forward(norm.Residual.Pointer<TReal>(), PointerOrNull<T>(norm.Delta), sum, norm.Weight.Pointer<TReal>(),
                PointerOrNull<TReal>(norm.Bias),
                norm.Output.Pointer<T>(), norm.Mean.Pointer<TReal>(), norm.InverseDeviation.Pointer<TReal>(), rows, width, norm.Epsilon,
                norm.Offset, norm.Turns);
        else
            RmsNormKernel.Forward(norm.Residual.Pointer<TReal>(), PointerOrNull<T>(norm.Delta), sum, norm.Weight.Pointer<TReal>(),
                norm.Output.Pointer<T>(), norm.InverseDeviation.Pointer<TReal>(), rows, width, norm.Epsilon, norm.Offset, norm.Turns);
    }

    public override void NormBackward(in NormBackward norm)
    {
        switch (norm.Sum.DType, norm.OutputGradient.DType)
        {
            case (DType.Float32, DType.Float32): Norm<float, float>(norm); break;
            case (DType.Float32, DType.BFloat16): Norm<float, BFloat16>(norm); break;
            case (DType.Float64, DType.Float64): Norm<double, double>(norm); break;
            default: throw Unsupported("the gradient of a norm", norm.Sum, norm.OutputGradient);
        }
    }

    private static void Norm<TReal, T>(in NormBackward norm) where TReal : unmanaged where T : unmanaged
    {
        var (rows, width) = ((int)norm.Sum.Size(0), (int)norm.Sum.Size(1));
        if (norm.Mean is not null)
            LayerNormKernel.Backward(norm.OutputGradient.Pointer<T>(), norm.Sum.Pointer<TReal>(), norm.Weight.Pointer<TReal>(),
                norm.Mean.Pointer<TReal>(),
                norm.InverseDeviation.Pointer<TReal>(), PointerOrNull<TReal>(norm.ResidualGradient), norm.SumGradient.Pointer<TReal>(),
                PointerOrNull<T>(norm.DeltaGradient), PointerOrNull<TReal>(norm.WeightGradient), PointerOrNull<TReal>(norm.BiasGradient),
                rows, width, norm.Offset, norm.Turns);
        else
            RmsNormKernel.Backward(norm.OutputGradient.Pointer<T>(), norm.Sum.Pointer<TReal>(), norm.Weight.Pointer<TReal>(),
                norm.InverseDeviation.Pointer<TReal>(), PointerOrNull<TReal>(norm.ResidualGradient), norm.SumGradient.Pointer<TReal>(),
                PointerOrNull<T>(norm.DeltaGradient), PointerOrNull<TReal>(norm.WeightGradient), rows, width, norm.Offset,
                norm.Turns);
    }

    // ---- point-wise ----------------------------------------------------------------------------------------------

    public override void ActivationForward(Activation activation, bool gated, GateForm form, Tensor x, Tensor y)
    {
        switch (x.DType)
        {
            case DType.Float32: Activate<float>(activation, gated, form, x, y); break;
            case DType.BFloat16: Activate<BFloat16>(activation, gated, form, x, y); break;
            case DType.Float64: Activate<double>(activation, gated, form, x, y); break;
            default: throw Unsupported("an activation", x);
        }
    }

    private static void Activate<T>(Activation activation, bool gated, GateForm form, Tensor x, Tensor y) where T : unmanaged
    {
        var width = (int)y.Size(1);
        var up = gated ? x.Pointer<T>() + width : null;
        ActivationKernel.Forward(activation, form, x.Pointer<T>(), up, x.Stride(0), y.Pointer<T>(), width, (int)x.Size(0), width);
    }

    public override void ActivationBackward(Activation activation, bool gated, GateForm form, Tensor dy, Tensor x, Tensor dx)
    {
        switch (x.DType)
        {
            case DType.Float32: Activate<float>(activation, gated, form, dy, x, dx); break;
            case DType.BFloat16: Activate<BFloat16>(activation, gated, form, dy, x, dx); break;
            case DType.Float64: Activate<double>(activation, gated, form, dy, x, dx); break;
            default: throw Unsupported("the gradient of an activation", x);
        }
    }

    private static void Activate<T>(Activation activation, bool gated, GateForm form, Tensor dy, Tensor x, Tensor dx) where T : unmanaged
    {
        var width = (int)dy.Size(1);
        ActivationKernel.Backward(activation, form, dy.Pointer<T>(), width, x.Pointer<T>(), gated ? x.Pointer<T>() + width : null, x.Stride(0),
            dx.Pointer<T>(), gated ? dx.Pointer<T>() + width : null, dx.Stride(0), (int)dy.Size(0), width);
    }

    public override void Accumulate(Tensor source, Tensor target, bool add)
    {
        if (source.DType == DType.BFloat16 && target.DType == DType.Float32 && source.IsContiguous)
            // one pass over both; the operator of libtorch would convert into a copy first
            Accumulate<BFloat16, float>(source, target, add);
        else if (add)
            target.AddInPlace(source);
        else
            target.CopyFrom(source);
    }

    private static void Accumulate<TFrom, TTo>(Tensor source, Tensor target, bool add) where TFrom : unmanaged where TTo : unmanaged
    {
        if (add)
            ElementwiseKernel.AddScaled(source.Pointer<TFrom>(), target.Pointer<TTo>(), source.Count);
        else
            ElementwiseKernel.Convert(source.Pointer<TFrom>(), target.Pointer<TTo>(), source.Count);
    }

    public override void AddSquares(Tensor x, ExactSum sum)
    {
        switch (x.DType)
        {
            case DType.Float32: ElementwiseKernel.AddSquares(x.Pointer<float>(), x.Count, sum); break;
            case DType.BFloat16: ElementwiseKernel.AddSquares(x.Pointer<BFloat16>(), x.Count, sum); break;
            case DType.Float64: ElementwiseKernel.AddSquares(x.Pointer<double>(), x.Count, sum); break;
            default: throw Unsupported("a sum of squares", x);
        }
    }

    // ---- optimisers ----------------------------------------------------------------------------------------------

    public override void OptimizerStep<TRule>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<Tensor> states, Tensor? copy,
        double gradientScale)
    {
        switch (parameters.DType)
        {
            case DType.Float32: Step<TRule, float>(rule, parameters, gradients, states, copy, gradientScale); break;
            case DType.BFloat16: Step<TRule, BFloat16>(rule, parameters, gradients, states, copy, gradientScale); break;
            case DType.Float64: Step<TRule, double>(rule, parameters, gradients, states, copy, gradientScale); break;
            default: throw Unsupported("an optimiser's step", parameters);
        }
    }

    private static void Step<TRule, T>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<Tensor> states, Tensor? copy,
        double gradientScale)
        where TRule : struct, IOptimizerRule where T : unmanaged =>
        OptimizerKernel.Step(rule, parameters.Pointer<T>(), gradients.Pointer<T>(), states.Length > 0 ? states[0].Pointer<T>() : null,
            states.Length > 1 ? states[1].Pointer<T>() : null, PointerOrNull<BFloat16>(copy), parameters.Count, gradientScale);

    public override void OptimizerStep<TRule>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<CodedTensors> states,
        Tensor? copy, double gradientScale)
    {
        var (first, second) = (Coded(states[0]), states.Length > 1 ? Coded(states[1]) : default);
        switch (parameters.DType)
        {
            case DType.Float32: Step<float>(); break;
            case DType.Float64: Step<double>(); break;
            default: throw Unsupported("an optimiser's step with 8-bit states", parameters);
        }

        void Step<T>() where T : unmanaged => CodedStateKernel.Step(rule, parameters.Pointer<T>(), gradients.Pointer<T>(), first, second,
            PointerOrNull<BFloat16>(copy), parameters.Count, gradientScale);

        static CodedState Coded(CodedTensors state) =>
            new((nint)state.Codes.Pointer<byte>(), (nint)state.Scales.Pointer<float>(), state.Code);
    }

    public override void AdafactorStep(AdafactorStep step, Tensor parameters, Tensor gradients, Tensor rowState, Tensor? columnState,
        double gradientScale)
    {
        if (columnState is null)
            AdafactorKernel.Step(step, parameters.Pointer<float>(), gradients.Pointer<float>(), rowState.Pointer<float>(),
                (int)parameters.Count, gradientScale);
        else
            AdafactorKernel.Step(step, parameters.Pointer<float>(), gradients.Pointer<float>(), rowState.Pointer<float>(),
                columnState.Pointer<float>(),
                (int)parameters.Size(0), (int)parameters.Size(1), gradientScale);
    }
}
