using Handbook.Base;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Quantised;

namespace Handbook.Bench.Gpu;

/// <summary>The fused operations of the device that stands in for a GPU: those of the CPU, over the same memory.</summary>
internal sealed class StandInKernels : DeviceKernels
{
    private static DeviceKernels Cpu { get; } = Of(Device.Cpu);

    protected override int Kind => StandInDevice.Place.Kind;

    protected override string Name => "the stand-in";

    protected override bool Takes(DType type) => type is DType.Float32 or DType.BFloat16 or DType.Float64;

    private static Tensor On(Tensor tensor) => tensor.Device.IsCpu
        ? throw new InvalidOperationException($"a kernel of the stand-in was given {tensor.Describe()} on the CPU") : StandInDevice.OnCpu(tensor);

    private static Tensor? OnOrNull(Tensor? tensor) => tensor is null ? null : On(tensor);

    public override void NormForward<T>(in NormForward norm)
    {
        using var scope = TensorScope.Enter();
        Cpu.NormForward<T>(norm with
        {
            Residual = On(norm.Residual),
            Delta = OnOrNull(norm.Delta),
            Weight = On(norm.Weight),
            Bias = OnOrNull(norm.Bias),
            Sum = On(norm.Sum),
            Output = On(norm.Output),
            InverseDeviation = On(norm.InverseDeviation),
            Mean = OnOrNull(norm.Mean),
        });
    }

    public override void NormBackward<T>(in NormBackward norm)
    {
        using var scope = TensorScope.Enter();
        Cpu.NormBackward<T>(norm with
        {
            OutputGradient = On(norm.OutputGradient),
            ResidualGradient = OnOrNull(norm.ResidualGradient),
            Sum = On(norm.Sum),
            Weight = On(norm.Weight),
            InverseDeviation = On(norm.InverseDeviation),
            Mean = OnOrNull(norm.Mean),
            SumGradient = On(norm.SumGradient),
            DeltaGradient = OnOrNull(norm.DeltaGradient),
            WeightGradient = OnOrNull(norm.WeightGradient),
            BiasGradient = OnOrNull(norm.BiasGradient),
        });
    }

    public override void ActivationForward<T>(Activation activation, bool gated, GateForm form, Tensor x, Tensor y)
    {
        using var scope = TensorScope.Enter();
        Cpu.ActivationForward<T>(activation, gated, form, On(x), On(y));
    }

    public override void ActivationBackward<T>(Activation activation, bool gated, GateForm form, Tensor dy, Tensor x, Tensor dx)
    {
        using var scope = TensorScope.Enter();
        Cpu.ActivationBackward<T>(activation, gated, form, On(dy), On(x), On(dx));
    }

    public override void Accumulate(Tensor source, Tensor target, bool add)
    {
        using var scope = TensorScope.Enter();
        Cpu.Accumulate(On(source), On(target), add);
    }

    public override void Dropout<T>(Tensor x, Mirrored<long> keys, double rate, bool add, Tensor y)
    {
        using var scope = TensorScope.Enter();
        Cpu.Dropout<T>(On(x), keys, rate, add, On(y));
    }

    public override void RoundToBFloat16<T>(Tensor x)
    {
        using var scope = TensorScope.Enter();
        Cpu.RoundToBFloat16<T>(On(x));
    }

    public override void AddSquares<T>(Tensor x, ExactSum sum)
    {
        using var scope = TensorScope.Enter();
        Cpu.AddSquares<T>(On(x), sum);
    }

    public override void EmbeddingForward<T>(Mirrored<int> tokens, Mirrored<int> positions, Tensor table, Tensor? positionTable, double scale,
        Tensor y)
    {
        using var scope = TensorScope.Enter();
        Cpu.EmbeddingForward<T>(tokens, positions, On(table), OnOrNull(positionTable), scale, On(y));
    }

    public override void EmbeddingBackward<T>(Tensor dy, Mirrored<int> ids, double scale, Tensor tableGradient, int padding)
    {
        using var scope = TensorScope.Enter();
        Cpu.EmbeddingBackward<T>(On(dy), ids, scale, On(tableGradient), padding);
    }

    public override void SelectRows(Tensor x, Mirrored<int> rows, Tensor y)
    {
        using var scope = TensorScope.Enter();
        Cpu.SelectRows(On(x), rows, On(y));
    }

    public override void SpreadRows(Tensor dy, Mirrored<int> rows, Tensor dx)
    {
        using var scope = TensorScope.Enter();
        Cpu.SpreadRows(On(dy), rows, On(dx));
    }

    public override void RowLinear<T>(Tensor x, Tensor weight, Tensor? bias, Tensor y)
    {
        using var scope = TensorScope.Enter();
        Cpu.RowLinear<T>(On(x), On(weight), OnOrNull(bias), On(y));
    }

    public override void ReadCodes<T>(QuantisedMatrix weight, long row, long column, Tensor tile, bool unscaled)
    {
        using var scope = TensorScope.Enter();
        Cpu.ReadCodes<T>(weight, row, column, On(tile), unscaled);
    }

