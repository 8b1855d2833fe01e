using Handbook.Torch.Fused;

namespace Handbook.Torch.Cuda;

/// <summary>The router, the rows of tokens in the matrices of their experts, and the head.</summary>
internal sealed unsafe partial class CudaKernels
{
    public override int[] RouterForward<T>(Tensor logits, RouterRule rule, Tensor? correction, Tensor weights, RouterTally? tally)
    {
        using var scope = TensorScope.Enter();
        var (tokens, experts, device) = (logits.Size(0), (int)logits.Size(1), logits.Device);
        var chosen = Tensor.Empty(DType.Int32, device, tokens * rule.PerToken);
        var shares = tally is null ? null : Tensor.Empty(DType.Float64, device, tokens, experts);
        Launch(CudaRouter.Forward(At<float>(logits), AtOrNull<float>(correction), At<float>(weights), At<int>(chosen), AtOrNull<double>(shares),
            tokens, experts, rule), device);
        if (tally is null)
            return chosen.ToArray<int>();
        var pieces = CudaRouter.Pieces(tokens);
        var parts = Tensor.Empty(DType.Float64, device, pieces, 2, experts);
        Launch(CudaRouter.Tally(At<int>(chosen), At<double>(shares!), Send<float>(tally.Weights, device), At<double>(parts), tokens, experts,
            rule.PerToken), device);
        var (places, sums) = (chosen.ToArray<int>(), parts.ToArray<double>());
        tally.Taken.AsSpan().Clear();
        tally.Probability.AsSpan().Clear();
        for (var piece = 0; piece < pieces; piece++)
            for (var e = 0; e < experts; e++)
            {
                tally.Taken[e] += sums[2 * piece * experts + e];
                tally.Probability[e] += sums[(2 * piece + 1) * experts + e];
            }
        return places;
    }

    public override void RouterBackward<T>(Tensor logits, Routing routing, RouterRule rule, Tensor? dweights, double[]? dspread,
        float[]? tokenWeights, Tensor dlogits)
    {
        using var scope = TensorScope.Enter();
        var device = logits.Device;
        Launch(CudaRouter.Backward(At<float>(logits), Sent(routing.Expert, device), AtOrNull<float>(dweights),
            dspread is null ? null : Send<double>(dspread, device), dspread is null ? null : Send<float>(tokenWeights, device),
            At<float>(dlogits), logits.Size(0), (int)logits.Size(1), rule), device);
    }

    public override void ExpertGather<T>(Tensor sorted, Routing routing, Tensor? weights, Tensor rows)
    {
        using var scope = TensorScope.Enter();
        Launch(CudaRows.ExpertGather(At<T>(sorted), Sent(routing.Row, rows.Device), AtOrNull<float>(weights), At<T>(rows),
            routing.TokenCount, routing.PerToken, (int)sorted.Size(1)), rows.Device);
    }

    public override void ExpertScatter<T>(Tensor sorted, Routing routing, Tensor? weights, Tensor rows)
    {
        using var scope = TensorScope.Enter();
        Launch(CudaRows.ExpertScatter(At<T>(sorted), Sent(routing.Row, rows.Device), AtOrNull<float>(weights), At<T>(rows),
            routing.TokenCount, routing.PerToken, (int)sorted.Size(1)), rows.Device);
    }

    public override void ExpertDots<T>(Tensor sorted, Routing routing, Tensor rows, Tensor dots)
    {
        using var scope = TensorScope.Enter();
        Launch(CudaRows.ExpertDots(At<T>(sorted), Sent(routing.Row, rows.Device), At<T>(rows), At<float>(dots), routing.TokenCount,
            routing.PerToken, (int)sorted.Size(1)), rows.Device);
    }

    public override void CrossEntropy<T>(Tensor logits, int start, Mirrored<int> targets, double[]? weights, in HeadOptions options,
        HeadStatistics statistics)
    {
        using var scope = TensorScope.Enter();
        var (rows, vocabulary, device, all) = (logits.Size(0), (int)logits.Size(1), logits.Device, statistics.Count);
        var memory = statistics.On(device);
        var states = Tensor.Empty(DType.Float64, device, rows, CudaHead.StateSize);
        double* known = At<double>(states), first = (double*)At<byte>(memory), columns = first + start, sums = columns + all;
        var target = At<int>(targets.On(device)) + start;
        var (scale, cap) = ((float)options.Scale, (float)options.SoftCap);
        Launch(CudaHead.Begin(known, rows), device);
        Launch(CudaHead.Tile(At<T>(logits), logits.Stride(0), target, known, 0, rows, vocabulary, scale, cap), device);
        Launch(CudaHead.Finish(known, target, columns, sums, sums + all, sums + 2 * all, statistics.Numbers > 4 ? sums + 3 * all : null,
            (int*)(first + statistics.Numbers * all) + start, rows, vocabulary), device);
        if (weights is not null)
            Launch(CudaHead.Gradient(At<T>(logits), logits.Stride(0), target, Send<double>(weights.AsSpan(start, (int)rows), device), sums, 0,
                rows, vocabulary, vocabulary, scale, cap, (float)options.LabelSmoothing), device);
    }
}
