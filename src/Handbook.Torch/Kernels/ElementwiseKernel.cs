using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Handbook.Base;

namespace Handbook.Torch.Kernels;

/// <summary>Conversions, sums and norms over flat memory of float, BFloat16 or double.</summary>
/// <remarks>The work is cut into pieces of 65,536 elements; partial sums are added in the order of the pieces.</remarks>
internal static unsafe class ElementwiseKernel
{
    private const int Piece = 65536;
    private const int Block = 256;              // elements that are added up without exactness
    private const int BlocksAtOnce = 1 << 18;

    /// <summary>target = source, rounded to the nearest value (ties to even) where the target is narrower.</summary>
    public static void Convert<TFrom, TTo>(TFrom* source, TTo* target, long count) where TFrom : unmanaged where TTo : unmanaged =>
        ThreadTeam.Run(Pieces(count), new MapBody<TFrom, TTo> { Source = source, Target = target, Count = count, Factor = 1, Add = false });

    /// <summary>target[i, j] = source[i, j] + offsets[j], rounded to the nearest value where the target is narrower; neither is
    /// float64.</summary>
    /// <param name="sourceStride">Elements from row to row.</param>
    /// <param name="targetStride">Elements from row to row.</param>
    /// <param name="offsets">Added to each row; null for none.</param>
    public static void ConvertRows<TFrom, TTo>(TFrom* source, long sourceStride, TTo* target, long targetStride, int rows, int width,
        float* offsets = null)
        where TFrom : unmanaged where TTo : unmanaged
    {
        if (sourceStride == width && targetStride == width && offsets == null)
        {
            Convert(source, target, (long)rows * width);
            return;
        }
        var perPiece = RowPieces.PerPiece(width);
        ThreadTeam.Run((rows + perPiece - 1) / perPiece, Rows(source, sourceStride, target, targetStride, rows, width, perPiece, offsets));
    }

    /// <summary>The same on this thread alone, for kernels that are shared out themselves.</summary>
    public static void ConvertRowsHere<TFrom, TTo>(TFrom* source, long sourceStride, TTo* target, long targetStride, int rows, int width,
        float* offsets = null)
        where TFrom : unmanaged where TTo : unmanaged =>
        Rows(source, sourceStride, target, targetStride, rows, width, rows, offsets).Invoke(0);

    private static RowsBody<TFrom, TTo> Rows<TFrom, TTo>(TFrom* source, long sourceStride, TTo* target, long targetStride, int rows,
        int width,
        int perPiece, float* offsets) where TFrom : unmanaged where TTo : unmanaged => new()
        {
            Source = source,
            SourceStride = sourceStride,
            Target = target,
            TargetStride = targetStride,
            Offsets = offsets,
            Rows = rows,
            Width = width,
            PerPiece = perPiece,
        };

    /// <summary>target += factor · source.</summary>
    public static void AddScaled<TFrom, TTo>(TFrom* source, TTo* target, long count, double factor = 1) where TFrom : unmanaged where TTo
        : unmanaged =>
        ThreadTeam.Run(Pieces(count),
            new MapBody<TFrom, TTo> { Source = source, Target = target, Count = count, Factor = factor, Add = true });

    /// <summary>data *= factor.</summary>
    public static void Scale<T>(T* data, long count, double factor) where T : unmanaged =>
        ThreadTeam.Run(Pieces(count), new MapBody<T, T> { Source = data, Target = data, Count = count, Factor = factor, Add = false });

    /// <summary>Rounds every element to the nearest bfloat16, ties to even.</summary>
    public static void RoundToBFloat16(float* data, long count) =>
        ThreadTeam.Run(Pieces(count), new RoundBody { Data = data, Count = count });

    /// <summary>Adds Σ x²: it cannot overflow, so the result is finite if and only if every element is. Each block of 256 elements is added up in
    /// float64, and blocks exactly: data that is cut at blocks has the same sum.</summary>
    public static void AddSquares<T>(T* data, long count, ExactSum sum) where T : unmanaged
    {
        for (var from = 0L; from < count; from += BlocksAtOnce * Block)
        {
            var part = Math.Min(count - from, BlocksAtOnce * Block);
            var blocks = (int)((part + Block - 1) / Block);
            var partials = Scratch.Get<double>(Scratch.Slot.Partials, blocks);
            ThreadTeam.Run(Pieces(part), new SquaresBody<T> { Data = data + from, Partials = partials, Count = part });
            foreach (var partial in new ReadOnlySpan<double>(partials, blocks))
                sum.Add(partial);
        }
    }

    /// <summary>target[j] += Σ over rows of data[i, j]: the gradient of a bias.</summary>
    /// <param name="data">[N, D].</param>
    /// <param name="rowStride">Elements from row to row.</param>
    /// <param name="rows">N.</param>
    /// <param name="width">D.</param>
    /// <param name="target">[D].</param>
    public static void AddColumnSums<T, TReal>(T* data, long rowStride, int rows, int width, TReal* target) where T : unmanaged where TReal
        : unmanaged
    {
        var perPiece = RowPieces.PerPartial(rows, width);
        var pieces = (rows + perPiece - 1) / perPiece;
        var partials = Scratch.Get<TReal>(Scratch.Slot.Partials, (long)pieces * width);
        ThreadTeam.Run(pieces, new ColumnBody<T, TReal>
        {
            Data = data,
            RowStride = rowStride,
            Partials = partials,
            Rows = rows,
            Width = width,
            PerPiece = perPiece
        });
        RowPieces.AddPartials(partials, pieces, width, target);
    }

