using Handbook.Torch.Devices;

namespace Handbook.Torch.Fused;

/// <summary>The rows of tokens to their experts, a matrix for each expert.</summary>
internal sealed class ExpertDispatch : AutogradNode
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
            given = Empty(x, routing);
            DeviceKernels.Of(x).ExpertScatter(given, routing, null, x);
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
        var dx = Tensor.Empty(some.DType, some.Device, _routing.Tokens, some.Size(1));
        DeviceKernels.Of(some).ExpertGather(all, _routing, null, dx);
        return [dx];
    }

    /// <summary>Room for the rows of each expert, like those of <paramref name="rows"/>; null where it has none.</summary>
    internal static Tensor?[] Empty(Tensor rows, Routing routing) =>
        Array.ConvertAll(routing.Count, count => count == 0 ? null : Tensor.Empty(rows.DType, rows.Device, count, rows.Size(1)));
}
