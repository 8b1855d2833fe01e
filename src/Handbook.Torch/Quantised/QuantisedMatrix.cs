using Handbook.Torch.Devices;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Quantised;

/// <summary>Some rows of a weight, and the published matrix that holds them.</summary>
/// <param name="Matrix">The codes; several parts may share them.</param>
/// <param name="From">First row there.</param>
/// <param name="Rows">How many.</param>
internal readonly record struct CodedPart(CodedMatrix Matrix, long From, long Rows);

/// <summary>A frozen weight, [out, in], that is kept as codes; products read it tile by tile, it never lies in memory as a whole.</summary>
/// <remarks>
/// <code>y = x · Wᵀ + b,   dx = dy · W,   with W = round( values of the codes ) to the element type of products</code>
/// A tile is a number of the result's columns, so every sum is whole: the bits of the product with the whole matrix where one tile holds
/// it. A float64 input is multiplied in float64, whatever the type of products: for tests.
/// </remarks>
internal sealed unsafe class QuantisedMatrix : IDisposable
{
    private readonly CodedPart[] _parts;
    private readonly long[] _starts;
    private readonly bool _roundsInputs;

    /// <param name="parts">The weight's rows in order; their matrices are owned from here on.</param>
    /// <param name="compute">Element type of products: float32, or bfloat16 for values that are rounded to it.</param>
    /// <param name="roundsInputs">Rounds the inputs of int8 weights as <see cref="Int8Product"/> says: what the reference does when it does
    /// not train. Without gradients.</param>
    public QuantisedMatrix(IReadOnlyList<CodedPart> parts, DType compute, bool roundsInputs = false)
    {
        if (compute is not (DType.Float32 or DType.BFloat16))
            throw new ArgumentOutOfRangeException(nameof(compute), compute, "products of codes are in float32 or bfloat16");
        _parts = [.. parts];
        _starts = new long[_parts.Length];
        for (var i = 0; i < _parts.Length; i++)
            (_starts[i], Rows) = (Rows, Rows + _parts[i].Rows);
        (Columns, Compute) = (_parts[0].Matrix.Columns, compute);
        _roundsInputs = roundsInputs && _parts.All(part => part.Matrix.Format.Kind == QuantisedKind.Int8);
    }

    public long Rows { get; }

    public long Columns { get; }

    /// <summary>Element type of products.</summary>
    public DType Compute { get; }

    public IReadOnlyList<CodedPart> Parts => _parts;

    /// <summary>Bytes of codes and scales.</summary>
    public long Bytes => _parts.Select(part => part.Matrix).Distinct().Sum(matrix => matrix.Bytes);

    /// <summary>A part of the weight; [rows, columns].</summary>
    /// <param name="type">Float32, BFloat16 or Float64: the float32 value rounded, or widened.</param>
    /// <param name="unscaled">The codes of int8 themselves.</param>
    /// <param name="device">Where the values are wanted; null: on the CPU.</param>
    public Tensor Tile(DType type, long row, long rows, long column, long columns, bool unscaled = false, Device? device = null)
    {
        var tile = Tensor.Empty(type, device ?? Device.Cpu, rows, columns);
        DeviceKernels.Of(tile).ReadCodes(this, row, column, tile, unscaled);
        return tile;
    }

    /// <summary>The parts that some rows are of, in order: rows of the matrix, and where among those rows they begin.</summary>
    internal IEnumerable<(CodedMatrix Matrix, long From, long At, long Rows)> Pieces(long row, long rows)
    {
        for (long at = 0, count; at < rows; at += count)
        {
            var part = PartOf(row + at);
            var inside = row + at - _starts[part];
            count = Math.Min(rows - at, _parts[part].Rows - inside);
            yield return (_parts[part].Matrix, _parts[part].From + inside, at, count);
        }
    }

    /// <summary>The whole weight, for tests and for what merges it.</summary>
    public Tensor Dense(DType type) => Tile(type, 0, Rows, 0, Columns);

