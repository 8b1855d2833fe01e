using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Handbook.Torch.Quantised;

namespace Handbook.Torch.Kernels;

/// <summary>y = x · Wᵀ + b for few rows, as generation has them: W is read once, in its own order, and each result is one sum in a fixed
/// order.</summary>
/// <remarks>
/// float and <see cref="BFloat16"/> are summed in float32. The bits of a result depend on its row of x and its row of W alone, not on how
/// many others are computed with it, nor on the number of threads.
/// </remarks>
internal static unsafe class RowLinearKernel
{
    /// <summary>Rows of W in one tile.</summary>
    private const int Tile = RowLinearTiles.Outputs;

    /// <summary>Rows of W per piece of work: long stretches of a vocabulary, which are read from memory, and enough pieces of a layer for
    /// many threads.</summary>
    private static int PieceRows(int outputs) => outputs < 8192 ? 32 : 128;

    /// <summary>Rows of x that stay in the cache while a piece's rows of W pass by.</summary>
    private const int BlockRows = 32;

    /// <summary>Bytes between the row of W that is asked for and the one that is read.</summary>
    private const int Ahead = 8192;

    /// <param name="x">[rows, inputs], rows <paramref name="xStride"/> elements apart.</param>
    /// <param name="weight">W, [outputs, inputs].</param>
    /// <param name="bias">b, [outputs]; null for none.</param>
    /// <param name="y">[rows, outputs]; T, or float.</param>
    public static void Run<T, TOut>(T* x, long xStride, int rows, T* weight, T* bias, TOut* y, int inputs, int outputs) where T
        : unmanaged where TOut : unmanaged
    {
        if (typeof(T) != typeof(BFloat16) || RowProducts.Native == null)
        {
            RunManaged(x, xStride, rows, weight, bias, y, inputs, outputs);
            return;
        }
        var pieceRows = PieceRows(outputs);
        ThreadTeam.Run((outputs + pieceRows - 1) / pieceRows, new RowProducts
        {
            X = (BFloat16*)x,
            XStride = xStride,
            Weight = (BFloat16*)weight,
            Bias = (BFloat16*)bias,
            Y = y,
            Rows = rows,
            Inputs = inputs,
            Outputs = outputs,
            Wide = typeof(TOut) == typeof(float) ? 1 : 0,
            PieceRows = pieceRows,
        });
    }

    /// <summary>The same on any processor; in bfloat16 the bits may be others than those of <see cref="RowProducts"/>.</summary>
    internal static void RunManaged<T, TOut>(T* x, long xStride, int rows, T* weight, T* bias, TOut* y, int inputs, int outputs) where T
        : unmanaged where TOut : unmanaged
    {
        var pieceRows = PieceRows(outputs);
        var pieces = (outputs + pieceRows - 1) / pieceRows;
        if (typeof(T) == typeof(double))
        {
            ThreadTeam.Run(pieces, new PlainBody<T, TOut>
            {
                X = x,
                XStride = xStride,
                Rows = rows,
                Weight = weight,
                Bias = bias,
                Y = y,
                Inputs = inputs,
                Outputs = outputs,
                PieceRows = pieceRows
            });
            return;
        }
        var width = (inputs + Lanes.Width - 1) / Lanes.Width * Lanes.Width;
        var panel = (float*)x;
        nint stride = (nint)xStride;
        if (typeof(T) != typeof(float) || width != inputs)
        {
            panel = Scratch.Get<float>(Scratch.Slot.Row, (long)rows * width);
            for (var r = 0; r < rows; r++)
                Widen(x + r * xStride, inputs, panel + (long)r * width);
            stride = width;
        }
        ThreadTeam.Run(pieces, new Body<T, TOut, DenseRows<T>>
        {
            X = panel,
            XStride = stride,
            Rows = rows,
            Weight = new() { Weight = weight, Inputs = inputs, Width = width },
            Bias = bias,
            Y = y,
            Width = width,
            Outputs = outputs,
            PieceRows = pieceRows
        });
    }

    /// <summary>The same for a weight that is kept as codes.</summary>
    public static void RunCoded(float* x, long xStride, int rows, QuantisedMatrix weight, float* bias, float* y, int inputs, int outputs)
    {
        var width = (inputs + Lanes.Width - 1) / Lanes.Width * Lanes.Width;
        if (width != inputs)
        {
            var panel = Scratch.Get<float>(Scratch.Slot.Row, (long)rows * width);
            for (var r = 0; r < rows; r++)
                Widen(x + r * xStride, inputs, panel + (long)r * width);
            x = panel;
            xStride = width;
        }
        var pieceRows = PieceRows(outputs);
        ThreadTeam.Run((outputs + pieceRows - 1) / pieceRows, new Body<float, float, CodedRows>
        {
            X = x,
            XStride = (nint)xStride,
            Rows = rows,
            Weight = new() { Weight = weight, Width = width },
            Bias = bias,
            Y = y,
            Width = width,
            Outputs = outputs,
            PieceRows = pieceRows
        });
    }

