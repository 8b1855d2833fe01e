using Handbook.Torch.Devices;

namespace Handbook.Torch.Fused;

/// <summary>Rows of a weight that are others than the weight's own, such as those of tokens that are trained while the table is
/// frozen.</summary>
/// <param name="Rows">[n, D], in the order of <paramref name="Ids"/>.</param>
/// <param name="Ids">Which rows of the weight they stand for, each once; [n].</param>
internal sealed record ReplacedRows(Parameter Rows, int[] Ids)
{
    /// <summary>The places of a list that hold such an id, and which of them each holds.</summary>
    public (int[] Places, int[] Which) Find(ReadOnlySpan<int> ids)
    {
        var known = new Dictionary<int, int>();
        for (var i = 0; i < Ids.Length; i++)
            known[Ids[i]] = i;
        var (places, which) = (new List<int>(), new List<int>());
        for (var i = 0; i < ids.Length; i++)
            if (known.TryGetValue(ids[i], out var found))
            {
                places.Add(i);
                which.Add(found);
            }
        return ([.. places], [.. which]);
    }
}

/// <summary>A matrix with some of its rows replaced, each at most once.</summary>
internal sealed class RowReplace : AutogradNode
{
    private readonly Mirrored<int> _rows;
    private readonly bool _restNeedsGrad;

    private RowReplace(Mirrored<int> rows, bool restNeedsGrad) => (_rows, _restNeedsGrad) = (rows, restNeedsGrad);

    /// <param name="x">[N, D], contiguous.</param>
    /// <param name="rows">Which rows; [M].</param>
    /// <param name="values">What stands there instead; [M, D], contiguous.</param>
    /// <returns>[N, D].</returns>
    public static Tensor Forward(Tensor x, Mirrored<int> rows, Tensor values)
    {
        using var scope = TensorScope.Enter();
        Tensor y;
        using (GradMode.Disabled())
        {
            y = x.Detach().Clone();
            DeviceKernels.Of(x).SpreadRows(values.Detach(), rows, y);
        }
        if (IsNeeded(x, values))
            new RowReplace(rows, x.RequiresGrad).Attach([x, values], y);
        return scope.Keep(y);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!.Contiguous();
        var kernels = DeviceKernels.Of(dy);
        var replaced = Tensor.Empty(dy.DType, dy.Device, _rows.Count, dy.Size(1));
        kernels.SelectRows(dy, _rows, replaced);
        if (!_restNeedsGrad)
            return [null, replaced];
        var rest = dy.Clone();
        kernels.SpreadRows(Tensor.Zeros(dy.DType, dy.Device, _rows.Count, dy.Size(1)), _rows, rest);
        return [rest, replaced];
    }
}
