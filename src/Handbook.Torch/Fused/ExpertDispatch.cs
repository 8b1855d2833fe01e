
namespace Handbook.Torch.Fused;

/// <summary>The rows of tokens to their experts, a matrix for each expert.</summary>
public sealed unsafe class ExpertDispatch : AutogradNode
{
    private readonly Routing _routing;

    private ExpertDispatch(Routing routing) => _routing = routing;

    /// <param name="x">[N, D], contiguous.</param>
    /// <returns>Of each expert the rows of its tokens, [n, D]; null where it has none.</returns>
    public static Tensor?[] Forward(Tensor x, Routing routing)
    {
        using var scope = TensorScope.Enter();
        Tensor?[] given;
        using (GradMode.Disabled())
        {
            given = ExpertRows.Empty(x.DType, routing, x.Size(1));
            switch (x.DType)
            {
                case DType.Float32: ExpertRows.Scatter<float, float>(given, routing, null, x); break;
                case DType.BFloat16: ExpertRows.Scatter<BFloat16, float>(given, routing, null, x); break;
                case DType.Float64: ExpertRows.Scatter<double, double>(given, routing, null, x); break;
                default: throw new NotSupportedException($"experts of {x.Describe()}");
            }
        }
        if (IsNeeded(x))
            new ExpertDispatch(routing).Attach([x], [.. given.OfType<Tensor>()]);
        foreach (var some in given)
            if (some is not null)
                scope.Keep(some);
        return given;
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var some = gradients.OfType<Tensor>().First();
        var next = 0;
        var all = Array.ConvertAll(_routing.Count, count => count == 0 ? null : gradients[next++]?.Contiguous());
        var dx = Tensor.Empty(some.DType, Device.Cpu, _routing.Tokens, some.Size(1));
        switch (some.DType)
        {
            case DType.Float32: ExpertRows.Gather<float, float>(all, _routing, null, dx); break;
            case DType.BFloat16: ExpertRows.Gather<BFloat16, float>(all, _routing, null, dx); break;
            default: ExpertRows.Gather<double, double>(all, _routing, null, dx); break;
        }
        return [dx];
    }
}
