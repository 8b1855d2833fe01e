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

    protected override bool Takes(DType type) => type is DType.Float32 or DType.BFloat16 or DType.Float64;

    private static T* PointerOrNull<T>(Tensor? tensor) where T : unmanaged => tensor is null ? null : tensor.Pointer<T>();

    // ---- norms ---------------------------------------------------------------------------------------------------

    public override void NormForward<T>(in NormForward norm)
    {
        if (typeof(T) == typeof(double))
            Norm<double, double>(norm);
        else
            Norm<float, T>(norm);
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

    public override void NormBackward<T>(in NormBackward norm)
    {
        if (typeof(T) == typeof(double))
            Norm<double, double>(norm);
        else
            Norm<float, T>(norm);
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

    public override void ActivationForward<T>(Activation activation, bool gated, GateForm form, Tensor x, Tensor y)
    {
        var width = (int)y.Size(1);
        var up = gated ? x.Pointer<T>() + width : null;
        ActivationKernel.Forward(activation, form, x.Pointer<T>(), up, x.Stride(0), y.Pointer<T>(), width, (int)x.Size(0), width);
    }

    public override void ActivationBackward<T>(Activation activation, bool gated, GateForm form, Tensor dy, Tensor x, Tensor dx)
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

    public override void RoundToBFloat16<T>(Tensor x) => ElementwiseKernel.RoundToBFloat16(x.Pointer<float>(), x.Count);

    public override void Dropout<T>(Tensor x, Mirrored<long> keys, double rate, bool add, Tensor y)
    {
        fixed (long* numbers = keys.Host)
            DropoutKernel.Apply(x.Pointer<T>(), numbers, y.Pointer<T>(), (int)x.Size(0), (int)x.Size(1), rate, add);
    }

    public override void AddSquares<T>(Tensor x, ExactSum sum) => ElementwiseKernel.AddSquares(x.Pointer<T>(), x.Count, sum);

    // ---- optimisers ----------------------------------------------------------------------------------------------

    public override void OptimizerStep<TRule, T>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<Tensor> states, Tensor? copy,
        double gradientScale) =>
        OptimizerKernel.Step(rule, parameters.Pointer<T>(), gradients.Pointer<T>(), states.Length > 0 ? states[0].Pointer<T>() : null,
            states.Length > 1 ? states[1].Pointer<T>() : null, PointerOrNull<BFloat16>(copy), parameters.Count, gradientScale);

    public override void OptimizerStep<TRule, T>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<CodedTensors> states,
        Tensor? copy, double gradientScale)
    {
        CodedStateKernel.Step(rule, parameters.Pointer<T>(), gradients.Pointer<T>(), Coded(states[0]),
            states.Length > 1 ? Coded(states[1]) : default, PointerOrNull<BFloat16>(copy), parameters.Count, gradientScale);

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
