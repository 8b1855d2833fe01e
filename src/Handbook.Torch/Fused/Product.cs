using System.Runtime.Intrinsics.X86;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>Products of matrices in the element type of their operands, outside the graph; whatever the processor, sums are taken in
/// float32 at least.</summary>
/// <remarks>
/// Where the processor does not multiply bfloat16, and in small products anywhere, libtorch would sum in it: off by a few per cent, and
/// many times slower than float32. There tiles of both operands are widened to float32, which is exact, multiplied by the BLAS, and the
/// sums are rounded once:
/// <code>result = round( widen(left) · widen(right) + bias ),   relative error at most 2⁻⁸</code>
/// Rows of a tile are few enough to stay in the caches until they are rounded.
/// <para>
/// Large float32 products are those of <see cref="BlockedProductKernel"/> where that is the faster one. The others are shared out here, some
/// rows of the result to each thread: OpenBLAS cuts such products across their columns, where they are narrow, and was measured to lose a
/// fifth at the widths of small models. Where the result is far wider than high, each thread has some columns: the right side, which is the
/// larger one, is then packed once in all. A sum is never cut, and its bits depend on the number of threads only where the library shares a
/// product out, or ends a block: <see cref="BlockedProductKernel.ForAll"/> is for those who need more.
/// </para>
/// </remarks>
internal static unsafe class Product
{
    /// <summary>Most elements of a widened tile: 4 MB.</summary>
    private const int TileElements = 1 << 20;

    /// <summary>Bytes of the float32 sums of a tile.</summary>
    internal const long SumBytes = TileElements * sizeof(float);

    /// <summary>Rows of the result in one tile, or terms of a sum over tokens.</summary>
    private const int TileRows = 512;

    /// <summary>Terms of other sums in one tile.</summary>
    private const int TileDepth = 2048;

    /// <summary>Terms of a product, all its sums together, up to which libtorch leaves the processor's own instructions aside (16³) and
    /// sums in bfloat16.</summary>
    private const long FewTerms = 1 << 14;

    /// <summary>Pieces, of rows or of columns, are multiples of it: of the tiles of 12 and of 16 rows that the library's kernels make, whose rests they sum in
    /// another order.</summary>
    private const int TileHeight = 48;

    /// <summary>Columns for each row of the result from which on threads share the columns.</summary>
    private const int ManyColumns = 2;

    /// <summary>Columns are shared where they are a multiple of it: others, behind the last whole tile, are summed in another order.</summary>
    private const int TileWidth = 16;

    /// <summary>Rows of a piece from which on a thread's own packing of the right side costs less than sharing it.</summary>
    private const int FewestRows = 96;

    /// <summary>Terms of a piece from which on the library takes its way for large products.</summary>
    private const long FewestTerms = 1 << 21;

    private static bool IsWidened(Tensor left, long columns) =>
        left.DType == DType.BFloat16 && left.Device.IsCpu && (!Processor.MultipliesBFloat16 || BlockedProductKernel.IsForAll || left.Count * columns <= FewTerms);

    /// <summary>Whether the second operand is a weight that is kept narrower than what it is multiplied with: it is widened tile by tile,
    /// which is exact.</summary>
    internal static bool IsStored(Tensor left, Tensor right) => left.DType == DType.Float32
        && right.DType is DType.BFloat16 or DType.Float16;

    /// <summary>[M, K] · [K, N].</summary>
    public static Tensor Of(Tensor left, Tensor right)
    {
        if (IsStored(left, right))
        {
            var wide = Tensor.Empty(left.DType, left.Device, left.Size(0), right.Size(1));
            Stored(left, right, null, wide);
            return wide;
        }
        if (!IsWidened(left, right.Size(1)) && !IsShared(left, right))
            return left.Mm(right);
        var result = Tensor.Empty(left.DType, left.Device, left.Size(0), right.Size(1));
        Into(left, right, result);
        return result;
    }

