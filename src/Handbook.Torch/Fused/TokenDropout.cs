using Handbook.Torch.Devices;

namespace Handbook.Torch.Fused;

/// <summary>Dropout by tokens' own numbers, as an operation of its own.</summary>
/// <remarks>Kernel: <see cref="Kernels.DropoutKernel"/>.</remarks>
internal sealed class TokenDropout : AutogradNode
{
    private readonly Mirrored<long> _keys;
    private readonly double _rate;

    private TokenDropout(Mirrored<long> keys, double rate) => (_keys, _rate) = (keys, rate);

    /// <param name="x">[N, D].</param>
    /// <param name="noise">The tokens' numbers; null changes nothing.</param>
    /// <param name="adapter">Whose rate and layer count.</param>
    /// <returns>[N, D].</returns>
    public static Tensor Forward(Tensor x, TokenNoise? noise, LowRank adapter)
    {
        if (noise is null || adapter.Dropout == 0)
            return x;
        using var scope = TensorScope.Enter();
        var node = new TokenDropout(noise.For(adapter.Layer), adapter.Dropout);
        Tensor y;
        using (GradMode.Disabled())
            y = node.Mask(x);
        if (IsNeeded(x))
            node.Attach([x], y);
        return scope.Keep(y);
    }

    private Tensor Mask(Tensor x)
    {
        var y = Tensor.Empty(x.DType, x.Device, [.. x.Shape]);
        DeviceKernels.Of(x).Dropout(x.Contiguous(), _keys, _rate, add: false, y);
        return y;
    }

    protected override Tensor?[] Backward(Tensor?[] gradients) => [Mask(gradients[0]!)];
}