    private static int Pieces(long count) => checked((int)((count + Piece - 1) / Piece));

    private struct MapBody<TFrom, TTo> : IParallelBody where TFrom : unmanaged where TTo : unmanaged
    {
        public TFrom* Source;
        public TTo* Target;
        public long Count;
        public double Factor;
        public bool Add;

        public readonly void Invoke(int index)
        {
            var count = (int)Math.Min(Piece, Count - (long)index * Piece);
            if (count % Lanes.Width == 0)
                Run(index, count, new WholeLanes());
            else
                Run(index, count, new RaggedLanes(count));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Run<TLanes>(int index, int count, TLanes lanes) where TLanes : struct, ILanes
        {
            var source = Source + (long)index * Piece;
            var target = Target + (long)index * Piece;
            if (typeof(TFrom) == typeof(double) || typeof(TTo) == typeof(double))
            {
                for (var i = 0; i < count; i++)
                    Lanes.Set(target, i, Factor * Lanes.Get(source, i) + (Add ? Lanes.Get(target, i) : 0));
                return;
            }
            var factor = Vector512.Create((float)Factor);
            if (Add)
                for (var i = 0; i < count; i += 16)
                    lanes.Store(target, i, Vector512.FusedMultiplyAdd(lanes.Load(source, i), factor, lanes.Load(target, i)));
            else
                for (var i = 0; i < count; i += 16)
                    lanes.Store(target, i, lanes.Load(source, i) * factor);
        }
    }

    private struct RowsBody<TFrom, TTo> : IParallelBody where TFrom : unmanaged where TTo : unmanaged
    {
        public TFrom* Source;
        public TTo* Target;
        public float* Offsets;
        public long SourceStride, TargetStride;
        public int Rows, Width, PerPiece;

        public readonly void Invoke(int index)
        {
            if (Width % Lanes.Width == 0)
                Run(index, new WholeLanes());
            else
                Run(index, new RaggedLanes(Width));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Run<TLanes>(int index, TLanes lanes) where TLanes : struct, ILanes
        {
            var end = Math.Min(Rows, (index + 1) * PerPiece);
            for (var i = index * PerPiece; i < end; i++)
            {
                var source = Source + i * SourceStride;
                var target = Target + i * TargetStride;
                if (Offsets == null)
                    for (var j = 0; j < Width; j += 16)
                        lanes.Store(target, j, lanes.Load(source, j));
                else
                    for (var j = 0; j < Width; j += 16)
                        lanes.Store(target, j, lanes.Load(source, j) + lanes.Load(Offsets, j));
            }
        }
    }

    private struct RoundBody : IParallelBody
    {
        public float* Data;
        public long Count;

        public readonly void Invoke(int index)
        {
            var end = Math.Min(Count, (index + 1L) * Piece);
            for (var i = (long)index * Piece; i < end; i++)
                Data[i] = BFloat16.From(Data[i]).ToSingle();
        }
    }

    private struct SquaresBody<T> : IParallelBody where T : unmanaged
    {
        public T* Data;
        public double* Partials;
        public long Count;

        public readonly void Invoke(int index)
        {
            var end = Math.Min(Count, (index + 1L) * Piece);
            for (var from = (long)index * Piece; from < end; from += Block)
            {
                var count = (int)Math.Min(Block, end - from);
                Partials[from / Block] = count % Lanes.Width == 0 ? Run(Data + from, count, new WholeLanes())
                    : Run(Data + from, count, new RaggedLanes(count));
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static double Run<TLanes>(T* data, int count, TLanes lanes) where TLanes : struct, ILanes
        {
            if (typeof(T) == typeof(double))
            {
                var total = 0.0;
                for (var i = 0; i < count; i++)
                    total += Lanes.Get(data, i) * Lanes.Get(data, i);
                return total;
            }
            Vector512<double> sum0 = Vector512<double>.Zero, sum1 = Vector512<double>.Zero;
            for (var i = 0; i < count; i += 16)
            {
                var (low, high) = Vector512.Widen(lanes.Load(data, i));
                sum0 = Vector512.FusedMultiplyAdd(low, low, sum0);
                sum1 = Vector512.FusedMultiplyAdd(high, high, sum1);
            }
            return Vector512.Sum(sum0 + sum1);
        }
    }

    private struct ColumnBody<T, TReal> : IParallelBody where T : unmanaged where TReal : unmanaged
    {
        public T* Data;
        public long RowStride;
        public TReal* Partials;
        public int Rows, Width, PerPiece;

        public readonly void Invoke(int index)
        {
            if (Width % Lanes.Width == 0)
                Run(index, new WholeLanes());
            else
                Run(index, new RaggedLanes(Width));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Run<TLanes>(int index, TLanes lanes) where TLanes : struct, ILanes
        {
            var partial = Partials + (long)index * Width;
            new Span<TReal>(partial, Width).Clear();
            var end = Math.Min(Rows, (index + 1) * PerPiece);
            for (var i = index * PerPiece; i < end; i++)
            {
                var row = Data + i * RowStride;
                if (typeof(TReal) == typeof(double))
                    for (var j = 0; j < Width; j++)
                        Lanes.Set(partial, j, Lanes.Get(partial, j) + Lanes.Get(row, j));
                else
                    for (var j = 0; j < Width; j += 16)
                        lanes.Store(partial, j, lanes.Load(partial, j) + lanes.Load(row, j));
            }
        }
    }
}
