using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>cos and sin of the rotary positions, with the attention factor in them.</summary>
/// <param name="Cos">[positions, R/2].</param>
/// <param name="Sin">[positions, R/2].</param>
/// <param name="RotarySize">R, the elements of a head that turn.</param>
/// <param name="Interleaved">Whether neighbours turn together, and not the halves of the R elements.</param>
/// <param name="Start">The first element of a head that turns.</param>
internal sealed record RotaryTable(Mirrored<float> Cos, Mirrored<float> Sin, int RotarySize, bool Interleaved = false, int Start = 0);

/// <summary>Rotation of queries and keys, and attention over the flat stream; nothing of size N × N exists.</summary>
/// <remarks>
/// Reads one buffer of queries, keys and values side by side, [N, H·E + K·(E + V)], and turns its queries and keys in place: nobody else
/// reads it.
/// Kernels: <see cref="RopeKernel"/>, <see cref="AttentionKernel"/>.
/// </remarks>
internal sealed class RotaryAttention : AutogradNode
{
    private readonly AttentionShape _shape;
    private readonly AttentionRing _ring;
    private readonly Mirrored<int> _positions;
    private readonly RotaryTable? _rotary;
    private readonly Parameter? _sinks;
    private Tensor _qkv = null!;
    private Tensor _output = null!;
    private Tensor _logSumExp = null!;

    private RotaryAttention(in AttentionShape shape, AttentionRing ring, Mirrored<int> positions, RotaryTable? rotary, Parameter? sinks) =>
        (_shape, _ring, _positions, _rotary, _sinks) = (shape, ring, positions, rotary, sinks);

    /// <param name="qkv">[N, H·E + K·(E + V)]; its queries and keys are turned in place.</param>
    /// <param name="shape">Heads, scale, window and cap.</param>
    /// <param name="ring">Who sees whom.</param>
    /// <param name="positions">Position of each token; [N].</param>
    /// <param name="rotary">Null: no rotation.</param>
    /// <param name="sinks">A score of each head that has no value, [H]; null for none.</param>
    /// <returns>[N, H·V].</returns>
    public static Tensor Forward(Tensor qkv, in AttentionShape shape, AttentionRing ring, Mirrored<int> positions, RotaryTable? rotary,
        Parameter? sinks = null)
    {
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(qkv, sinks?.Value);
        var node = new RotaryAttention(shape, ring, positions, rotary, sinks);
        Tensor output;
        using (GradMode.Disabled())
        {
            output = Tensor.Empty(qkv.DType, qkv.Device, qkv.Size(0), shape.Heads * shape.ValueSize);
            var logSumExp = Tensor.Empty(qkv.DType == DType.Float64 ? DType.Float64 : DType.Float32, qkv.Device, shape.Heads, qkv.Size(0));
            node.Rotate(qkv, backward: false);
            ring.Forward(shape, node.Queries(qkv), node.KeysAndValues(qkv), output, logSumExp, sinks?.Value.To(logSumExp.DType));
            if (needed)
            {
                node._qkv = node.Save(qkv);
                node._output = node.Save(output);
                node._logSumExp = node.Save(logSumExp);
            }
        }
        if (needed)
            node.Attach([qkv, sinks?.Value], output);
        return scope.Keep(output);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var (dqkv, dy) = (_qkv.EmptyLike(), gradients[0]!.Contiguous());
        _ring.Backward(_shape, Queries(_qkv), KeysAndValues(_qkv), _output, _logSumExp, dy, Queries(dqkv), KeysAndValues(dqkv));
        Rotate(dqkv, backward: true);
        if (_sinks is { IsTrainable: true })
        {
            var sinks = _sinks.Value.To(_logSumExp.DType);
            var dsinks = sinks.ZerosLike();
            DeviceKernels.Of(dy).AttentionSinkBackward(_shape, _output, _logSumExp, dy, sinks, dsinks);
            _sinks.Add(dsinks);
        }
        return [dqkv, null];
    }

    private void Rotate(Tensor qkv, bool backward)
    {
        if (_rotary is not null)
            DeviceKernels.Of(qkv).Rotate(_rotary, _positions, qkv, _shape.Heads + _shape.KeyHeads, _shape.HeadSize, backward);
    }

    private Tensor Queries(Tensor qkv) => qkv.Narrow(1, 0, _shape.Heads * _shape.HeadSize);

    private Tensor KeysAndValues(Tensor qkv) => qkv.Narrow(1, _shape.Heads * _shape.HeadSize,
        _shape.KeyHeads * (_shape.HeadSize + _shape.ValueSize));
}
