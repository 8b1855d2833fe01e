using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;
using Handbook.Torch.Quantised;

namespace Handbook.Torch.Cuda;

/// <summary>Embeddings, rows that are picked, and steps of optimisers.</summary>
internal sealed unsafe partial class CudaKernels
{
    public override void EmbeddingForward<T>(Mirrored<int> tokens, Mirrored<int> positions, Tensor table, Tensor? positionTable, double scale,
        Tensor y)
    {
        Within(tokens, table.Size(0), "token");
        if (positionTable is not null)
            Within(positions, positionTable.Size(0), "position");
        using var scope = TensorScope.Enter();
        Launch(CudaRows.EmbeddingForward(At<int>(tokens.On(y.Device)),
            positionTable is null ? null : At<int>(positions.On(y.Device)), At<T>(table), AtOrNull<T>(positionTable),
            At<float>(y), tokens.Count, (int)y.Size(1), (float)scale), y.Device);
    }

    public override void EmbeddingBackward<T>(Tensor dy, Mirrored<int> ids, double scale, Tensor tableGradient, int padding)
    {
        Within(ids, tableGradient.Size(0), "token");
        using var scope = TensorScope.Enter();
        // one block adds up all rows of an id, in their order
        var order = new long[ids.Count];
        for (var i = 0; i < order.Length; i++)
            order[i] = (long)ids.Host[i] << 32 | (uint)i;
        Array.Sort(order);
        Launch(CudaRows.EmbeddingBackward(Send<long>(order, dy.Device), At<float>(dy),
            At<float>(tableGradient), ids.Count, (int)dy.Size(1), (float)scale, padding), dy.Device);
    }

    public override void SelectRows(Tensor x, Mirrored<int> rows, Tensor y)
    {
        Within(rows, x.Size(0), "row");
        using var scope = TensorScope.Enter();
        Launch(CudaRows.Select(Bytes(x), At<int>(rows.On(x.Device)), Bytes(y), rows.Count, x.Size(1) * x.DType.Size),
            x.Device);
    }

    public override void SpreadRows(Tensor dy, Mirrored<int> rows, Tensor dx)
    {
        Within(rows, dx.Size(0), "row");
        using var scope = TensorScope.Enter();
        Launch(CudaRows.Spread(Bytes(dy), At<int>(rows.On(dy.Device)), Bytes(dx), rows.Count,
            dy.Size(1) * dy.DType.Size), dy.Device);
    }

    public override void RowLinear<T>(Tensor x, Tensor weight, Tensor? bias, Tensor y)
    {
        var isWide = y.DType != x.DType;
        Launch(CudaLinear.RowByRow(At<T>(x), x.Stride(0), At<T>(weight), AtOrNull<T>(bias), isWide ? null : At<T>(y),
            isWide ? At<float>(y) : null, x.Size(0), x.Size(1), weight.Size(0)), x.Device);
    }

    public override void ReadCodes<T>(QuantisedMatrix weight, long row, long column, Tensor tile, bool unscaled)
    {
        var (columns, device) = ((int)tile.Size(1), tile.Device);
        foreach (var (matrix, from, at, count) in weight.Pieces(row, tile.Size(0)))
        {
            var codes = Codes(matrix, device, unscaled);
            var target = At<T>(tile) + at * columns;
            Launch(matrix.Format.Kind == QuantisedKind.Int8 ? CudaQuantised.Int8Values(codes, from, count, column, columns, target)
                : CudaQuantised.FourBitValues(codes, from, count, column, columns, target), device);
        }
    }

    private CudaCodes Codes(CodedMatrix matrix, Device device, bool unscaled)
    {
        var (place, isDouble) = (matrix.On(device), matrix.Format.Double);
        return new()
        {
            Codes = At<byte>(place.Codes),
            Scales = unscaled || isDouble ? null : At<float>(place.Scales),
            ScaleCodes = isDouble ? At<byte>(place.Scales) : null,
            NestedScales = AtOrNull<float>(place.NestedScales),
            Offset = matrix.Offset,
            Book = At<float>(place.Book),
            Columns = matrix.Columns,
            BlockSize = matrix.BlockSize,
        };
    }

    // The first byte of rows of any type.
    private byte* Bytes(Tensor rows) => rows.Device.Kind == place.Kind ? (byte*)rows.Data : At<byte>(rows);

    // A kernel would read beside the table; numbers that only the device has were made there from checked ones.
    private static void Within(Mirrored<int> numbers, long count, string what)
    {
        if (!numbers.IsOnHost)
            return;
        foreach (var number in numbers.Host)
            if ((uint)number >= (ulong)count)
                throw new ArgumentOutOfRangeException(nameof(numbers), number, $"{what} {number} of a table of {count} rows");
    }

    // ---- optimisers ----------------------------------------------------------------------------------------------

    public override void OptimizerStep<TRule, T>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<Tensor> states, Tensor? copy,
        double gradientScale) =>
        Launch(CudaOptimizers.Step(rule, At<T>(parameters), At<T>(gradients), AtOrNull<T>(states.Length > 0 ? states[0] : null),
            AtOrNull<T>(states.Length > 1 ? states[1] : null), AtOrNull<BFloat16>(copy), parameters.Count, gradientScale, null), parameters.Device);

    public override void OptimizerStep<TRule, T>(TRule rule, Tensor parameters, Tensor gradients, ReadOnlySpan<CodedTensors> states,
        Tensor? copy, double gradientScale)
    {
        using var scope = TensorScope.Enter();
        var (first, second) = (states[0], states.Length > 1 ? states[1] : default);
        Launch(CudaOptimizers.Step(rule, At<float>(parameters), At<float>(gradients), At<byte>(first.Codes), At<float>(first.Scales),
            Values(first.Code, parameters.Device), AtOrNull<byte>(second.Codes), AtOrNull<float>(second.Scales),
            second.Code is null ? null : Values(second.Code, parameters.Device), AtOrNull<BFloat16>(copy), parameters.Count, gradientScale, null),
            parameters.Device);
    }

    public override void AdafactorStep(AdafactorStep step, Tensor parameters, Tensor gradients, Tensor rowState, Tensor? columnState,
        double gradientScale)
    {
        using var scope = TensorScope.Enter();
        var (isVector, device) = (columnState is null, parameters.Device);
        var (rows, width) = isVector ? (1, (int)parameters.Count) : (parameters.Size(0), (int)parameters.Size(1));
        var scratch = Tensor.Empty(DType.Float32, device, CudaAdafactor.ScratchFloats(rows, width));
        var sums = Tensor.Empty(DType.Float64, device, CudaAdafactor.ScratchDoubles(rows, width));
        var arguments = new CudaAdafactorArguments
        {
            Parameters = At<float>(parameters),
            Gradients = At<float>(gradients),
            RowState = At<float>(rowState),
            ColumnState = AtOrNull<float>(columnState),
            Scratch = At<float>(scratch),
            Sums = At<double>(sums),
            Rows = rows,
            Width = width,
        };
        Launch(isVector ? CudaAdafactor.VectorStep(step, arguments, gradientScale) : CudaAdafactor.MatrixStep(step, arguments, gradientScale),
            device);
    }

    private static readonly Mirrored<float> s_signed = new(DynamicCode.Signed.Values.ToArray());
    private static readonly Mirrored<float> s_unsigned = new(DynamicCode.Unsigned.Values.ToArray());

    private float* Values(DynamicCode code, Device device) => At<float>((code == DynamicCode.Signed ? s_signed : s_unsigned).On(device));
}
