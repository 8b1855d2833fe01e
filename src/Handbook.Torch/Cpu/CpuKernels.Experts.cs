using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cpu;

/// <summary>The router, and the rows of tokens in the matrices of their experts.</summary>
internal sealed unsafe partial class CpuKernels
{
    public override int[] RouterForward(Tensor logits, RouterRule rule, Tensor? correction, Tensor weights, RouterTally? tally)
    {
        var chosen = new int[logits.Size(0) * rule.PerToken];
        fixed (int* places = chosen)
            switch (logits.DType)
            {
                case DType.Float32: RouterKernel.Forward(Choice<float>(logits, rule, correction, weights, places), tally); break;
                case DType.Float64: RouterKernel.Forward(Choice<double>(logits, rule, correction, weights, places), tally); break;
                default: throw Unsupported("a router", logits);
            }
        return chosen;
    }

    public override void RouterBackward(Tensor logits, Routing routing, RouterRule rule, Tensor? dweights, double[]? dspread,
        float[]? tokenWeights, Tensor dlogits)
    {
        fixed (int* places = routing.Expert)
            if (logits.DType == DType.Float64)
                RouterKernel.Backward(Choice<double>(logits, rule, null, null, places), PointerOrNull<double>(dweights), dspread, tokenWeights,
                    dlogits.Pointer<double>());
            else
                RouterKernel.Backward(Choice<float>(logits, rule, null, null, places), PointerOrNull<float>(dweights), dspread, tokenWeights,
                    dlogits.Pointer<float>());
    }

    private static RouterKernel.Choice<T> Choice<T>(Tensor logits, RouterRule rule, Tensor? correction, Tensor? weights, int* chosen)
        where T : unmanaged => new()
        {
            Rule = rule,
            Logits = logits.Pointer<T>(),
            Correction = PointerOrNull<T>(correction),
            Tokens = (int)logits.Size(0),
            Experts = (int)logits.Size(1),
            Weights = PointerOrNull<T>(weights),
            Chosen = chosen,
        };

    public override void ExpertGather(Tensor sorted, Routing routing, Tensor? weights, Tensor rows)
    {
        switch (rows.DType, weights?.DType)
        {
            case (DType.Float32, DType.Float32 or null): Gather<float, float>(sorted, routing, weights, rows); break;
            case (DType.BFloat16, DType.Float32 or null): Gather<BFloat16, float>(sorted, routing, weights, rows); break;
            case (DType.Float64, DType.Float64 or null): Gather<double, double>(sorted, routing, weights, rows); break;
            default: throw Unsupported("experts", weights is null ? [rows] : [rows, weights]);
        }
    }

    private static void Gather<T, TReal>(Tensor sorted, Routing routing, Tensor? weights, Tensor rows)
        where T : unmanaged where TReal : unmanaged
    {
        fixed (int* row = routing.Row)
            ExpertKernel.Gather(Places<T>(sorted, row, routing), PointerOrNull<TReal>(weights), rows.Pointer<T>());
    }

    public override void ExpertScatter(Tensor sorted, Routing routing, Tensor? weights, Tensor rows)
    {
        switch (rows.DType, weights?.DType)
        {
            case (DType.Float32, DType.Float32 or null): Scatter<float, float>(sorted, routing, weights, rows); break;
            case (DType.BFloat16, DType.Float32 or null): Scatter<BFloat16, float>(sorted, routing, weights, rows); break;
            case (DType.Float64, DType.Float64 or null): Scatter<double, double>(sorted, routing, weights, rows); break;
            default: throw Unsupported("experts", weights is null ? [rows] : [rows, weights]);
        }
    }

    private static void Scatter<T, TReal>(Tensor sorted, Routing routing, Tensor? weights, Tensor rows)
        where T : unmanaged where TReal : unmanaged
    {
        fixed (int* row = routing.Row)
            ExpertKernel.Scatter(Places<T>(sorted, row, routing), PointerOrNull<TReal>(weights), rows.Pointer<T>());
    }

    public override void ExpertDots(Tensor sorted, Routing routing, Tensor rows, Tensor dots)
    {
        switch (rows.DType, dots.DType)
        {
            case (DType.Float32, DType.Float32): Dots<float, float>(sorted, routing, rows, dots); break;
            case (DType.BFloat16, DType.Float32): Dots<BFloat16, float>(sorted, routing, rows, dots); break;
            case (DType.Float64, DType.Float64): Dots<double, double>(sorted, routing, rows, dots); break;
            default: throw Unsupported("experts", rows, dots);
        }
    }

    private static void Dots<T, TReal>(Tensor sorted, Routing routing, Tensor rows, Tensor dots)
        where T : unmanaged where TReal : unmanaged
    {
        fixed (int* row = routing.Row)
            ExpertKernel.Dots(Places<T>(sorted, row, routing), rows.Pointer<T>(), dots.Pointer<TReal>());
    }

    private static ExpertKernel.Places<T> Places<T>(Tensor sorted, int* row, Routing routing) where T : unmanaged => new()
    {
        Sorted = sorted.Pointer<T>(),
        Row = row,
        Tokens = routing.TokenCount,
        PerToken = routing.PerToken,
        Width = (int)sorted.Size(1),
    };
}
