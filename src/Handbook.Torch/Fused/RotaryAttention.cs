using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>cos and sin of the rotary positions, with the attention factor in them.</summary>
/// <param name="Cos">[positions, R/2].</param>
/// <param name="Sin">[positions, R/2].</param>
/// <param name="RotarySize">R, the elements of a head that turn.</param>
public sealed record RotaryTable(float[] Cos, float[] Sin, int RotarySize);

/// <summary>Rotation of queries and keys, and attention over the flat stream; nothing of size N × N exists.</summary>
/// <remarks>
/// Reads one buffer of queries, keys and values side by side, [N, (H + 2K)·E], and turns its queries and keys in place: nobody else reads it.
/// Kernels: <see cref="RopeKernel"/>, <see cref="AttentionKernel"/>.
/// </remarks>
public sealed unsafe class RotaryAttention : AutogradNode
{
    private readonly AttentionShape _shape;
    private readonly SegmentTable _segments;
    private readonly int[] _positions;
    private readonly RotaryTable? _rotary;
    private Tensor _qkv = null!;
    private Tensor _output = null!;
    private Tensor _logSumExp = null!;

    private RotaryAttention(AttentionShape shape, SegmentTable segments, int[] positions, RotaryTable? rotary) =>
        (_shape, _segments, _positions, _rotary) = (shape, segments, positions, rotary);

    /// <param name="qkv">[N, (H + 2K)·E]; its queries and keys are turned in place.</param>
    /// <param name="shape">Heads, scale, window and cap.</param>
    /// <param name="segments">Who sees whom.</param>
    /// <param name="positions">Position of each token; [N].</param>
    /// <param name="rotary">Null: no rotation.</param>
    /// <returns>[N, H·E].</returns>
    public static Tensor Forward(Tensor qkv, in AttentionShape shape, SegmentTable segments, int[] positions, RotaryTable? rotary)
    {
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(qkv);
        var node = new RotaryAttention(shape, segments, positions, rotary);
        Tensor output;
        using (GradMode.Disabled())
        {
            output = Tensor.Empty(qkv.DType, Device.Cpu, qkv.Size(0), shape.Heads * shape.HeadSize);
            var logSumExp = Tensor.Empty(qkv.DType == DType.Float64 ? DType.Float64 : DType.Float32, Device.Cpu, shape.Heads, qkv.Size(0));
            switch (qkv.DType)
            {
                case DType.Float32: node.Forward<float>(qkv, output, logSumExp); break;
                case DType.BFloat16: node.Forward<BFloat16>(qkv, output, logSumExp); break;
                case DType.Float64: node.Forward<double>(qkv, output, logSumExp); break;
                default: throw new NotSupportedException($"attention of {qkv.Describe()}");
            }
            if (needed)
            {
                node._qkv = node.Save(qkv);
                node._output = node.Save(output);
                node._logSumExp = node.Save(logSumExp);
            }
        }
        if (needed)
            node.Attach([qkv], output);
        return scope.Keep(output);
    }

    private void Forward<T>(Tensor qkv, Tensor output, Tensor logSumExp) where T : unmanaged
    {
        Rotate<T>(qkv, backward: false);
        AttentionKernel.Forward(_segments, _shape, Arguments<T>(qkv, output, logSumExp));
    }

    private void Rotate<T>(Tensor qkv, bool backward) where T : unmanaged
    {
        if (_rotary is null)
            return;
        fixed (float* cos = _rotary.Cos, sin = _rotary.Sin)
        fixed (int* positions = _positions)
            RopeKernel.Apply(qkv.Pointer<T>(), qkv.Stride(0), (int)qkv.Size(0), _shape.Heads + _shape.KeyHeads, _shape.HeadSize, _rotary.RotarySize, cos, sin, positions, backward);
    }

    private AttentionArguments<T> Arguments<T>(Tensor qkv, Tensor output, Tensor logSumExp) where T : unmanaged => new()
    {
        Query = Part<T>(qkv, 0),
        Key = Part<T>(qkv, _shape.Heads),
        Value = Part<T>(qkv, _shape.Heads + _shape.KeyHeads),
        Output = new(output.Pointer<T>(), (nint)output.Stride(0)),
        LogSumExp = logSumExp.Data,
    };

    private TokenRows<T> Part<T>(Tensor qkv, int firstHead) where T : unmanaged =>
        new(qkv.Pointer<T>() + firstHead * _shape.HeadSize, (nint)qkv.Stride(0));

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!.Contiguous();
        var dqkv = _qkv.EmptyLike();
        switch (_qkv.DType)
        {
            case DType.Float32: Backward<float>(dy, dqkv); break;
            case DType.BFloat16: Backward<BFloat16>(dy, dqkv); break;
            default: Backward<double>(dy, dqkv); break;
        }
        return [dqkv];
    }

    private void Backward<T>(Tensor dy, Tensor dqkv) where T : unmanaged
    {
        AttentionKernel.Backward(_segments, _shape, Arguments<T>(_qkv, _output, _logSumExp), new AttentionGradients<T>
        {
            Output = new(dy.Pointer<T>(), (nint)dy.Stride(0)),
            Query = Part<T>(dqkv, 0),
            Key = Part<T>(dqkv, _shape.Heads),
            Value = Part<T>(dqkv, _shape.Heads + _shape.KeyHeads),
        });
        Rotate<T>(dqkv, backward: true);
    }
}