    /// <summary>x · weightᵀ + bias.</summary>
    /// <param name="x">[N, in].</param>
    /// <param name="weight">[out, in].</param>
    /// <param name="bias">[out]; null for none.</param>
    public static Tensor Linear(Tensor x, Tensor weight, Tensor? bias)
    {
        if (IsStored(x, weight))
        {
            var wide = Tensor.Empty(x.DType, x.Device, x.Size(0), weight.Size(0));
            using var inner = TensorScope.Enter();
            Stored(x, weight.Detach().T(), bias, wide);
            return wide;
        }
        if (!IsWidened(x, weight.Size(0)) && !IsShared(x, weight.Detach().T()))
            return x.Linear(weight, bias);
        var result = Tensor.Empty(x.DType, x.Device, x.Size(0), weight.Size(0));
        using var scope = TensorScope.Enter();
        Into(x, weight.Detach().T(), result, bias);
        return result;
    }

    /// <summary>[M, K] · [K, N] + bias into an existing [M, N].</summary>
    /// <param name="bias">[N]; null for none.</param>
    public static void Into(Tensor left, Tensor right, Tensor result, Tensor? bias = null)
    {
        if (IsStored(left, right))
            Stored(left, right, bias, result);
        else if (IsWidened(left, right.Size(1)))
            Widened(left, right, bias, result);
        else
            Multiply(left, right, result, bias);
    }

    /// <summary>[M, K] · [K, N] into a sum of at least the same precision, or added to it.</summary>
    /// <returns>False where the processor multiplies in the operands' own, lower precision: nothing was done.</returns>
    public static bool TrySum(Tensor sum, Tensor left, Tensor right, bool add)
    {
        if (sum.DType == left.DType && IsWidened(left, right.Size(1)))
        {
            using var rounded = TensorScope.Enter();
            if (add)
                sum.AddInPlace(Of(left, right));
            else
                Into(left, right, sum);
            return true;
        }
        if (sum.DType == left.DType)
        {
            Multiply(left, right, sum, add);
            return true;
        }
        if (!IsWidened(left, right.Size(1)) || sum.DType != DType.Float32)
            return false;
        if (sum.Stride(1) == 1 && BlockedProductKernel.Suits(left, right))
        {
            BlockedProductKernel.Multiply(left, right, sum, add);
            return true;
        }
        using var scope = TensorScope.Enter();
        long rows = left.Size(0), terms = left.Size(1), columns = right.Size(1);
        if (terms == 0 && !add)
            sum.ZeroInPlace();
        for (var k = 0L; k < terms; k += TileRows)
        {
            using var step = TensorScope.Enter();
            var depth = Math.Min(TileRows, terms - k);
            var wide = Widen(right, k, depth, 0, columns);
            var tile = Math.Max(16, TileElements / depth);
            for (var i = 0L; i < rows; i += tile)
            {
                using var inner = TensorScope.Enter();
                var count = Math.Min(tile, rows - i);
                var (some, target) = (Widen(left, i, count, k, depth), sum.Narrow(0, i, count));
                Multiply(some, wide, target, add || k > 0);
            }
        }
        return true;
    }

