using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Quantised;

/// <summary>The product with int8 weights as LLM.int8 has it where it does not train: inputs are codes as well. Dettmers et al. 2022,
/// arXiv:2208.07339, §3.2.</summary>
/// <remarks>
/// <code>
/// h = x in half precision;   a column with some |h| ≥ 6 is an outlier
/// elsewhere   scale(r) = max |h(r, ·)| below 6,   code(r, c) = round( h(r, c) · ( 1 / scale(r) · 127 ) )
/// y = ( codes of x · codes of Wᵀ ) · scale of x · scale of W · 6.200124e-5 + b + outliers of x · Wᵀ
/// </code>
/// The factor is bitsandbytes' own for 1/127², off in its fifth digit. The order of operations is that of the reference, because a value
/// that lies between two codes hangs on its last bit.
/// </remarks>
internal static unsafe class Int8Product
{
    private const float Threshold = 6;
    private const double Step = 6.200124e-05;

    /// <param name="x">[N, in], float32.</param>
    /// <param name="bias">[out]; null for none.</param>
    public static Tensor Linear(Tensor x, QuantisedMatrix weight, Tensor? bias)
    {
        using var scope = TensorScope.Enter();
        var inputs = Inputs.Of(x, byRow: false);
        var scales = weight.RowScales(x.Device);
        var y = Tensor.Empty(DType.Float32, x.Device, x.Size(0), weight.Rows);
        var most = QuantisedMatrix.Most(x.Device, weight.Columns, weight.Rows);
        for (var j = 0L; j < weight.Rows; j += most)
        {
            using var tile = TensorScope.Enter();
            var width = Math.Min(most, weight.Rows - j);
            Product.Into(inputs.Codes, weight.Tile(DType.Float32, j, width, 0, weight.Columns, unscaled: true, x.Device).T(), y.Narrow(1, j, width));
        }
        y = y * (inputs.Scales * scales) * Step;
        if (bias is not null)
            y = y + bias;
        return scope.Keep(inputs.Outliers is null ? y : y + weight.Multiply(inputs.Outliers, null));
    }

    /// <summary>The inputs rounded to their codes, as numbers; an outlier concerns its own row alone.</summary>
    public static Tensor RoundedByRow(Tensor x)
    {
        using var scope = TensorScope.Enter();
        var inputs = Inputs.Of(x, byRow: true);
        var rounded = inputs.Codes * (inputs.Scales * (127 * Step));
        return scope.Keep(inputs.Outliers is null ? rounded : rounded + inputs.Outliers);
    }

    /// <summary>Inputs taken apart.</summary>
    /// <param name="Codes">Whole numbers from −127 to 127, 0 for outliers; [N, in].</param>
    /// <param name="Scales">[N, 1].</param>
    /// <param name="Outliers">x where it is an outlier, else 0; [N, in], null where there are none.</param>
    private sealed record Inputs(Tensor Codes, Tensor Scales, Tensor? Outliers)
    {
        public static Inputs Of(Tensor x, bool byRow)
        {
            if (!x.Device.IsCpu)
                return OfElsewhere(x, byRow);
            x = x.Contiguous();
            var (rows, columns) = ((int)x.Size(0), (int)x.Size(1));
            var (isOutlier, any) = (new bool[columns], false);
            var values = x.AsSpan<float>();
            for (var i = 0; i < values.Length; i++)
                if (MathF.Abs((float)(Half)values[i]) >= Threshold)
                    isOutlier[i % columns] = any = true;
            var result = new Inputs(Tensor.Empty(DType.Float32, Device.Cpu, rows, columns), Tensor.Empty(DType.Float32, Device.Cpu, rows, 1),
                any ? Tensor.Zeros(DType.Float32, rows, columns) : null);
            fixed (bool* outlier = isOutlier)
                ThreadTeam.Run(rows, new Body
                {
                    X = x.Pointer<float>(),
                    Columns = columns,
                    IsOutlier = byRow ? null : outlier,
                    Codes = result.Codes.Pointer<float>(),
                    Scales = result.Scales.Pointer<float>(),
                    Outliers = any ? result.Outliers!.Pointer<float>() : null,
                });
            return result;
        }
    }

    /// <summary>The same in operators of any device, to the bit; outliers are looked for and multiplied without asking the device whether there
    /// are any.</summary>
    private static Inputs OfElsewhere(Tensor x, bool byRow)
    {
        var h = x.To(DType.Float16).To(DType.Float32);
        var size = h.Relu() + (-h).Relu();
        var isLarge = size.IsAtLeast(Threshold);
        var scales = size.MaskedFill(isLarge, 0).MaxAlong(1);
        var divisors = scales.MaskedFill((-scales).IsAtLeast(0), 1);        // a row of zeros has codes of zero
        var factors = (divisors.ZerosLike() + 1) / divisors * 127;          // two roundings, as in the reference
        var isOutlier = byRow ? isLarge : size.MaxAlong(0).IsAtLeast(Threshold);
        return new((h * factors).Round().MaskedFill(isOutlier, 0), scales, x - x.MaskedFill(isOutlier, 0));
    }

    private struct Body : IParallelBody
    {
        public float* X, Codes, Scales, Outliers;
        public int Columns;
        public bool* IsOutlier;

        public readonly void Invoke(int index)
        {
            var row = X + (long)index * Columns;
            var scale = 0f;
            for (var c = 0; c < Columns; c++)
                if (MathF.Abs((float)(Half)row[c]) is var size && size < Threshold)
                    scale = MathF.Max(scale, size);
            Scales[index] = scale;
            var factor = scale == 0 ? 0 : 1 / scale * 127;          // two roundings, as in the reference
            for (var c = 0; c < Columns; c++)
            {
                var h = (float)(Half)row[c];
                var isOutlier = IsOutlier == null ? MathF.Abs(h) >= Threshold : IsOutlier[c];
                Codes[(long)index * Columns + c] = isOutlier ? 0 : MathF.Round(h * factor);
                if (isOutlier)
                    Outliers[(long)index * Columns + c] = row[c];
            }
        }
    }
}
