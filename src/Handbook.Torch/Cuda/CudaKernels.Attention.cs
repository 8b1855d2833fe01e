using Handbook.Torch.Devices;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cuda;

/// <summary>Rotation, and attention: libtorch's own over rows, and over prompts with answers, where that can do it; else ours.</summary>
internal sealed unsafe partial class CudaKernels
{
    private readonly Lazy<FlashAttention?> _flash = new(flash);

    public override void Rotate<T>(RotaryTable rotary, Mirrored<int> positions, Tensor rows, int heads, int headSize, bool backward)
    {
        Within(positions, rotary.RotarySize == 0 ? int.MaxValue : rotary.Cos.Count / (rotary.RotarySize / 2), "position");
        using var scope = TensorScope.Enter();
        var device = rows.Device;
        Launch(CudaPointwise.Rotate(At<T>(rows) + rotary.Start, rows.Stride(0), rows.Size(0), heads, headSize, rotary.RotarySize,
            At<float>(rotary.Cos.On(device)), At<float>(rotary.Sin.On(device)), At<int>(positions.On(device)), backward, rotary.Interleaved),
            device);
    }

    public override void AttentionForward<T>(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor? sinks)
    {
        using var scope = TensorScope.Enter();
        if (sinks is null && Fits<T>(segments, shape))
        {
            segments.Flash!.Forward(_flash.Value!, shape, query, keyValue, output, logSumExp, Merge<T>);
            return;
        }
        var (plan, device) = (segments.Cuda, query.Device);
        Launch(CudaAttention.Forward(shape, Arguments<T>(shape, query, keyValue, output, logSumExp, sinks), At<int>(plan.QueryBlocks.On(device)),
            plan.QueryBlockCount, At<int>(plan.QueryLists.On(device))), device);
    }

    public override void AttentionBackward<T>(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor dy, Tensor dquery, Tensor dkeyValue)
    {
        using var scope = TensorScope.Enter();
        if (Fits<T>(segments, shape))           // a sink is in the log-sum-exp
        {
            segments.Flash!.Backward(_flash.Value!, shape, query, keyValue, output, logSumExp, dy, dquery, dkeyValue);
            return;
        }
        var (plan, device) = (segments.Cuda, query.Device);
        var arguments = Arguments<T>(shape, query, keyValue, output, logSumExp, null);
        int* queryBlocks = At<int>(plan.QueryBlocks.On(device)), queryLists = At<int>(plan.QueryLists.On(device)),
            keyBlocks = At<int>(plan.KeyBlocks.On(device)), keyLists = At<int>(plan.KeyLists.On(device));
        var dots = At<float>(Dots<T>(shape, arguments, dy));
        var (slope, stride, gradient, width) = ((nint)At<T>(dy), dy.Stride(0), (nint)At<T>(dkeyValue), dkeyValue.Stride(0));
        Launch(CudaAttention.QueryBackward(shape, arguments, (T*)slope, stride, dots, At<T>(dquery), dquery.Stride(0), queryBlocks,
            plan.QueryBlockCount, queryLists), device);
        Launch(CudaAttention.KeyBackward(shape, arguments, (T*)slope, stride, dots, (T*)gradient, width, keyBlocks, plan.KeyBlockCount,
            keyLists, ofValues: false), device);
        Launch(CudaAttention.KeyBackward(shape, arguments, (T*)slope, stride, dots, (T*)gradient + shape.KeyHeads * shape.HeadSize, width,
            keyBlocks, plan.KeyBlockCount, keyLists, ofValues: true), device);
    }

    public override void AttentionSinkBackward<T>(in AttentionShape shape, Tensor output, Tensor logSumExp, Tensor dy, Tensor sinks,
        Tensor dsinks)
    {
        using var scope = TensorScope.Enter();
        // of the arguments only the output is read
        var dots = Dots(shape, Arguments<T>(shape, output, output, output, logSumExp, null), dy);
        Launch(CudaAttention.SinkBackward(At<float>(logSumExp), At<float>(dots), At<float>(sinks), At<float>(dsinks), shape.Heads,
            output.Size(0)), output.Device);
    }

    public override void AttentionDecode<T>(CachePlan plan, int layer, in AttentionShape shape, Tensor queryKeyValue, Tensor output,
        Tensor? sinks)
    {
        using var scope = TensorScope.Enter();
        var (rows, stride, device) = ((nint)At<T>(queryKeyValue), queryKeyValue.Stride(0), queryKeyValue.Device);
        for (var s = 0; s < plan.Count; s++)
            foreach (var block in plan.Chain(s))
                _ = At<T>(block.Memory);
        var caches = new CudaCaches
        {
            Blocks = At<long>(plan.Table.On(device)),
            Places = At<int>(plan.Rows.On(device)),
            Lists = At<int>(plan.Lists.On(device)),
            Tokens = plan.Tokens,
        };
        Launch(CudaDecode.Append(shape, caches, layer, (T*)rows + shape.Heads * shape.HeadSize, stride), device);
        Launch(CudaDecode.Attend(shape, caches, layer, (T*)rows, stride, At<T>(output), output.Stride(0), AtOrNull<float>(sinks),
            shape.DistanceSlopes is { } slopes ? Sent(slopes, device) : null), device);
    }

    /// <summary>do·o of every token and head; [H, N].</summary>
    private Tensor Dots<T>(in AttentionShape shape, in CudaAttentionArguments<T> arguments, Tensor dy) where T : unmanaged
    {
        var dots = Tensor.Empty(DType.Float32, dy.Device, shape.Heads, arguments.Tokens);
        Launch(CudaAttention.Dots(shape, arguments, At<T>(dy), dy.Stride(0), At<float>(dots)), dy.Device);
        return dots;
    }

    private CudaAttentionArguments<T> Arguments<T>(in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output, Tensor logSumExp,
        Tensor? sinks) where T : unmanaged => new()
        {
            Query = At<T>(query),
            QueryStride = query.Stride(0),
            Key = At<T>(keyValue),
            Value = At<T>(keyValue) + shape.KeyHeads * shape.HeadSize,
            KeyStride = keyValue.Stride(0),
            Output = At<T>(output),
            OutputStride = output.Stride(0),
            LogSumExp = At<float>(logSumExp),
            Sinks = AtOrNull<float>(sinks),
            Slopes = shape.DistanceSlopes is { } slopes ? Sent(slopes, query.Device) : null,
            Tokens = query.Size(0),
        };

    /// <summary>Takes attention of some tokens over more keys in.</summary>
    /// <param name="rows">Which tokens; [more].</param>
    private void Merge<T>(in AttentionShape shape, Tensor output, Tensor logSumExp, Tensor more, Tensor moreLogSumExp, Tensor rows)
        where T : unmanaged =>
        Launch(CudaAttention.Merge(At<T>(output), output.Stride(0), At<float>(logSumExp), output.Size(0), At<T>(more), more.Stride(0),
            At<float>(moreLogSumExp), At<int>(rows), more.Size(0), shape.Heads, shape.ValueSize), output.Device);

    // What libtorch's kernels compute: half precision, no caps, slopes or sinks, heads of whole eights up to 256, values as long as keys.
    private bool Fits<T>(SegmentTable segments, in AttentionShape shape) where T : unmanaged =>
        typeof(T) != typeof(float) && shape is { SoftCap: 0, DistanceSlopes: null, HeadSize: <= 256 } && shape.HeadSize % 8 == 0
        && shape.ValueSize == shape.HeadSize && segments.Flash is { } trees && _flash.Value is { } attention
        && (shape.Window == 0 || trees.IsFlat && attention.HasWindow);
}
