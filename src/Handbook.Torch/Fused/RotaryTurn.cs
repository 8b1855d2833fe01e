using Handbook.Torch.Devices;

namespace Handbook.Torch.Fused;

/// <summary>The rotation of queries and keys alone, for networks that do something between it and attention.</summary>
/// <remarks>Kernel: <see cref="Kernels.RopeKernel"/>. Elsewhere <see cref="RotaryAttention"/> turns them in place.</remarks>
internal sealed class RotaryTurn : AutogradNode
{
    private readonly RotaryTable _rotary;
    private readonly Mirrored<int> _positions;
    private readonly int _heads;
    private readonly int _headSize;

    private RotaryTurn(RotaryTable rotary, Mirrored<int> positions, int heads, int headSize) =>
        (_rotary, _positions, _heads, _headSize) = (rotary, positions, heads, headSize);

    /// <param name="x">Heads side by side, [N, …]; the first ones turn.</param>
    /// <param name="rotary">By how much.</param>
    /// <param name="positions">Position of each row; [N].</param>
    /// <param name="heads">How many heads turn.</param>
    /// <param name="headSize">E.</param>
    /// <returns>Of the shape of <paramref name="x"/>.</returns>
    public static Tensor Forward(Tensor x, RotaryTable rotary, Mirrored<int> positions, int heads, int headSize)
    {
        using var scope = TensorScope.Enter();
        var node = new RotaryTurn(rotary, positions, heads, headSize);
        Tensor y;
        using (GradMode.Disabled())
            y = node.Turned(x, backward: false);
        if (IsNeeded(x))
            node.Attach([x], y);
        return scope.Keep(y);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients) => [Turned(gradients[0]!.Contiguous(), backward: true)];

    private Tensor Turned(Tensor x, bool backward)
    {
        var y = x.Detach().Clone();
        DeviceKernels.Of(y).Rotate(_rotary, _positions, y, _heads, _headSize, backward);
        return y;
    }
}
