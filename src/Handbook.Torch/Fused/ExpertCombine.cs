using Handbook.Torch.Devices;

namespace Handbook.Torch.Fused;

/// <summary>The weighted sum of what a token's experts say: y = Σ_k w_k · expert_k.</summary>
internal sealed class ExpertCombine : AutogradNode
{
    private readonly Routing _routing;
    private Tensor?[] _said = [];
    private Tensor _weights = null!;

    private ExpertCombine(Routing routing) => _routing = routing;

    /// <param name="said">Of each expert the rows of its tokens, [n, D]; null where it has none.</param>
    /// <param name="weights">w, [N, K], in float32, or float64 where the rows are.</param>
    /// <returns>[N, D].</returns>
    public static Tensor Forward(Tensor?[] said, Tensor weights, Routing routing)
    {
        using var scope = TensorScope.Enter();
        Tensor?[] inputs = [.. said.OfType<Tensor>(), weights];
        var node = new ExpertCombine(routing);
        Tensor y;
        using (GradMode.Disabled())
        {
            var some = inputs[0]!;
            y = Tensor.Empty(some.DType, some.Device, routing.Tokens, some.Size(1));
            DeviceKernels.Of(some).ExpertGather(said, routing, weights, y);
        }
        if (IsNeeded(inputs))
        {
            node._said = Array.ConvertAll(said, rows => rows is null ? null : node.Save(rows));
            node._weights = node.Save(weights);
            node.Attach(inputs, y);
        }
        return scope.Keep(y);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!.Contiguous();
        var dsaid = ExpertDispatch.Empty(dy, _routing);
        var dweights = _weights.EmptyLike();
        var kernels = DeviceKernels.Of(dy);
        kernels.ExpertScatter(dsaid, _routing, _weights, dy);
        kernels.ExpertDots(_said, _routing, dy, dweights);
        return [.. dsaid.OfType<Tensor>(), dweights];
    }
}
