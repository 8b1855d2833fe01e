using Handbook.Base;
using System.Runtime.CompilerServices;
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
internal abstract class DeviceKernels
{
    private static readonly DeviceKernels[] s_all = [new CpuKernels(), new CudaKernels(new MachineQueue())];

    /// <summary>libtorch's device type.</summary>
    protected abstract int Kind { get; }

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

    public virtual void NormForward(in NormForward norm) => throw Missing();

    public virtual void NormBackward(in NormBackward norm) => throw Missing();

    // ---- point-wise ----------------------------------------------------------------------------------------------

    /// <param name="x">[N, F], or [N, 2F] where gated.</param>
    /// <param name="y">[N, F]; written.</param>
    public virtual void ActivationForward(Activation activation, bool gated, GateForm form, Tensor x, Tensor y) => throw Missing();

    /// <param name="dx">Like x; written.</param>
    public virtual void ActivationBackward(Activation activation, bool gated, GateForm form, Tensor dy, Tensor x, Tensor dx) =>
        throw Missing();

    /// <summary>target = source, or target += source; contiguous, of any two precisions.</summary>
    public virtual void Accumulate(Tensor source, Tensor target, bool add) => throw Missing();

    /// <summary>y = mask(x), or y += mask(x), with the mask of each row's key.</summary>
    /// <param name="x">[N, D].</param>
    /// <param name="keys">[N].</param>
    /// <param name="rate">Share of the elements that become 0; the others grow by 1 / (1 − rate).</param>
    public virtual void Dropout(Tensor x, Mirrored<long> keys, double rate, bool add, Tensor y) => throw Missing();

    /// <summary>Rounds every element to the nearest bfloat16, in its place.</summary>
    public virtual void RoundToBFloat16(Tensor x) => throw Missing();

    /// <summary>Adds Σ x², in float64 within blocks of 256 elements, whose sums are added up exactly. Waits for the device.</summary>
    public virtual void AddSquares(Tensor x, ExactSum sum) => throw Missing();

    // ---- rows ----------------------------------------------------------------------------------------------------

    /// <summary>y = scale · table[token] + positionTable[position].</summary>
    public virtual void EmbeddingForward(Mirrored<int> tokens, Mirrored<int> positions, Tensor table, Tensor? positionTable, double scale,
        Tensor y) =>
        throw Missing();

    /// <summary>tableGradient[id] += scale · dy, but for the id <paramref name="padding"/>; −1 leaves out none.</summary>
    public virtual void EmbeddingBackward(Tensor dy, Mirrored<int> ids, double scale, Tensor tableGradient, int padding) => throw Missing();

    /// <summary>y[i] = x[rows[i]].</summary>
    public virtual void SelectRows(Tensor x, Mirrored<int> rows, Tensor y) => throw Missing();

    /// <summary>dx[rows[i]] = dy[i]; other rows of dx are left as they are.</summary>
    public virtual void SpreadRows(Tensor dy, Mirrored<int> rows, Tensor dx) => throw Missing();

    /// <summary>y = x · Wᵀ + b, where the bits of a row depend on that row alone.</summary>
    public virtual void RowLinear(Tensor x, Tensor weight, Tensor? bias, Tensor y) => throw Missing();

    // ---- attention -----------------------------------------------------------------------------------------------

    /// <summary>Turns heads in place by the positions of their tokens.</summary>
    /// <param name="rows">[N, heads · E or more]; what lies behind the heads stays.</param>
    /// <param name="backward">Turns gradients back.</param>
    public virtual void Rotate(RotaryTable rotary, Mirrored<int> positions, Tensor rows, int heads, int headSize, bool backward) =>
        throw Missing();

    /// <param name="query">[N, H·E]; may be columns of a wider matrix, as all that follow.</param>
    /// <param name="keyValue">Keys and values side by side, [M, K·(E + V)]; M = N, unless the stream is cut.</param>
    /// <param name="output">[N, H·V]; written.</param>
    /// <param name="logSumExp">[H, N], float32 or float64; written.</param>
    /// <param name="sinks">A score of each head that has no value, of the type of <paramref name="logSumExp"/>, [H]; null for none.</param>
    public virtual void AttentionForward(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor? sinks) => throw Missing();

    /// <param name="dquery">[N, H·E]; written.</param>
    /// <param name="dkeyValue">[M, K·(E + V)]; written.</param>
    public virtual void AttentionBackward(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor dy, Tensor dquery, Tensor dkeyValue) => throw Missing();

