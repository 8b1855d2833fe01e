using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>The point-wise part of a feed-forward layer: y = a(x), or y = a(g) ⊙ u over the two halves of one buffer.</summary>
/// <remarks>Kernel: <see cref="ActivationKernel"/>. Saves its input alone.</remarks>
public sealed unsafe class GatedActivation : AutogradNode
{
    private readonly Activation _activation;
    private readonly bool _gated;
    private Tensor _x = null!;

    private GatedActivation(Activation activation, bool gated) => (_activation, _gated) = (activation, gated);

    /// <param name="x">[N, F], or [N, 2F] with the gate in the first half.</param>
    /// <returns>[N, F].</returns>
    public static Tensor Forward(Tensor x, Activation activation, bool gated)
    {
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(x);
        var node = new GatedActivation(activation, gated);
        Tensor y;
        using (GradMode.Disabled())
        {
            y = Tensor.Empty(x.DType, Device.Cpu, x.Size(0), gated ? x.Size(1) / 2 : x.Size(1));
            switch (x.DType)
            {
                case DType.Float32: node.Forward<float>(x, y); break;
                case DType.BFloat16: node.Forward<BFloat16>(x, y); break;
                case DType.Float64: node.Forward<double>(x, y); break;
                default: throw new NotSupportedException($"an activation of {x.Describe()}");
            }
            if (needed)
                node._x = node.Save(x);
        }
        if (needed)
            node.Attach([x], y);
        return scope.Keep(y);
    }

    private void Forward<T>(Tensor x, Tensor y) where T : unmanaged
    {
        var width = (int)y.Size(1);
        ActivationKernel.Forward(_activation, x.Pointer<T>(), _gated ? x.Pointer<T>() + width : null, x.Stride(0), y.Pointer<T>(), width, (int)x.Size(0), width);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!.Contiguous();
        var dx = _x.EmptyLike();
        switch (_x.DType)
        {
            case DType.Float32: Backward<float>(dy, dx); break;
            case DType.BFloat16: Backward<BFloat16>(dy, dx); break;
            default: Backward<double>(dy, dx); break;
        }
        return [dx];
    }

    private void Backward<T>(Tensor dy, Tensor dx) where T : unmanaged
    {
        var width = (int)dy.Size(1);
        ActivationKernel.Backward(_activation, dy.Pointer<T>(), width, _x.Pointer<T>(), _gated ? _x.Pointer<T>() + width : null, _x.Stride(0),
            dx.Pointer<T>(), _gated ? dx.Pointer<T>() + width : null, dx.Stride(0), (int)dy.Size(0), width);
    }
}
