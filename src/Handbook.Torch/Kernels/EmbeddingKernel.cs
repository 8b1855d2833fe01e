using System.Runtime.CompilerServices;

namespace Handbook.Torch.Kernels;

/// <summary>Rows of a table by token id, and the sum of gradients back into the table.</summary>
/// <remarks>
/// The gradient sorts the tokens by id, so that each row of the table has one owner that adds its tokens in the order of the batch: the
/// same bits for any number of threads. The table is float, BFloat16, Half or double; the rows that go out are float, BFloat16 or double.
/// </remarks>
internal static unsafe class EmbeddingKernel
{
    private const int TokensPerPiece = 64;

    /// <param name="table">[V, D].</param>
    /// <param name="ids">[N], each from 0 to V−1.</param>
    /// <param name="positionTable">Learned positions to add, [P, D]; null for none.</param>
    /// <param name="positions">[N], each from 0 to P−1; null where there is no position table.</param>
    /// <param name="output">scale · table[id] + positionTable[position]; [N, D].</param>
    /// <param name="count">N.</param>
    /// <param name="width">D.</param>
    /// <param name="vocabulary">V.</param>
    /// <param name="positionCount">P.</param>
    /// <param name="scale">Factor of the token's row (√D in some families).</param>
    public static void Gather<T, TOut>(T* table, int* ids, T* positionTable, int* positions, TOut* output, int count, int width,
        int vocabulary, int positionCount = 0, double scale = 1)
        where T : unmanaged where TOut : unmanaged
    {
        Check(ids, count, vocabulary, "token");
        if (positionTable != null)
            Check(positions, count, positionCount, "position");
        ThreadTeam.Run((count + TokensPerPiece - 1) / TokensPerPiece, new GatherBody<T, TOut>
        {
            Table = table,
            Ids = ids,
            PositionTable = positionTable,
            Positions = positions,
            Output = output,
            Count = count,
            Width = width,
            Scale = scale,
        });
    }

    /// <summary>tableGradient[id] += scale · outputGradient, for every token; also for learned positions, with the positions as
    /// ids.</summary>
    /// <param name="outputGradient">[N, D].</param>
    /// <param name="ids">[N], each from 0 to V−1.</param>
    /// <param name="tableGradient">[V, D].</param>
    /// <param name="count">N.</param>
    /// <param name="width">D.</param>
    /// <param name="vocabulary">V.</param>
    /// <param name="scale">As in the forward pass.</param>
    /// <param name="padding">The id whose row gets nothing; −1 for none.</param>
    public static void ScatterAdd<T, TReal>(T* outputGradient, int* ids, TReal* tableGradient, int count, int width, int vocabulary,
        double scale = 1, int padding = -1)
        where T : unmanaged where TReal : unmanaged
    {
        Check(ids, count, vocabulary, "token");
        // id and place in one number: sorting keeps the batch's order within an id
        var order = Scratch.Get<long>(Scratch.Slot.Order, count);
        for (var i = 0; i < count; i++)
            order[i] = ((long)ids[i] << 32) | (uint)i;
        new Span<long>(order, count).Sort();
        ThreadTeam.Run((count + TokensPerPiece - 1) / TokensPerPiece, new ScatterBody<T, TReal>
        {
            OutputGradient = outputGradient,
            Order = order,
            TableGradient = tableGradient,
            Count = count,
            Width = width,
            Scale = scale,
            Padding = padding,
        });
    }

    private static void Check(int* ids, int count, int limit, string what)
    {
        for (var i = 0; i < count; i++)
            if ((uint)ids[i] >= (uint)limit)
                throw new ArgumentException($"{what} {ids[i]} at place {i} is outside the table of {limit} rows", nameof(ids));
    }

    private struct GatherBody<T, TOut> : IParallelBody where T : unmanaged where TOut : unmanaged
    {
        public T* Table, PositionTable;
        public int* Ids, Positions;
        public TOut* Output;
        public int Count, Width;
        public double Scale;

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
            var end = Math.Min(Count, (index + 1) * TokensPerPiece);
            for (var i = index * TokensPerPiece; i < end; i++)
            {
                var row = Table + (long)Ids[i] * Width;
                var position = PositionTable == null ? null : PositionTable + (long)Positions[i] * Width;
                var output = Output + (long)i * Width;
                if (typeof(T) == typeof(double) || typeof(TOut) == typeof(double))
                {
                    for (var j = 0; j < Width; j++)
                        Lanes.Set(output, j, Lanes.Get(row, j) * Scale + (position == null ? 0 : Lanes.Get(position, j)));
                    continue;
                }
                if (typeof(T) == typeof(Half))
                {
                    for (var j = 0; j < Width; j++)
                        Lanes.Set(output, j, (float)((Half*)row)[j] * (float)Scale + (position == null ? 0 : (float)((Half*)position)[j]));
                    continue;
                }
                for (var j = 0; j < Width; j += 16)
                {
                    var value = lanes.Load(row, j) * (float)Scale;
                    if (position != null)
                        value += lanes.Load(position, j);
                    lanes.Store(output, j, value);
                }
            }
        }
    }

    private struct ScatterBody<T, TReal> : IParallelBody where T : unmanaged where TReal : unmanaged
    {
        public T* OutputGradient;
        public long* Order;
        public TReal* TableGradient;
        public int Count, Width, Padding;
        public double Scale;

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
            // A piece owns the ids whose first token lies in it, to their last token.
            int at = index * TokensPerPiece, end = Math.Min(Count, at + TokensPerPiece);
            while (at > 0 && at < end && Id(at) == Id(at - 1))
                at++;
            while (at < end)
            {
                var id = Id(at);
                for (; at < Count && Id(at) == id; at++)
                    if (id != Padding)
                        AddRow(lanes, OutputGradient + (Order[at] & uint.MaxValue) * Width, TableGradient + (long)id * Width);
            }
        }

        private readonly int Id(int at) => (int)(Order[at] >> 32);

        private readonly void AddRow<TLanes>(TLanes lanes, T* source, TReal* target) where TLanes : struct, ILanes
        {
            if (typeof(TReal) == typeof(double))
            {
                for (var j = 0; j < Width; j++)
                    Lanes.Set(target, j, Lanes.Get(target, j) + Scale * Lanes.Get(source, j));
                return;
            }
            for (var j = 0; j < Width; j += 16)
                lanes.Store(target, j, lanes.Load(target, j) + lanes.Load(source, j) * (float)Scale);
        }
    }
}
