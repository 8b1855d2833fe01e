using Handbook.Torch.Devices;

namespace Handbook.Torch.Fused;

/// <summary>The rows of tokens to their experts, those of each expert behind one another.</summary>
internal sealed class ExpertDispatch : AutogradNode
{
    private readonly Routing _routing;

    private ExpertDispatch(Routing routing) => _routing = routing;

    /// <param name="x">[N, D], contiguous.</param>
    /// <returns>[N·K, D]; <see cref="Routing.Row"/> says whose each row is.</returns>
    public static Tensor Forward(Tensor x, Routing routing)
    {
        using var scope = TensorScope.Enter();
        Tensor rows;
        using (GradMode.Disabled())
        {
            rows = Tensor.Empty(x.DType, x.Device, routing.Row.Length, x.Size(1));
            DeviceKernels.Of(x).ExpertScatter(rows, routing, null, x);
        }
        if (IsNeeded(x))
            new ExpertDispatch(routing).Attach([x], rows);
        return scope.Keep(rows);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var rows = gradients[0]!.Contiguous();
        var dx = Tensor.Empty(rows.DType, rows.Device, _routing.TokenCount, rows.Size(1));
        DeviceKernels.Of(rows).ExpertGather(rows, _routing, null, dx);
        return [dx];
    }
}