    private static void Widen<T>(T* source, int count, float* target) where T : unmanaged
    {
        var i = 0;
        for (; i + Lanes.Width <= count; i += Lanes.Width)
            Lanes.Load(source + i).Store(target + i);
        if (i < count)
            Lanes.LoadPartial(source + i, count - i, 0).Store(target + i);
    }

    /// <summary>Where rows of W come from.</summary>
    private interface IWeightRows
    {
        /// <summary>Rows <paramref name="output"/> … of W in float32, without gaps; zeros in the place of those behind the last.</summary>
        /// <param name="count">Rows that there are, at most <see cref="Tile"/>.</param>
        /// <param name="panel">Room for <see cref="Tile"/> rows.</param>
        float* Read(int output, int count, float* panel);

        /// <summary>Asks for the rows that are read soon.</summary>
        void Fetch(int output);
    }

    private struct DenseRows<T> : IWeightRows where T : unmanaged
    {
        public T* Weight;
        public int Inputs, Width;

        public readonly float* Read(int output, int count, float* panel)
        {
            if (typeof(T) == typeof(float) && Width == Inputs && count == Tile)
                return (float*)(Weight + (long)output * Inputs);
            for (var o = 0; o < Tile; o++)
                if (o < count)
                    Widen(Weight + (long)(output + o) * Inputs, Inputs, panel + (long)o * Width);
                else
                    new Span<float>(panel + (long)o * Width, Width).Clear();
            return panel;
        }

        /// <summary>Beyond the last row it does nothing.</summary>
        public readonly void Fetch(int output)
        {
            var bytes = (long)Tile * Inputs * sizeof(T);
            var address = (byte*)(Weight + (long)output * Inputs) + Math.Max(bytes, Ahead / bytes * bytes);
            if (Sse.IsSupported)
                for (var i = 0L; i < bytes; i += 64)
                    Sse.Prefetch1(address + i);
        }
    }

    private struct CodedRows : IWeightRows
    {
        public QuantisedMatrix Weight;
        public int Width;

        public readonly float* Read(int output, int count, float* panel)
        {
            new Span<float>(panel, Tile * Width)[(count * Width)..].Clear();
            for (var o = 0; o < count; o++)
            {
                Weight.ReadRow(output + o, panel + (long)o * Width);
                new Span<float>(panel + (long)o * Width, Width)[(int)Weight.Columns..].Clear();
            }
            return panel;
        }

        public readonly void Fetch(int output)
        {
            // Half a byte a value: the processor's own prefetching keeps up.
        }
    }

    private struct Body<T, TOut, TWeight> : IParallelBody where T : unmanaged where TOut : unmanaged where TWeight : struct, IWeightRows
    {
        public float* X;
        public nint XStride;
        public TWeight Weight;
        public T* Bias;
        public TOut* Y;
        public int Rows, Width, Outputs, PieceRows;

        public readonly void Invoke(int index)
        {
            var end = Math.Min(Outputs, (index + 1) * PieceRows);
            var panel = Scratch.Get<float>(Scratch.Slot.Order, (long)Tile * Width);
            for (var from = 0; from < Rows; from += BlockRows)
                for (var output = index * PieceRows; output < end; output += Tile)
                    Columns(from, Math.Min(Rows, from + BlockRows), output, Math.Min(Tile, end - output), panel);
        }

        /// <summary>Up to four outputs of some rows.</summary>
        private readonly void Columns(int from, int to, int output, int count, float* panel)
        {
            var weight = Weight.Read(output, count, panel);
            var sums = stackalloc Vector128<float>[RowLinearTiles.Rows];
            if (from == 0)
                Weight.Fetch(output);
            for (var row = from; row < to;)
            {
                var done = RowLinearTiles.Sums(X + row * XStride, XStride, to - row, weight, Width, sums);
                for (var r = 0; r < done; r++, row++)
                    Store(row, output, count, sums[r]);
            }
        }

        private readonly void Store(int row, int output, int count, Vector128<float> sums)
        {
            var target = Y + (long)row * Outputs + output;
            if (Bias != null)
                for (var o = 0; o < count; o++)
                    sums = sums.WithElement(o, sums[o] + (float)Lanes.Get(Bias, output + o));
            if (typeof(TOut) == typeof(float) && count == Tile)
                sums.Store((float*)target);
            else
                for (var o = 0; o < count; o++)
                    Lanes.Set(target, o, sums[o]);
        }
    }

    /// <summary>By the formula, in float64.</summary>
    private struct PlainBody<T, TOut> : IParallelBody where T : unmanaged where TOut : unmanaged
    {
        public T* X, Weight, Bias;
        public long XStride;
        public TOut* Y;
        public int Rows, Inputs, Outputs, PieceRows;

        public readonly void Invoke(int index)
        {
            var end = Math.Min(Outputs, (index + 1) * PieceRows);
            for (var row = 0; row < Rows; row++)
                for (var o = index * PieceRows; o < end; o++)
                {
                    var sum = Bias == null ? 0 : Lanes.Get(Bias, o);
                    for (var i = 0; i < Inputs; i++)
                        sum += Lanes.Get(X, row * XStride + i) * Lanes.Get(Weight, (long)o * Inputs + i);
                    Lanes.Set(Y, (long)row * Outputs + o, sum);
                }
        }
    }
}
