using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cpu;

/// <summary>Rotation, and attention over columns of queries, keys and values.</summary>
internal sealed unsafe partial class CpuKernels
{
    public override void Rotate(RotaryTable rotary, Mirrored<int> positions, Tensor rows, int heads, int headSize, bool backward)
    {
        switch (rows.DType)
        {
            case DType.Float32: Rotate<float>(rotary, positions, rows, heads, headSize, backward); break;
            case DType.BFloat16: Rotate<BFloat16>(rotary, positions, rows, heads, headSize, backward); break;
            case DType.Float64: Rotate<double>(rotary, positions, rows, heads, headSize, backward); break;
            default: throw Unsupported("rotation", rows);
        }
    }

    private static void Rotate<T>(RotaryTable rotary, Mirrored<int> positions, Tensor rows, int heads, int headSize, bool backward)
        where T : unmanaged
    {
        fixed (float* cos = rotary.Cos.Host, sin = rotary.Sin.Host)
        fixed (int* places = positions.Host)
            RopeKernel.Apply(rows.Pointer<T>() + rotary.Start, rows.Stride(0), (int)rows.Size(0), heads, headSize, rotary.RotarySize, cos, sin,
                places, backward, rotary.Interleaved);
    }

    public override void AttentionForward(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor? sinks)
    {
        switch (query.DType)
        {
            case DType.Float32:
                AttentionKernel.Forward(segments, shape, Arguments<float>(shape, query, keyValue, output, logSumExp, sinks));
                break;
            case DType.BFloat16:
                AttentionKernel.Forward(segments, shape, Arguments<BFloat16>(shape, query, keyValue, output, logSumExp, sinks));
                break;
            case DType.Float64:
                AttentionKernel.Forward(segments, shape, Arguments<double>(shape, query, keyValue, output, logSumExp, sinks));
                break;
            default: throw Unsupported("attention", query);
        }
    }

    public override void AttentionBackward(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor dy, Tensor dquery, Tensor dkeyValue)
    {
        switch (query.DType)
        {
            case DType.Float32:
                AttentionKernel.Backward(segments, shape, Arguments<float>(shape, query, keyValue, output, logSumExp),
                    Gradients<float>(shape, dy, dquery, dkeyValue));
                break;
            case DType.BFloat16:
                AttentionKernel.Backward(segments, shape, Arguments<BFloat16>(shape, query, keyValue, output, logSumExp),
                    Gradients<BFloat16>(shape, dy, dquery, dkeyValue));
                break;
            case DType.Float64:
                AttentionKernel.Backward(segments, shape, Arguments<double>(shape, query, keyValue, output, logSumExp),
                    Gradients<double>(shape, dy, dquery, dkeyValue));
                break;
            default: throw Unsupported("the gradient of attention", query);
        }
    }

    public override void AttentionSinkBackward(in AttentionShape shape, Tensor output, Tensor logSumExp, Tensor dy, Tensor sinks,
        Tensor dsinks)
    {
        switch (output.DType)
        {
            case DType.Float32: SinkBackward<float>(shape, output, logSumExp, dy, sinks, dsinks); break;
            case DType.BFloat16: SinkBackward<BFloat16>(shape, output, logSumExp, dy, sinks, dsinks); break;
            case DType.Float64: SinkBackward<double>(shape, output, logSumExp, dy, sinks, dsinks); break;
            default: throw Unsupported("the gradient of attention sinks", output);
        }
    }

    private static void SinkBackward<T>(in AttentionShape shape, Tensor output, Tensor logSumExp, Tensor dy, Tensor sinks, Tensor dsinks)
        where T : unmanaged =>
        AttentionKernel.SinkBackward((int)output.Size(0), shape, Rows<T>(output), Rows<T>(dy), logSumExp.Data, sinks.Data, dsinks.Data);

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