    /// <summary>x · Wᵀ + bias.</summary>
    /// <param name="x">[N, in].</param>
    /// <param name="bias">[out]; null for none.</param>
    public Tensor Linear(Tensor x, Tensor? bias)
    {
        var type = TypeFor(x);
        if (_roundsInputs && type != DType.Float64)
            return InType(x, DType.Float32, input => Int8Product.Linear(input, this, bias?.To(DType.Float32)));
        return type == x.DType ? Multiply(x, bias) : InType(x, type, input => Multiply(input, bias?.To(type)));
    }

    /// <summary>x · Wᵀ + bias in the element type of x.</summary>
    internal Tensor Multiply(Tensor x, Tensor? bias)
    {
        var type = x.DType;
        var most = Most(x.Device, Columns, Rows);
        if (most >= Rows)
            return OverTile(x, type, tile => Product.Linear(x, tile, bias));
        var result = Tensor.Empty(type, x.Device, x.Size(0), Rows);
        for (var j = 0L; j < Rows; j += most)
        {
            using var scope = TensorScope.Enter();
            var width = Math.Min(most, Rows - j);
            Product.Into(x, Tile(type, j, width, 0, Columns, device: x.Device).T(), result.Narrow(1, j, width), bias?.Narrow(0, j, width));
        }
        return result;
    }

    /// <summary>dy · W.</summary>
    /// <param name="dy">[N, out].</param>
    public Tensor Of(Tensor dy)
    {
        var type = TypeFor(dy);
        if (type != dy.DType)
            return InType(dy, type, Of);
        // Whole blocks, but for the last.
        var most = (Most(dy.Device, Rows, Columns) + QuantisedFormat.BlockSize - 1) / QuantisedFormat.BlockSize
            * QuantisedFormat.BlockSize;
        if (most >= Columns)
            return OverTile(dy, type, tile => Product.Of(dy, tile));
        var result = Tensor.Empty(type, dy.Device, dy.Size(0), Columns);
        for (var j = 0L; j < Columns; j += most)
        {
            using var scope = TensorScope.Enter();
            var width = Math.Min(most, Columns - j);
            Product.Into(dy, Tile(type, 0, Rows, j, width, device: dy.Device), result.Narrow(1, j, width));
        }
        return result;
    }

    /// <summary>x · Wᵀ + bias with results that depend on their own row alone: sums in float32, for few rows.</summary>
    /// <param name="output">Element type of the result.</param>
    public Tensor RowByRow(Tensor x, Tensor? bias, DType output)
    {
        using var scope = TensorScope.Enter();
        if (!x.Device.IsCpu)
            return scope.Keep(RowByRowElsewhere(x, bias, output));
        var type = x.DType == DType.Float64 ? DType.Float64 : DType.Float32;
        var input = TypeFor(x) == DType.BFloat16 ? x.To(DType.BFloat16) : x;
        var y = Tensor.Empty(output == DType.BFloat16 ? DType.Float32 : output, x.Device, x.Size(0), Rows);
        var (wide, offsets) = (input.To(type).Contiguous(), bias?.To(type).Contiguous());
        if (_roundsInputs && type == DType.Float32)
            wide = Int8Product.RoundedByRow(wide);
        if (type == DType.Float64)
            RowLinearKernel.Run(wide.Pointer<double>(), Columns, (int)x.Size(0), Dense(type).Pointer<double>(),
                offsets is null ? null : offsets.Pointer<double>(), y.Pointer<double>(), (int)Columns, (int)Rows);
        else
            RowLinearKernel.RunCoded(wide.Pointer<float>(), Columns, (int)x.Size(0), this,
                offsets is null ? null : offsets.Pointer<float>(), y.Pointer<float>(), (int)Columns, (int)Rows);
        return scope.Keep(y.To(output));
    }

