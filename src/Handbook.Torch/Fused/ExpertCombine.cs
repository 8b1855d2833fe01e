
namespace Handbook.Torch.Fused;

/// <summary>The weighted sum of what a token's experts say: y = Σ_k w_k · expert_k.</summary>
public sealed unsafe class ExpertCombine : AutogradNode
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
            y = Tensor.Empty(some.DType, Device.Cpu, routing.Tokens, some.Size(1));
            switch (some.DType, weights.DType)
            {
                case (DType.Float32, DType.Float32): ExpertRows.Gather<float, float>(said, routing, weights, y); break;
                case (DType.BFloat16, DType.Float32): ExpertRows.Gather<BFloat16, float>(said, routing, weights, y); break;
                case (DType.Float64, DType.Float64): ExpertRows.Gather<double, double>(said, routing, weights, y); break;
                default: throw new NotSupportedException($"experts of {some.Describe()} with weights of {weights.Describe()}");
            }
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
        var dsaid = ExpertRows.Empty(dy.DType, _routing, dy.Size(1));
        var dweights = _weights.EmptyLike();
        switch (dy.DType)
        {
            case DType.Float32: Backward<float, float>(dy, dsaid, dweights); break;
            case DType.BFloat16: Backward<BFloat16, float>(dy, dsaid, dweights); break;
            default: Backward<double, double>(dy, dsaid, dweights); break;
        }
        return [.. dsaid.OfType<Tensor>(), dweights];
    }

    private void Backward<T, TReal>(Tensor dy, Tensor?[] dsaid, Tensor dweights) where T : unmanaged where TReal : unmanaged
    {
        ExpertRows.Scatter<T, TReal>(dsaid, _routing, _weights, dy);
        ExpertRows.Dots<T, TReal>(_said, _routing, dy, dweights);
    }
}