    /// <summary>dsinks += the gradient of the sinks.</summary>
    /// <param name="dsinks">[H], of the type of <paramref name="logSumExp"/>.</param>
    public virtual void AttentionSinkBackward(in AttentionShape shape, Tensor output, Tensor logSumExp, Tensor dy, Tensor sinks,
        Tensor dsinks) => throw Missing();

    // ---- experts -------------------------------------------------------------------------------------------------

    /// <summary>Chooses each token's experts and weighs them.</summary>
    /// <param name="correction">Added to what experts are chosen by, [E], of the type of the logits; null for nothing.</param>
    /// <param name="weights">[N, K]; written.</param>
    /// <param name="tally">Receives the spread over the experts; null for nobody.</param>
    /// <returns>The chosen experts; [N·K].</returns>
    public virtual int[] RouterForward(Tensor logits, RouterRule rule, Tensor? correction, Tensor weights, RouterTally? tally) => throw Missing();

    /// <param name="dweights">[N, K]; null where none arrived.</param>
    /// <param name="dspread">Derivatives by <see cref="RouterTally.Probability"/>; [E], null where none arrived.</param>
    /// <param name="dlogits">[N, E]; written.</param>
    public virtual void RouterBackward(Tensor logits, Routing routing, RouterRule rule, Tensor? dweights, double[]? dspread,
        float[]? tokenWeights, Tensor dlogits) =>
        throw Missing();

    /// <summary>rows[t] = Σ_k weights[t, k] · the row of its k-th expert; weights null for 1.</summary>
    /// <param name="sorted">The rows of each expert behind one another; [N·K, width].</param>
    public virtual void ExpertGather(Tensor sorted, Routing routing, Tensor? weights, Tensor rows) => throw Missing();

    /// <summary>The row of a token's k-th expert = weights[t, k] · rows[t]; weights null for 1.</summary>
    public virtual void ExpertScatter(Tensor sorted, Routing routing, Tensor? weights, Tensor rows) => throw Missing();

    /// <summary>dots[t, k] = rows[t] · the row of its k-th expert.</summary>
    public virtual void ExpertDots(Tensor sorted, Routing routing, Tensor rows, Tensor dots) => throw Missing();

    // ---- head ----------------------------------------------------------------------------------------------------

    /// <summary>Statistics of some rows of logits; with weights, the logits become the gradient of Σ weight · loss.</summary>
    /// <param name="logits">[rows, V].</param>
    /// <param name="start">The first row's place among the targets, weights and statistics.</param>
    public virtual void CrossEntropy(Tensor logits, int start, Mirrored<int> targets, double[]? weights, in HeadOptions options,
        HeadStatistics statistics) =>
        throw Missing();

    // ---- optimisers ----------------------------------------------------------------------------------------------

    /// <summary>One step of a rule that treats every element alike, over flat tensors of one length.</summary>
    /// <param name="states">The rule's states, at most two.</param>
    /// <param name="copy">The new parameters once more, in bfloat16; null where not wanted.</param>
    public virtual void OptimizerStep<TRule>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<Tensor> states, Tensor? copy,
        double gradientScale)
        where TRule : struct, IOptimizerRule => throw Missing();

    /// <summary>The same with states in eight bits a number.</summary>
    /// <param name="states">At least one, at most two; a block of codes begins where the parameters do.</param>
    public virtual void OptimizerStep<TRule>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<CodedTensors> states,
        Tensor? copy, double gradientScale)
        where TRule : struct, IOptimizerRule => throw Missing();

    /// <param name="parameters">[rows, width], or [count].</param>
    /// <param name="rowState">[rows], or [count].</param>
    /// <param name="columnState">[width]; null for a vector.</param>
    public virtual void AdafactorStep(AdafactorStep step, Tensor parameters, Tensor gradients, Tensor rowState, Tensor? columnState,
        double gradientScale) =>
        throw Missing();

    /// <summary>The device in an error message.</summary>
    protected abstract string Name { get; }

    private TorchException Missing([CallerMemberName] string operation = "") =>
        new($"{operation} has no kernel for tensors on {Name}; it has one for: "
            + string.Join(", ", s_all.Where(kernels => kernels.Has(operation)).Select(kernels => kernels.Name)));

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