    public override void AttentionDecode<T>(CachePlan plan, int layer, in AttentionShape shape, Tensor queryKeyValue, Tensor output,
        Tensor? sinks)
    {
        using var scope = TensorScope.Enter();
        var blocks = Enumerable.Range(0, plan.Count)
            .Select(s => Array.ConvertAll(plan.Chain(s).ToArray(), block => block with { Memory = On(block.Memory) })).ToArray();
        Cpu.AttentionDecode<T>(new CachePlan(blocks, [.. Enumerable.Range(0, plan.Count).Select(plan.First), plan.Tokens]), layer, shape,
            On(queryKeyValue), On(output), OnOrNull(sinks));
    }

    public override void Rotate<T>(RotaryTable rotary, Mirrored<int> positions, Tensor rows, int heads, int headSize, bool backward)
    {
        using var scope = TensorScope.Enter();
        Cpu.Rotate<T>(rotary, positions, On(rows), heads, headSize, backward);
    }

    public override void AttentionForward<T>(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor? sinks)
    {
        using var scope = TensorScope.Enter();
        Cpu.AttentionForward<T>(segments, shape, On(query), On(keyValue), On(output), On(logSumExp), OnOrNull(sinks));
    }

    public override void AttentionBackward<T>(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor dy, Tensor dquery, Tensor dkeyValue)
    {
        using var scope = TensorScope.Enter();
        Cpu.AttentionBackward<T>(segments, shape, On(query), On(keyValue), On(output), On(logSumExp), On(dy), On(dquery), On(dkeyValue));
    }

    public override void AttentionSinkBackward<T>(in AttentionShape shape, Tensor output, Tensor logSumExp, Tensor dy, Tensor sinks, Tensor dsinks)
    {
        using var scope = TensorScope.Enter();
        Cpu.AttentionSinkBackward<T>(shape, On(output), On(logSumExp), On(dy), On(sinks), On(dsinks));
    }

    public override int[] RouterForward<T>(Tensor logits, RouterRule rule, Tensor? correction, Tensor weights, RouterTally? tally)
    {
        using var scope = TensorScope.Enter();
        return Cpu.RouterForward<T>(On(logits), rule, OnOrNull(correction), On(weights), tally);
    }

    public override void RouterBackward<T>(Tensor logits, Routing routing, RouterRule rule, Tensor? dweights, double[]? dspread,
        float[]? tokenWeights, Tensor dlogits)
    {
        using var scope = TensorScope.Enter();
        Cpu.RouterBackward<T>(On(logits), routing, rule, OnOrNull(dweights), dspread, tokenWeights, On(dlogits));
    }

    public override void ExpertGather<T>(Tensor sorted, Routing routing, Tensor? weights, Tensor rows)
    {
        using var scope = TensorScope.Enter();
        Cpu.ExpertGather<T>(On(sorted), routing, OnOrNull(weights), On(rows));
    }

    public override void ExpertScatter<T>(Tensor sorted, Routing routing, Tensor? weights, Tensor rows)
    {
        using var scope = TensorScope.Enter();
        Cpu.ExpertScatter<T>(On(sorted), routing, OnOrNull(weights), On(rows));
    }

    public override void ExpertDots<T>(Tensor sorted, Routing routing, Tensor rows, Tensor dots)
    {
        using var scope = TensorScope.Enter();
        Cpu.ExpertDots<T>(On(sorted), routing, On(rows), On(dots));
    }

    public override void CrossEntropy<T>(Tensor logits, int start, Mirrored<int> targets, double[]? weights, in HeadOptions options,
        HeadStatistics statistics)
    {
        using var scope = TensorScope.Enter();
        Cpu.CrossEntropy<T>(On(logits), start, targets, weights, options, statistics);
    }

    public override void OptimizerStep<TRule, T>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<Tensor> states, Tensor? copy,
        double gradientScale)
    {
        using var scope = TensorScope.Enter();
        var own = new Tensor[states.Length];
        for (var i = 0; i < own.Length; i++)
            own[i] = On(states[i]);
        Cpu.OptimizerStep<TRule, T>(rule, On(parameters), On(gradients), own, OnOrNull(copy), gradientScale);
    }

    public override void OptimizerStep<TRule, T>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<CodedTensors> states, Tensor? copy,
        double gradientScale)
    {
        using var scope = TensorScope.Enter();
        var own = new CodedTensors[states.Length];
        for (var i = 0; i < own.Length; i++)
            own[i] = states[i] with { Codes = On(states[i].Codes), Scales = On(states[i].Scales) };
        Cpu.OptimizerStep<TRule, T>(rule, On(parameters), On(gradients), own, OnOrNull(copy), gradientScale);
    }

    public override void AdafactorStep(AdafactorStep step, Tensor parameters, Tensor gradients, Tensor rowState, Tensor? columnState,
        double gradientScale)
    {
        using var scope = TensorScope.Enter();
        Cpu.AdafactorStep(step, On(parameters), On(gradients), On(rowState), OnOrNull(columnState), gradientScale);
    }
}
