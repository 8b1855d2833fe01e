namespace Handbook.Torch.Fused;

/// <summary>Some rows of a matrix, each at most once: what the head needs of the hidden states.</summary>
public sealed unsafe class RowSelect : AutogradNode
{
    private readonly int[] _rows;
    private readonly long _count;

    private RowSelect(int[] rows, long count) => (_rows, _count) = (rows, count);

    /// <param name="x">[N, D], contiguous.</param>
    /// <param name="rows">Which rows, without repetition; [M].</param>
    /// <returns>[M, D].</returns>
    public static Tensor Forward(Tensor x, int[] rows)
    {
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(x);
        Tensor y;
        using (GradMode.Disabled())
        {
            y = Tensor.Empty(x.DType, x.Device, rows.Length, x.Size(1));
            var bytes = x.Size(1) * x.DType.Size;
            for (var i = 0; i < rows.Length; i++)
                Buffer.MemoryCopy((byte*)x.Data + rows[i] * bytes, (byte*)y.Data + i * bytes, bytes, bytes);
        }
        if (needed)
            new RowSelect(rows, x.Size(0)).Attach([x], y);
        return scope.Keep(y);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!.Contiguous();
        var dx = _rows.Length == _count ? Tensor.Empty(dy.DType, dy.Device, _count, dy.Size(1)) : Tensor.Zeros(dy.DType, dy.Device, _count, dy.Size(1));
        var bytes = dy.Size(1) * dy.DType.Size;
        for (var i = 0; i < _rows.Length; i++)
            Buffer.MemoryCopy((byte*)dy.Data + i * bytes, (byte*)dx.Data + _rows[i] * bytes, bytes, bytes);
        return [dx];
    }
}
