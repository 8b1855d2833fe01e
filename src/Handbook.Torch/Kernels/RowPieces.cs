using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>How row-wise kernels split their rows. Only the data decides, never the number of threads, so sums come out in the same
/// bits.</summary>
internal static unsafe class RowPieces
{
    /// <summary>Rows of one piece where pieces share nothing: about 32 Ki elements.</summary>
    public static int PerPiece(int width) => Math.Max(1, 32768 / Math.Max(1, width));

    /// <summary>Rows of one piece where each piece keeps a partial sum of one row: at most 64 pieces, so the partials stay small.</summary>
    public static int PerPartial(int rows, int width) => Math.Max(PerPiece(width), (rows + 63) / 64);

    /// <summary>target += Σ of the pieces' partial rows, in the order of the pieces.</summary>
    public static void AddPartials<TReal>(TReal* partials, int pieces, int width, TReal* target) where TReal : unmanaged
    {
        const int columns = 512;
        ThreadTeam.Run((width + columns - 1) / columns,
            new Body<TReal> { Partials = partials, Target = target, Pieces = pieces, Width = width, Columns = columns });
    }

    private struct Body<TReal> : IParallelBody where TReal : unmanaged
    {
        public TReal* Partials, Target;
        public int Pieces, Width, Columns;

        public readonly void Invoke(int index)
        {
            if (Width % Lanes.Width == 0)
                Piece(index, new WholeLanes());
            else
                Piece(index, new RaggedLanes(Width));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Piece<TLanes>(int index, TLanes lanes) where TLanes : struct, ILanes
        {
            var end = Math.Min(Width, (index + 1) * Columns);
            for (var i = index * Columns; i < end; i += Lanes.Width)
            {
                if (typeof(TReal) == typeof(double))
                {
                    for (var j = i; j < Math.Min(end, i + Lanes.Width); j++)
                    {
                        var sum = 0.0;
                        for (var p = 0; p < Pieces; p++)
                            sum += Lanes.Get(Partials, (long)p * Width + j);
                        Lanes.Set(Target, j, Lanes.Get(Target, j) + sum);
                    }
                    continue;
                }
                var total = Vector512<float>.Zero;
                for (var p = 0; p < Pieces; p++)
                    total += lanes.Load((float*)Partials + (long)p * Width, i);
                lanes.Store((float*)Target, i, lanes.Load((float*)Target, i) + total);
            }
        }
    }
}
