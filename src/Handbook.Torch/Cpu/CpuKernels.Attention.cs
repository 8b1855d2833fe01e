using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cpu;

/// <summary>Rotation and attention over one buffer of queries, keys and values side by side.</summary>
internal sealed unsafe partial class CpuKernels
{
    public override void AttentionForward(in AttentionLayer layer, Tensor qkv, Tensor output, Tensor logSumExp)
    {
        switch (qkv.DType)
        {
            case DType.Float32: Attend<float>(layer, qkv, output, logSumExp); break;
            case DType.BFloat16: Attend<BFloat16>(layer, qkv, output, logSumExp); break;
            case DType.Float64: Attend<double>(layer, qkv, output, logSumExp); break;
            default: throw Unsupported("attention", qkv);
        }
    }

    private static void Attend<T>(in AttentionLayer layer, Tensor qkv, Tensor output, Tensor logSumExp) where T : unmanaged
    {
        Rotate<T>(layer, qkv, backward: false);
        AttentionKernel.Forward(layer.Segments, layer.Shape, Arguments<T>(layer.Shape, qkv, output, logSumExp));
    }

    public override void AttentionBackward(in AttentionLayer layer, Tensor qkv, Tensor output, Tensor logSumExp, Tensor dy, Tensor dqkv)
    {
        switch (qkv.DType)
        {
            case DType.Float32: Attend<float>(layer, qkv, output, logSumExp, dy, dqkv); break;
            case DType.BFloat16: Attend<BFloat16>(layer, qkv, output, logSumExp, dy, dqkv); break;
            case DType.Float64: Attend<double>(layer, qkv, output, logSumExp, dy, dqkv); break;
            default: throw Unsupported("the gradient of attention", qkv);
        }
    }

    private static void Attend<T>(in AttentionLayer layer, Tensor qkv, Tensor output, Tensor logSumExp, Tensor dy, Tensor dqkv)
        where T : unmanaged
    {
        var shape = layer.Shape;
        AttentionKernel.Backward(layer.Segments, shape, Arguments<T>(shape, qkv, output, logSumExp), new AttentionGradients<T>
        {
            Output = new(dy.Pointer<T>(), (nint)dy.Stride(0)),
            Query = Part<T>(shape, dqkv, 0),
            Key = Part<T>(shape, dqkv, shape.Heads),
            Value = Part<T>(shape, dqkv, shape.Heads + shape.KeyHeads),
        });
        Rotate<T>(layer, dqkv, backward: true);
    }

    private static void Rotate<T>(in AttentionLayer layer, Tensor qkv, bool backward) where T : unmanaged
    {
        if (layer.Rotary is not { } rotary)
            return;
        var shape = layer.Shape;
        fixed (float* cos = rotary.Cos.Host, sin = rotary.Sin.Host)
        fixed (int* positions = layer.Positions.Host)
            RopeKernel.Apply(qkv.Pointer<T>(), qkv.Stride(0), (int)qkv.Size(0), shape.Heads + shape.KeyHeads, shape.HeadSize,
                rotary.RotarySize, cos, sin, positions, backward);
    }

    private static AttentionArguments<T> Arguments<T>(in AttentionShape shape, Tensor qkv, Tensor output, Tensor logSumExp)
        where T : unmanaged => new()
        {
            Query = Part<T>(shape, qkv, 0),
            Key = Part<T>(shape, qkv, shape.Heads),
            Value = Part<T>(shape, qkv, shape.Heads + shape.KeyHeads),
            Output = new(output.Pointer<T>(), (nint)output.Stride(0)),
            LogSumExp = logSumExp.Data,
        };

    private static TokenRows<T> Part<T>(in AttentionShape shape, Tensor qkv, int firstHead) where T : unmanaged =>
        new(qkv.Pointer<T>() + firstHead * shape.HeadSize, (nint)qkv.Stride(0));
}
