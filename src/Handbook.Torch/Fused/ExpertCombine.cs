using Handbook.Torch.Devices;

namespace Handbook.Torch.Fused;

/// <summary>The weighted sum of what a token's experts say: y = Σ_k w_k · expert_k.</summary>
internal sealed class ExpertCombine : AutogradNode
{
    private readonly Routing _routing;
    private Tensor _said = null!;
    private Tensor _weights = null!;

    private ExpertCombine(Routing routing) => _routing = routing;

    /// <param name="said">The rows of each expert's tokens behind one another, [N·K, D], contiguous.</param>
    /// <param name="weights">w, [N, K], in float32, or float64 where the rows are.</param>
    /// <returns>[N, D].</returns>
    public static Tensor Forward(Tensor said, Tensor weights, Routing routing)
    {
        using var scope = TensorScope.Enter();
        Tensor y;
        using (GradMode.Disabled())
        {
            y = Tensor.Empty(said.DType, said.Device, routing.TokenCount, said.Size(1));
            DeviceKernels.Of(said).ExpertGather(said, routing, weights, y);
        }
        if (IsNeeded(said, weights))
        {
            var node = new ExpertCombine(routing);
            node._said = node.Save(said);
            node._weights = node.Save(weights);
            node.Attach([said, weights], y);
        }
        return scope.Keep(y);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!.Contiguous();
        var (dsaid, dweights) = (_said.EmptyLike(), _weights.EmptyLike());
        var kernels = DeviceKernels.Of(dy);
        kernels.ExpertScatter(dsaid, _routing, _weights, dy);
        kernels.ExpertDots(_said, _routing, dy, dweights);
        return [dsaid, dweights];
    }
}
