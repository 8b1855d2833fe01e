using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>What is done to gate and up before they meet.</summary>
/// <remarks><code>g' = min(g, L)    u' = max(−L, min(u, L)) + o</code></remarks>
/// <param name="Limit">L; 0 for none.</param>
/// <param name="UpOffset">o.</param>
internal readonly record struct GateForm(double Limit, double UpOffset);

/// <summary>The point-wise part of a feed-forward layer: y = a(x), or y = a(g) ⊙ u over the two halves of one buffer.</summary>
/// <remarks>Kernel: <see cref="ActivationKernel"/>. Saves its input alone.</remarks>
internal sealed class GatedActivation : AutogradNode
{
    private readonly Activation _activation;
    private readonly bool _gated;
    private readonly GateForm _form;
    private Tensor _x = null!;

    private GatedActivation(Activation activation, bool gated, GateForm form) => (_activation, _gated, _form) = (activation, gated, form);

    /// <param name="x">[N, F], or [N, 2F] with the gate in the first half.</param>
    /// <param name="form">What is done to gate and up before.</param>
    /// <returns>[N, F].</returns>
    public static Tensor Forward(Tensor x, Activation activation, bool gated, GateForm form = default)
    {
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(x);
        var node = new GatedActivation(activation, gated, form);
        Tensor y;
        using (GradMode.Disabled())
        {
            y = Tensor.Empty(x.DType, x.Device, x.Size(0), gated ? x.Size(1) / 2 : x.Size(1));
            DeviceKernels.Of(x).ActivationForward(activation, gated, form, x, y);
            if (needed)
                node._x = node.Save(x);
        }
        if (needed)
            node.Attach([x], y);
        return scope.Keep(y);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dx = _x.EmptyLike();
        DeviceKernels.Of(_x).ActivationBackward(_activation, _gated, _form, gradients[0]!.Contiguous(), _x, dx);
        return [dx];
    }
}
