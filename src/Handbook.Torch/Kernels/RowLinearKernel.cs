using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>y = x · Wᵀ + b for few rows, as generation has them: W is read once, in its own order, and each result is one sum in a fixed order.</summary>
/// <remarks>
/// float and <see cref="BFloat16"/> are summed in float32. The bits of a result depend on its row of x and its row of W alone, not on how many others
/// are computed with it, nor on the number of threads.
/// </remarks>
public static unsafe class RowLinearKernel
{
    /// <summary>Rows of x and of W in one tile: sixteen sums stay in registers.</summary>
    private const int Tile = 4;

    /// <summary>Rows of W per piece of work: long stretches of a vocabulary, which are read from memory, and enough pieces of a layer for many threads.</summary>
    private static int PieceRows(int outputs) => outputs < 8192 ? 32 : 128;

    /// <summary>Rows of x that stay in the cache while a piece's rows of W pass by.</summary>
    private const int BlockRows = 32;

    /// <summary>Bytes between the row of W that is asked for and the one that is read.</summary>
    private const int Ahead = 8192;

    /// <param name="x">[rows, inputs], rows <paramref name="xStride"/> elements apart.</param>
    /// <param name="weight">W, [outputs, inputs].</param>
    /// <param name="bias">b, [outputs]; null for none.</param>
    /// <param name="y">[rows, outputs]; T, or float.</param>
    public static void Run<T, TOut>(T* x, long xStride, int rows, T* weight, T* bias, TOut* y, int inputs, int outputs) where T : unmanaged where TOut : unmanaged
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
    internal static void RunManaged<T, TOut>(T* x, long xStride, int rows, T* weight, T* bias, TOut* y, int inputs, int outputs) where T : unmanaged where TOut : unmanaged
    {
        var pieceRows = PieceRows(outputs);
        var pieces = (outputs + pieceRows - 1) / pieceRows;
        if (typeof(T) == typeof(double))
        {
            ThreadTeam.Run(pieces, new PlainBody<T, TOut> { X = x, XStride = xStride, Rows = rows, Weight = weight, Bias = bias, Y = y, Inputs = inputs, Outputs = outputs, PieceRows = pieceRows });
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
        ThreadTeam.Run(pieces, new Body<T, TOut> { X = panel, XStride = stride, Rows = rows, Weight = weight, Bias = bias, Y = y, Inputs = inputs, Width = width, Outputs = outputs, PieceRows = pieceRows });
    }

    private static void Widen<T>(T* source, int count, float* target) where T : unmanaged
    {
        var i = 0;
        for (; i + Lanes.Width <= count; i += Lanes.Width)
            Lanes.Load(source + i).Store(target + i);
        if (i < count)
            Lanes.LoadPartial(source + i, count - i, 0).Store(target + i);
    }

    private struct Body<T, TOut> : IParallelBody where T : unmanaged where TOut : unmanaged
    {
        public float* X;
        public nint XStride;
        public T* Weight, Bias;
        public TOut* Y;
        public int Rows, Inputs, Width, Outputs, PieceRows;

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
            var weight = (float*)(Weight + (long)output * Inputs);
            if (typeof(T) != typeof(float) || Width != Inputs || count < Tile)
            {
                for (var o = 0; o < Tile; o++)
                    if (o < count)
                        Widen(Weight + (long)(output + o) * Inputs, Inputs, panel + (long)o * Width);
                    else
                        new Span<float>(panel + (long)o * Width, Width).Clear();
                weight = panel;
            }
            var sums = stackalloc Vector128<float>[Tile];
            if (from == 0)
                Fetch((byte*)(Weight + (long)output * Inputs), (long)Tile * Inputs * sizeof(T));
            var row = from;
            for (; row + Tile <= to; row += Tile)
            {
                Four(X + row * XStride, XStride, weight, Width, sums);
                for (var r = 0; r < Tile; r++)
                    Store(row + r, output, count, sums[r]);
            }
            for (; row < to; row++)
                Store(row, output, count, One(X + row * XStride, weight, Width));
        }

        /// <summary>Asks for further rows of W while these are worked on; beyond the last row it does nothing.</summary>
        private static void Fetch(byte* address, long bytes)
        {
            address += Math.Max(bytes, Ahead / bytes * bytes);
            if (Sse.IsSupported)
                for (var i = 0L; i < bytes; i += 64)
                    Sse.Prefetch1(address + i);
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

    /// <summary>sums[r][o] = x row r · W row o.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Four(float* x0, nint xStride, float* w, int width, Vector128<float>* sums)
    {
        float* x1 = x0 + xStride, x2 = x1 + xStride, x3 = x2 + xStride;
        float* w1 = w + width, w2 = w1 + width, w3 = w2 + width;
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
        Vector512<float> c0 = default, c1 = default, c2 = default, c3 = default, d0 = default, d1 = default, d2 = default, d3 = default;
        for (nint i = 0; i < width; i += Lanes.Width)
        {
            Vector512<float> p = Vector512.Load(w + i), q = Vector512.Load(w1 + i), r = Vector512.Load(w2 + i), s = Vector512.Load(w3 + i);
            var x = Vector512.Load(x0 + i);
            a0 = Vector512.FusedMultiplyAdd(x, p, a0);
            a1 = Vector512.FusedMultiplyAdd(x, q, a1);
            a2 = Vector512.FusedMultiplyAdd(x, r, a2);
            a3 = Vector512.FusedMultiplyAdd(x, s, a3);
            x = Vector512.Load(x1 + i);
            b0 = Vector512.FusedMultiplyAdd(x, p, b0);
            b1 = Vector512.FusedMultiplyAdd(x, q, b1);
            b2 = Vector512.FusedMultiplyAdd(x, r, b2);
            b3 = Vector512.FusedMultiplyAdd(x, s, b3);
            x = Vector512.Load(x2 + i);
            c0 = Vector512.FusedMultiplyAdd(x, p, c0);
            c1 = Vector512.FusedMultiplyAdd(x, q, c1);
            c2 = Vector512.FusedMultiplyAdd(x, r, c2);
            c3 = Vector512.FusedMultiplyAdd(x, s, c3);
            x = Vector512.Load(x3 + i);
            d0 = Vector512.FusedMultiplyAdd(x, p, d0);
            d1 = Vector512.FusedMultiplyAdd(x, q, d1);
            d2 = Vector512.FusedMultiplyAdd(x, r, d2);
            d3 = Vector512.FusedMultiplyAdd(x, s, d3);
        }
        if (!Avx512F.IsSupported)
        {
            sums[0] = Lanes.Quarters(Lanes.InQuarters(a0, a1, a2, a3));
            sums[1] = Lanes.Quarters(Lanes.InQuarters(b0, b1, b2, b3));
            sums[2] = Lanes.Quarters(Lanes.InQuarters(c0, c1, c2, c3));
            sums[3] = Lanes.Quarters(Lanes.InQuarters(d0, d1, d2, d3));
            return;
        }
        // Four rows at a time: quarters 0 and 1, then 2 and 3, as Quarters adds them.
        Vector512<float> e = Lanes.InQuarters(a0, a1, a2, a3), f = Lanes.InQuarters(b0, b1, b2, b3), g = Lanes.InQuarters(c0, c1, c2, c3), h = Lanes.InQuarters(d0, d1, d2, d3);
        var ef = Avx512F.Shuffle4x128(e, f, 0x88) + Avx512F.Shuffle4x128(e, f, 0xDD);
        var gh = Avx512F.Shuffle4x128(g, h, 0x88) + Avx512F.Shuffle4x128(g, h, 0xDD);
        (Avx512F.Shuffle4x128(ef, gh, 0x88) + Avx512F.Shuffle4x128(ef, gh, 0xDD)).Store((float*)sums);
    }

    /// <summary>One row of x with four of W, each sum in the same order as in <see cref="Four"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static Vector128<float> One(float* x0, float* w, int width)
    {
        float* w1 = w + width, w2 = w1 + width, w3 = w2 + width;
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
        for (nint i = 0; i < width; i += Lanes.Width)
        {
            var x = Vector512.Load(x0 + i);
            a0 = Vector512.FusedMultiplyAdd(x, Vector512.Load(w + i), a0);
            a1 = Vector512.FusedMultiplyAdd(x, Vector512.Load(w1 + i), a1);
            a2 = Vector512.FusedMultiplyAdd(x, Vector512.Load(w2 + i), a2);
            a3 = Vector512.FusedMultiplyAdd(x, Vector512.Load(w3 + i), a3);
        }
        return Lanes.Quarters(Lanes.InQuarters(a0, a1, a2, a3));
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
