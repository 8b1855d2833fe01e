using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cpu;

/// <summary>The router, and the rows of tokens in the matrices of their experts.</summary>
internal sealed unsafe partial class CpuKernels
{
    public override int[] RouterForward<T>(Tensor logits, RouterRule rule, Tensor? correction, Tensor weights, RouterTally? tally)
    {
        var chosen = new int[logits.Size(0) * rule.PerToken];
        fixed (int* places = chosen)
            RouterKernel.Forward(Choice<T>(logits, rule, correction, weights, places), tally);
        return chosen;
    }

    public override void RouterBackward<T>(Tensor logits, Routing routing, RouterRule rule, Tensor? dweights, double[]? dspread,
        float[]? tokenWeights, Tensor dlogits)
    {
        fixed (int* places = routing.Expert)
            RouterKernel.Backward(Choice<T>(logits, rule, null, null, places), PointerOrNull<T>(dweights), dspread, tokenWeights,
                dlogits.Pointer<T>());
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

    public override void ExpertGather<T>(Tensor sorted, Routing routing, Tensor? weights, Tensor rows)
    {
        fixed (int* row = routing.Row)
            if (typeof(T) == typeof(double))
                ExpertKernel.Gather(Places<T>(sorted, row, routing), PointerOrNull<double>(weights), rows.Pointer<T>());
            else
                ExpertKernel.Gather(Places<T>(sorted, row, routing), PointerOrNull<float>(weights), rows.Pointer<T>());
    }

    public override void ExpertScatter<T>(Tensor sorted, Routing routing, Tensor? weights, Tensor rows)
    {
        fixed (int* row = routing.Row)
            if (typeof(T) == typeof(double))
                ExpertKernel.Scatter(Places<T>(sorted, row, routing), PointerOrNull<double>(weights), rows.Pointer<T>());
            else
                ExpertKernel.Scatter(Places<T>(sorted, row, routing), PointerOrNull<float>(weights), rows.Pointer<T>());
    }

    public override void ExpertDots<T>(Tensor sorted, Routing routing, Tensor rows, Tensor dots)
    {
        fixed (int* row = routing.Row)
            if (typeof(T) == typeof(double))
                ExpertKernel.Dots(Places<T>(sorted, row, routing), rows.Pointer<T>(), dots.Pointer<double>());
            else
                ExpertKernel.Dots(Places<T>(sorted, row, routing), rows.Pointer<T>(), dots.Pointer<float>());
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
