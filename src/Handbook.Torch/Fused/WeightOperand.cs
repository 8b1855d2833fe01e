using Handbook.Torch.Devices;
using Handbook.Torch.Quantised;

namespace Handbook.Torch.Fused;

/// <summary>What the product of a linear layer reads of its weight, [out, in]: a matrix, or codes.</summary>
internal readonly struct WeightOperand
{
    private readonly Tensor? _matrix;
    private readonly QuantisedMatrix? _codes;

    private WeightOperand(Tensor? matrix, QuantisedMatrix? codes) => (_matrix, _codes) = (matrix, codes);

    public static implicit operator WeightOperand(Tensor matrix) => new(matrix, null);

    public static implicit operator WeightOperand(QuantisedMatrix codes) => new(null, codes);

    /// <summary>The matrix; null where codes are.</summary>
    public Tensor? Matrix => _matrix;

    /// <summary>[out].</summary>
    public long Rows => _codes?.Rows ?? _matrix!.Size(0);

    /// <summary>x · Wᵀ + bias; [N, out].</summary>
    public Tensor Linear(Tensor x, Tensor? bias) => _codes?.Linear(x, bias) ?? Product.Linear(x, _matrix!, bias);

    /// <summary>dy · W; [N, in].</summary>
    public Tensor Of(Tensor dy) => _codes?.Of(dy) ?? Product.Of(dy, _matrix!);

    /// <summary>As <see cref="Linear"/>, with results that depend on their own row alone; without gradients.</summary>
    /// <param name="output">Element type of the result: that of x, or float32.</param>
    public Tensor RowByRow(Tensor x, Tensor? bias, DType output)
    {
        if (_codes is not null)
            return _codes.RowByRow(x, bias, output);
        var (weight, y) = (_matrix!, Tensor.Empty(output, x.Device, x.Size(0), Rows));
        if (!Product.IsStored(x, weight))
            DeviceKernels.Of(x).RowLinear(x, weight, bias, y);
        else
            for (long start = 0, count; start < Rows; start += count)
            {
                using var scope = TensorScope.Enter();
                WeightOperand rows = Product.WidenedRows(weight, start);
                count = rows.Rows;
                y.Narrow(1, start, count).CopyFrom(rows.RowByRow(x, bias?.Narrow(0, start, count), output));
            }
        return y;
    }
}