    private static void Widened(Tensor left, Tensor right, Tensor? bias, Tensor result)
    {
        if (right.DType != DType.BFloat16 || result.DType != DType.BFloat16 || result.Stride(1) != 1
            || bias is { DType: not DType.BFloat16 })
            throw new NotSupportedException($"a product of {left.Describe()} and {right.Describe()} into {result.Describe()}");
        using var scope = TensorScope.Enter();
        long rows = left.Size(0), depth = left.Size(1), columns = right.Size(1);
        var offsets = bias?.To(DType.Float32).Contiguous();
        if (BlockedProductKernel.Suits(left, right))
        {
            // It widens what it reads.
            var some = Math.Max(64, TileElements / Math.Min(rows, TileRows) / TileWidth * TileWidth);
            for (var j = 0L; j < columns; j += some)
                for (var i = 0L; i < rows; i += TileRows)
                {
                    using var part = TensorScope.Enter();
                    var (count, width) = (Math.Min(TileRows, rows - i), Math.Min(some, columns - j));
                    var sums = Tensor.Empty(DType.Float32, Device.Cpu, count, width);
                    BlockedProductKernel.Multiply(left.Narrow(0, i, count), right.Narrow(1, j, width), sums, add: false);
                    Round(sums, i, j);
                }
            return;
        }
        var deep = Math.Min(depth, TileDepth);
        var wide = Math.Max(64, TileElements / Math.Max(1, Math.Max(deep, Math.Min(rows, TileRows))));
        // Where all of the left side fits into the caches it is widened once for all columns.
        var all = columns > wide && rows * depth <= 2 * TileElements ? Widen(left, 0, rows, 0, depth) : null;
        for (var j = 0L; j < columns; j += wide)
        {
            using var step = TensorScope.Enter();
            var width = Math.Min(wide, columns - j);
            var other = depth == deep ? Widen(right, 0, depth, j, width) : null;
            for (var i = 0L; i < rows; i += TileRows)
            {
                using var inner = TensorScope.Enter();
                var count = Math.Min(TileRows, rows - i);
                var sums = Tensor.Empty(DType.Float32, Device.Cpu, count, width);
                for (var k = 0L; k == 0 || k < depth; k += TileDepth)
                {
                    using var part = TensorScope.Enter();
                    var terms = Math.Min(TileDepth, depth - k);
                    var some = all is null ? Widen(left, i, count, k, terms) : all.Narrow(0, i, count).Narrow(1, k, terms);
                    Multiply(some, other ?? Widen(right, k, terms, j, width), sums, add: k > 0);
                }
                Round(sums, i, j);
            }
        }

        void Round(Tensor sums, long row, long column) => ElementwiseKernel.ConvertRows(sums.Pointer<float>(), sums.Size(1),
            result.Pointer<BFloat16>() + row * result.Stride(0) + column, result.Stride(0), (int)sums.Size(0), (int)sums.Size(1),
            offsets is null ? null : offsets.Pointer<float>() + column);
    }

    /// <summary>Where the library multiplies, a tile is a number of the result's columns, so every sum is whole: the bits of the product with
    /// the whole matrix widened where one tile holds it, and those of the library's other way through a product of another size where it
    /// does not.</summary>
    private static void Stored(Tensor left, Tensor right, Tensor? bias, Tensor result)
    {
        if (result.Stride(1) == 1 && BlockedProductKernel.Suits(left, right))
        {
            Multiply(left, right, result, bias);        // it widens what it reads
            return;
        }
        long depth = right.Size(0), columns = right.Size(1);
        var most = StoredColumns(depth, columns);
        for (var j = 0L; j < columns; j += most)
        {
            using var scope = TensorScope.Enter();
            var width = Math.Min(most, columns - j);
            var (wide, target) = (Widen(right, 0, depth, j, width), result.Narrow(1, j, width));
            Multiply(left, wide, target, bias?.Narrow(0, j, width));
        }
    }

    /// <summary>left · right + bias.</summary>
    private static void Multiply(Tensor left, Tensor right, Tensor result, Tensor? bias)
    {
        if (bias is not null)
            result.CopyFrom(bias);
        Multiply(left, right, result, add: bias is not null);
    }

    /// <summary>left · right in their own element type: in the place of what <paramref name="result"/> holds, or added to it.</summary>
    private static void Multiply(Tensor left, Tensor right, Tensor result, bool add)
    {
        using var mode = GradMode.Disabled();
        if (result.Stride(1) == 1 && NarrowProductKernel.Suits(left, right))
        {
            NarrowProductKernel.Multiply(left, right, result, add);
            return;
        }
        if (result.Stride(1) == 1 && BlockedProductKernel.Suits(left, right))
        {
            BlockedProductKernel.Multiply(left, right, result, add);
            return;
        }
        var pieces = Pieces(left, right.Size(1));
        if (pieces == 1)
        {
            PartsOfProduct.Multiply(left, right, result, add);
            return;
        }
        using var scope = TensorScope.Enter();
        var (byColumns, all) = (IsCutByColumns(left, right.Size(1)), right.Detach());
        var (some, others, sums) = (new Tensor[pieces], new Tensor[pieces], new Tensor[pieces]);
        for (long i = 0, start = 0, size = byColumns ? right.Size(1) : left.Size(0); i < pieces; i++)
        {
            var end = i == pieces - 1 ? size : size * (i + 1) / pieces / TileHeight * TileHeight;
            some[i] = byColumns ? left : left.Narrow(0, start, end - start);
            others[i] = byColumns ? all.Narrow(1, start, end - start) : all;
            sums[i] = result.Narrow(byColumns ? 1 : 0, start, end - start);
            start = end;
        }
        ThreadTeam.Run(pieces, new PartsOfProduct(some, others, sums, add));
    }

