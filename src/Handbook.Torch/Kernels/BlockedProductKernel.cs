using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>Products of large matrices, summed in float32, whose operands are float32 or bfloat16.</summary>
/// <remarks>
/// The blocks are those of Goto and van de Geijn 2008 (doi 10.1145/1356052.1356053), for caches of a processor that reads its second level
/// fast enough to feed a tile of <see cref="ProductTiles"/>:
/// <code>
/// result[I, J] (+)= left[I, T] · right[T, J]      T: some hundred terms;  J: as many columns as let right[T, J] fill half of that cache
/// </code>
/// right[T, J] is copied into panels of a tile's columns, in the order in which tiles read it; left[I, T] is read where it lies if its terms
/// lie without gaps, else it is copied too. Copies widen what is narrower. A sum is taken in the order of its terms, some hundred of them at
/// a time, so its bits depend on its row and its column alone: not on the number of threads, nor on what else is computed.
/// </remarks>
internal static unsafe class BlockedProductKernel
{
    /// <summary>Most terms of a sum that are taken at once.</summary>
    internal const int TermsAtOnce = 384;

    /// <summary>Most elements of a block of the right side, 576 KiB: its panels are read over and over.</summary>
    internal const int BlockElements = 256 * 576;

    /// <summary>Rows of the left side that are copied at once, right before they are read: whole tiles.</summary>
    private const int RowsOfCopy = 48;

    /// <summary>Least of each size, and of all terms together, from which on this way is the faster one.</summary>
    private const int Fewest = 64, FewestTerms = 1 << 21;

    /// <summary>Most columns beside a left side that is copied, as the gradient of a weight has it: one block takes them all.</summary>
    private const int MostBesideCopies = 576;

    private static int _wanted;

    /// <summary>Whether all products are computed in this way.</summary>
    public static bool IsForAll => Volatile.Read(ref _wanted) > 0;

    /// <summary>Computes all products in this way, whatever their size and the processor, until the result is disposed of: then no bit
    /// depends on the number of threads, as it may where the library shares a product out.</summary>
    public static IDisposable ForAll(bool isWanted = true)
    {
        Interlocked.Add(ref _wanted, isWanted ? 1 : 0);
        return new Wanted(isWanted ? 1 : 0);
    }

    private sealed class Wanted(int count) : IDisposable
    {
        public void Dispose() => Interlocked.Add(ref _wanted, -Interlocked.Exchange(ref count, 0));
    }

    /// <summary>Whether this way is wanted, or was measured to be the faster one.</summary>
    public static bool Suits(Tensor left, Tensor right) => left.Device.IsCpu && IsRead(left.DType, right.DType)
        && (IsForAll ? Avx.IsSupported && Fma.IsSupported && left.Size(1) > 0 : IsFaster(left, right));

    private static bool IsFaster(Tensor left, Tensor right) => Avx512F.IsSupported && left.Size(0) >= Fewest && left.Size(1) >= Fewest && right.Size(1) >= Fewest && right.Size(1) % ProductTiles.Unit == 0
        && left.Size(0) * left.Size(1) * right.Size(1) >= FewestTerms
        && (left.Stride(1) == 1 || (left.Stride(0) == 1 && right.Size(1) <= MostBesideCopies))
        && (right.Stride(0) == 1 || right.Stride(1) == 1);

    // Two sides in bfloat16 are for processors that do not multiply it.
    private static bool IsRead(DType left, DType right) => right == DType.BFloat16
        ? left == DType.Float32 || (left == DType.BFloat16 && (IsForAll || !Processor.MultipliesBFloat16))
        : (left, right) == (DType.Float32, DType.Float32);

    /// <summary>result (+)= left · right, of any sizes and strides.</summary>
    /// <param name="result">Float32, its rows without gaps.</param>
    public static void Multiply(Tensor left, Tensor right, Tensor result, bool add)
    {
        switch (left.DType, right.DType)
        {
            case (DType.Float32, DType.Float32): Multiply<float, float>(left, right, result, add); break;
            case (DType.Float32, DType.BFloat16): Multiply<float, BFloat16>(left, right, result, add); break;
            case (DType.BFloat16, DType.BFloat16): Multiply<BFloat16, BFloat16>(left, right, result, add); break;
            default: throw new NotSupportedException($"a product of {left.Describe()} and {right.Describe()}");
        }
    }

    private static void Multiply<TLeft, TRight>(Tensor left, Tensor right, Tensor result, bool add) where TLeft : unmanaged where TRight
        : unmanaged
    {
        var job = ProductJob.Of<TLeft, TRight>(left, right, result.Pointer<float>(), (nint)result.Stride(0), add);
        // The larger side is cut: then what is copied for each piece anew is the smaller one.
        var byColumns = job.Columns >= job.Rows;
        var unit = byColumns ? ProductTiles.Columns : ProductTiles.Rows;
        var units = ((byColumns ? job.Columns : job.Rows) + unit - 1) / unit;
        ThreadTeam.Run(Math.Min(ThreadTeam.Threads, units), new Body<TLeft, TRight>
        {
            Job = job,
            ByColumns = byColumns,
            Unit = unit,
            Units = units,
            Pieces = Math.Min(ThreadTeam.Threads, units),
        });
    }

