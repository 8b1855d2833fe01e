using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cpu;

/// <summary>Rotation, and attention over columns of queries, keys and values.</summary>
internal sealed unsafe partial class CpuKernels
{
    public override void Rotate<T>(RotaryTable rotary, Mirrored<int> positions, Tensor rows, int heads, int headSize, bool backward)
    {
        fixed (float* cos = rotary.Cos.Host, sin = rotary.Sin.Host)
        fixed (int* places = positions.Host)
            RopeKernel.Apply(rows.Pointer<T>() + rotary.Start, rows.Stride(0), (int)rows.Size(0), heads, headSize, rotary.RotarySize, cos, sin,
                places, backward, rotary.Interleaved);
    }

    public override void AttentionForward<T>(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor? sinks) =>
        AttentionKernel.Forward(segments, shape, Arguments<T>(shape, query, keyValue, output, logSumExp, sinks));

    public override void AttentionBackward<T>(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor dy, Tensor dquery, Tensor dkeyValue) =>
        AttentionKernel.Backward(segments, shape, Arguments<T>(shape, query, keyValue, output, logSumExp),
            Gradients<T>(shape, dy, dquery, dkeyValue));

    public override void AttentionSinkBackward<T>(in AttentionShape shape, Tensor output, Tensor logSumExp, Tensor dy, Tensor sinks,
        Tensor dsinks) =>
        AttentionKernel.SinkBackward((int)output.Size(0), shape, Rows<T>(output), Rows<T>(dy), logSumExp.Data, sinks.Data, dsinks.Data);

    public override void AttentionDecode<T>(CachePlan plan, int layer, in AttentionShape shape, Tensor queryKeyValue, Tensor output,
        Tensor? sinks)
    {
        const int few = 64;     // so many fit on the stack
        var rows = queryKeyValue.Pointer<T>();
        var stride = queryKeyValue.Stride(0);
        Span<CachedSequence<T>> sequences = plan.Count <= few ? stackalloc CachedSequence<T>[plan.Count] : new CachedSequence<T>[plan.Count];
        Span<CachedSegment<T>> prefixes = plan.Prefixes <= 2 * few ? stackalloc CachedSegment<T>[plan.Prefixes]
            : new CachedSegment<T>[plan.Prefixes];
        fixed (CachedSegment<T>* prefix = prefixes)
        {
            var next = prefix;
            for (var s = 0; s < plan.Count; s++)
            {
                var chain = plan.Chain(s);
                var count = plan.New(s);
                var own = Segment<T>(chain[^1], layer, shape);
                for (var i = 0; i < count; i++)
                    Append(shape, rows + (plan.First(s) + i) * stride + shape.Heads * shape.HeadSize, own, own.Length - count + i);
                for (var i = 0; i < chain.Length - 1; i++)
                    next[i] = Segment<T>(chain[i], layer, shape);
                sequences[s] = new(own.Key, own.Value, own.Length, plan.First(s), count, next, chain.Length - 1);
                next += chain.Length - 1;
            }
            AttentionKernel.Decode<T>(sequences, shape, new(rows, (nint)stride), Rows<T>(output), sinks is null ? null : sinks.Data);
        }
    }

    private static CachedSegment<T> Segment<T>(in CacheBlock block, int layer, in AttentionShape shape) where T : unmanaged
    {
        var first = block.Memory.Pointer<T>() + block.First(layer, shape);
        var stride = (nint)block.HeadStride(shape);
        return new(new(first, shape.HeadSize, stride), new(first + (nint)block.Capacity * shape.HeadSize, shape.ValueSize, stride), block.Tokens);
    }

    /// <summary>Writes keys and values of one token into its place.</summary>
    /// <param name="row">Its keys, its values behind them.</param>
    private static void Append<T>(in AttentionShape shape, T* row, in CachedSegment<T> own, int place) where T : unmanaged
    {
        for (var head = 0; head < shape.KeyHeads; head++, row += shape.HeadSize)
            new ReadOnlySpan<T>(row, shape.HeadSize).CopyTo(new Span<T>(own.Key.At(place, head), shape.HeadSize));
        for (var head = 0; head < shape.KeyHeads; head++, row += shape.ValueSize)
            new ReadOnlySpan<T>(row, shape.ValueSize).CopyTo(new Span<T>(own.Value.At(place, head), shape.ValueSize));
    }

    private static AttentionArguments<T> Arguments<T>(in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor? sinks = null) where T : unmanaged => new()
        {
            Query = Rows<T>(query),
            Key = Rows<T>(keyValue),
            Value = Rows<T>(keyValue, shape.KeyHeads * shape.HeadSize),
            Output = Rows<T>(output),
            LogSumExp = logSumExp.Data,
            Sinks = sinks is null ? null : sinks.Data,
        };

    private static AttentionGradients<T> Gradients<T>(in AttentionShape shape, Tensor dy, Tensor dquery, Tensor dkeyValue)
        where T : unmanaged => new()
        {
            Output = Rows<T>(dy),
            Query = Rows<T>(dquery),
            Key = Rows<T>(dkeyValue),
            Value = Rows<T>(dkeyValue, shape.KeyHeads * shape.HeadSize),
        };

    private static TokenRows<T> Rows<T>(Tensor rows, int column = 0) where T : unmanaged =>
        new(rows.Pointer<T>() + column, (nint)rows.Stride(0));
}