    /// <summary>Whether the work is shared out over the threads here, not by the library.</summary>
    private static bool IsShared(Tensor left, Tensor right) =>
        NarrowProductKernel.Suits(left, right) || BlockedProductKernel.Suits(left, right) || Pieces(left, right.Size(1)) > 1;

    /// <summary>Whether threads have some columns each. The library's kernels for AVX2 sum the columns at the end of a block in another
    /// order, so that there bits would depend on where it is cut.</summary>
    private static bool IsCutByColumns(Tensor left, long columns) =>
        Avx512F.IsSupported && columns >= ManyColumns * left.Size(0) && columns % TileWidth == 0;

    /// <summary>How many threads multiply a part each; 1 where the library shares the work out itself.</summary>
    private static int Pieces(Tensor left, long columns)
    {
        var rows = left.Size(0);
        var each = rows / ThreadTeam.Threads;
        return left.DType == DType.Float32 && left.Device.IsCpu && each >= FewestRows
            && (columns <= 4 * rows || IsCutByColumns(left, columns))
            && each * left.Size(1) * columns >= FewestTerms
            ? ThreadTeam.Threads
            : 1;
    }

    private readonly struct PartsOfProduct(Tensor[] left, Tensor[] right, Tensor[] results, bool add) : IParallelBody
    {
        public void Invoke(int index)
        {
            using var mode = GradMode.Disabled();       // it is each thread's own
            Multiply(left[index], right[index], results[index], add);
        }

        public static void Multiply(Tensor left, Tensor right, Tensor result, bool add)
        {
            if (add)
                result.AddMmInPlace(left, right);
            else
                left.MmInto(right, result);
        }
    }

    /// <summary>Rows of a stored weight, [out, in], that are widened at once: all tiles are of about the same size.</summary>
    internal static long StoredColumns(long inputs, long outputs)
    {
        var most = Math.Max(64, TileElements / Math.Max(1, inputs));
        var tiles = Math.Max(1, (outputs + most - 1) / most);
        return Math.Max(1, (outputs + tiles - 1) / tiles);
    }

    /// <summary>As many rows of a stored weight, [out, in], from one on, as are widened at once; [rows, in], float32.</summary>
    internal static Tensor WidenedRows(Tensor weight, long start) =>
        Widen(weight, start, Math.Min(StoredColumns(weight.Size(1), weight.Size(0)), weight.Size(0) - start), 0, weight.Size(1));

    /// <summary>Σ of the squares of each row of a weight, tile by tile; [rows], float32 or float64.</summary>
    public static Tensor RowSquares(Parameter weight)
    {
        var (rows, columns) = (weight.Value.Size(0), weight.Value.Size(1));
        var type = weight.Codes is null && weight.Value.DType == DType.Float64 ? DType.Float64 : DType.Float32;
        var sums = Tensor.Empty(type, weight.Codes is null ? weight.Value.Device : Device.Cpu, rows);
        var most = StoredColumns(columns, rows);
        for (var start = 0L; start < rows; start += most)
        {
            using var scope = TensorScope.Enter();
            var count = Math.Min(most, rows - start);
            var tile = Fused.Linear.Whole(weight, start, count);
            sums.Narrow(0, start, count).CopyFrom((tile * tile).Sum(1));
        }
        return sums;
    }

    /// <summary>A part of a matrix in float32, lying in memory the way it does.</summary>
    private static Tensor Widen(Tensor matrix, long row, long rows, long column, long columns)
    {
        if (matrix.Stride(1) != 1 && matrix.Stride(0) == 1)
            return Widen(matrix.T(), column, columns, row, rows).T();
        if (matrix.Stride(1) != 1 || matrix.DType != DType.BFloat16 || !matrix.Device.IsCpu)
            return matrix.Narrow(0, row, rows).Narrow(1, column, columns).To(DType.Float32);
        var wide = Tensor.Empty(DType.Float32, Device.Cpu, rows, columns);
        ElementwiseKernel.ConvertRows(matrix.Pointer<BFloat16>() + row * matrix.Stride(0) + column, matrix.Stride(0), wide.Pointer<float>(),
            columns, (int)rows, (int)columns);
        return wide;
    }
}