    /// <summary>Some rows or columns of the result for each thread.</summary>
    private struct Body<TLeft, TRight> : IParallelBody where TLeft : unmanaged where TRight : unmanaged
    {
        public ProductJob Job;
        public int Unit, Units, Pieces;
        public bool ByColumns;

        public readonly void Invoke(int index)
        {
            int from = Units * index / Pieces * Unit, to = Units * (index + 1) / Pieces * Unit;
            var blocks = new Blocks<TLeft, TRight>(Job);
            if (ByColumns)
                blocks.Sum(0, Job.Rows, from, Math.Min(Job.Columns, to));
            else
                blocks.Sum(from, Math.Min(Job.Rows, to), 0, Job.Columns);
        }
    }

    /// <summary>A product, block by block, on one thread.</summary>
    internal readonly struct Blocks<TLeft, TRight> where TLeft : unmanaged where TRight : unmanaged
    {
        private readonly ProductJob _job;
        private readonly int _depth;

        public Blocks(in ProductJob job)
        {
            _job = job;
            var parts = Math.Max(1, (job.Terms + TermsAtOnce - 1) / TermsAtOnce);
            _depth = (job.Terms + parts - 1) / parts;
        }

        private bool IsCopied => typeof(TLeft) != typeof(float) || _job.LeftTerm != 1;

        /// <summary>Some rows and columns of the result.</summary>
        public void Sum(int firstRow, int lastRow, int firstColumn, int lastColumn)
        {
            var width = ProductTiles.Columns;
            var panels = (lastColumn - firstColumn + width - 1) / width;
            var most = Math.Max(1, BlockElements / (_depth * width));
            var blocks = (panels + most - 1) / most;
            var block = Scratch.Get<float>(Scratch.Slot.Panels, (long)((panels + blocks - 1) / blocks) * width * _depth);
            var copy = IsCopied ? Scratch.Get<float>(Scratch.Slot.Rows, (long)RowsOfCopy * _depth) : null;
            for (var b = 0; b < blocks; b++)
            {
                var (from, to) = (firstColumn + panels * b / blocks * width, firstColumn + panels * (b + 1) / blocks * width);
                for (var t = 0; t < _job.Terms; t += _depth)
                    Block(firstRow, lastRow, t, from, Math.Min(lastColumn, to), block, copy);
            }
        }

        /// <summary>The sums of some terms, for some rows and columns.</summary>
        /// <param name="block">Room for the right side's panels.</param>
        /// <param name="copy">Room for <see cref="RowsOfCopy"/> rows of the left side; null where it is read as it lies.</param>
        [SkipLocalsInit]
        private void Block(int firstRow, int lastRow, int term, int from, int to, float* block, float* copy)
        {
            var (height, depth) = (ProductTiles.Rows, Math.Min(_depth, _job.Terms - term));
            ProductPanels.Copy((TRight*)_job.Right + term * _job.RightTerm + from * _job.RightColumn, _job.RightTerm, _job.RightColumn,
                depth,
                to - from, ProductTiles.Columns, block);
            var rest = stackalloc float[ProductTiles.Elements];
            for (var i = firstRow; i < lastRow; i += RowsOfCopy)
            {
                var source = (TLeft*)_job.Left + i * _job.LeftRow + term * _job.LeftTerm;
                var end = Math.Min(lastRow, i + RowsOfCopy);
                // Rows that are only widened stay rows; else tiles read a copy in their own order.
                var rows = copy != null && _job.LeftTerm == 1;
                if (rows)
                    ElementwiseKernel.ConvertRowsHere((BFloat16*)source, _job.LeftRow, copy, depth, end - i, depth);
                else if (copy != null)
                    ProductPanels.Copy(source, _job.LeftTerm, _job.LeftRow, depth, end - i, height, copy);
                var p = copy == null ? (float*)source : copy;
                var (row, step) = copy == null ? (_job.LeftRow, (nint)1) : rows ? (depth, 1) : (1, height);
                for (var r = i; r < end; r += height, p += copy == null ? height * _job.LeftRow : height * depth)
                    Tiles(p, row, step, Math.Min(height, end - r), block, to - from, depth, (float*)_job.Result + r * _job.ResultRow + from,
                        _job.Add || term > 0, rest);
            }
        }

        /// <summary>One tile's rows of a block.</summary>
        private void Tiles(float* p, nint row, nint step, int rows, float* block, int columns, int depth, float* result, bool add,
            float* rest)
        {
            var width = ProductTiles.Columns;
            var whole = rows == ProductTiles.Rows ? columns / width : 0;
            if (whole > 0)
                ProductTiles.Sum(p, row, step, rows, block, width, width, depth, result, _job.ResultRow, add, whole, width * depth);
            for (var j = whole * width; j < columns; j += width)
                ProductTiles.SumSome(p, row, step, rows, block + (nint)j * depth, width, Math.Min(width, columns - j), depth, result + j,
                    _job.ResultRow, add, rest);
        }
    }
}
