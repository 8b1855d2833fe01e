using Handbook.Torch.Devices;

namespace Handbook.Torch.Fused;

/// <summary>Some rows of a matrix, each at most once: what the head needs of the hidden states.</summary>
internal sealed class RowSelect : AutogradNode
{
    private readonly Mirrored<int> _rows;
    private readonly long _count;

    private RowSelect(Mirrored<int> rows, long count) => (_rows, _count) = (rows, count);

    /// <param name="x">[N, D], contiguous.</param>
    /// <param name="rows">Which rows, without repetition; [M].</param>
    /// <returns>[M, D].</returns>
    public static Tensor Forward(Tensor x, Mirrored<int> rows)
    {
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(x);
        Tensor y;
        using (GradMode.Disabled())
        {
            y = Tensor.Empty(x.DType, x.Device, rows.Count, x.Size(1));
            DeviceKernels.Of(x).SelectRows(x, rows, y);
        }
        if (needed)
            new RowSelect(rows, x.Size(0)).Attach([x], y);
        return scope.Keep(y);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!.Contiguous();
        var dx = _rows.Count == _count ? Tensor.Empty(dy.DType, dy.Device, _count, dy.Size(1))
            : Tensor.Zeros(dy.DType, dy.Device, _count, dy.Size(1));
        DeviceKernels.Of(dy).SpreadRows(dy, _rows, dx);
        return [dx];
    }
}