    private Tensor RowByRowElsewhere(Tensor x, Tensor? bias, DType output)
    {
        // what is rounded to codes is no bfloat16 any more
        var type = _roundsInputs ? DType.Float32 : Compute;
        var (input, y) = (x.To(Compute).To(type).Contiguous(), Tensor.Empty(output, x.Device, x.Size(0), Rows));
        if (_roundsInputs)
            input = Int8Product.RoundedByRow(input);
        var most = Most(x.Device, Columns, Rows);
        for (var j = 0L; j < Rows; j += most)
        {
            using var scope = TensorScope.Enter();
            var width = Math.Min(most, Rows - j);
            var part = Tensor.Empty(output == DType.Float32 ? output : type, x.Device, x.Size(0), width);
            DeviceKernels.Of(x).RowLinear(input, Tile(Compute, j, width, 0, Columns, device: x.Device).To(type),
                bias?.Narrow(0, j, width).To(type), part);
            y.Narrow(1, j, width).CopyFrom(part);
        }
        return y;
    }

    // Values that are there at once: on the CPU what its caches hold, elsewhere a gigabyte at most, for whole matrices are multiplied fastest.
    internal static long Most(Device device, long inputs, long outputs) => device.IsCpu ? Product.StoredColumns(inputs, outputs)
        : Math.Clamp((1L << 28) / Math.Max(1, inputs), 1, outputs);

    /// <summary>The scales of int8 rows; [out].</summary>
    internal Tensor RowScales(Device device)
    {
        using var scope = TensorScope.Enter();
        return scope.Keep(Tensor.Cat([.. _parts.Select(part => part.Matrix.On(device).Scales.Narrow(0, part.From, part.Rows))], 0));
    }

    /// <summary>One row in float32, rounded to the type of products.</summary>
    internal void ReadRow(long row, float* target)
    {
        var part = PartOf(row);
        var (values, at) = (_parts[part].Matrix.Values, _parts[part].From + row - _starts[part]);
        if (Compute == DType.BFloat16)
            values.Read(at, 0, (int)Columns, (RoundedSingle*)target);
        else
            values.Read(at, 0, (int)Columns, target);
    }

    public void Dispose()
    {
        foreach (var matrix in _parts.Select(part => part.Matrix).Distinct())
            matrix.Dispose();
    }

    private DType TypeFor(Tensor x) => x.DType == DType.Float64 ? DType.Float64 : Compute;

    private static Tensor InType(Tensor x, DType type, Func<Tensor, Tensor> product)
    {
        using var scope = TensorScope.Enter();
        return scope.Keep(product(x.To(type)).To(x.DType));
    }

    private Tensor OverTile(Tensor x, DType type, Func<Tensor, Tensor> product)
    {
        using var scope = TensorScope.Enter();
        return scope.Keep(product(Tile(type, 0, Rows, 0, Columns, device: x.Device)));
    }

    private int PartOf(long row)
    {
        var found = Array.BinarySearch(_starts, row);
        return found >= 0 ? found : ~found - 1;
    }

    /// <summary>What <see cref="Tile"/> gives, on the CPU.</summary>
    internal void Read<T>(long row, long rows, long column, long columns, T* target, bool unscaled) where T : unmanaged
    {
        var perPiece = RowPieces.PerPiece((int)columns);
        ThreadTeam.Run((int)((rows + perPiece - 1) / perPiece), new TileBody<T>(this, row, rows, column, columns, target, perPiece, unscaled));
    }

    private readonly struct TileBody<T>(QuantisedMatrix weight, long row, long rows, long column, long columns, T* target, int perPiece,
        bool unscaled) : IParallelBody where T : unmanaged
    {
        public void Invoke(int index)
        {
            var (at, end) = ((long)index * perPiece, Math.Min(rows, (index + 1L) * perPiece));
            while (at < end)
            {
                var part = weight.PartOf(row + at);
                var (matrix, from, count) = weight._parts[part];
                var values = matrix.Values;
                if (unscaled)
                    values.Scales = null;
                var inside = row + at - weight._starts[part];
                for (; at < end && inside < count; at++, inside++)
                    values.Read(from + inside, column, (int)columns, target + at * columns);
            }
        }
    }
}
