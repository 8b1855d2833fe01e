using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>Products of a few rows of x with four rows of W, in registers; each sum is taken in one order, however many rows come
/// together.</summary>
/// <remarks>32 registers of 512 bits hold the sums of four rows, 16 of 256 bits those of three, beside the operands.</remarks>
internal static unsafe class RowLinearTiles
{
    /// <summary>Rows of W in one tile.</summary>
    public const int Outputs = 4;

    /// <summary>Most rows of x in one tile.</summary>
    public const int Rows = 4;

    /// <summary>sums[r][o] = x row r · W row o for the next rows, as many as suit the registers.</summary>
    /// <param name="x">[rows, width], rows <paramref name="xStride"/> elements apart.</param>
    /// <param name="w">[4, width], without gaps.</param>
    /// <param name="width">A multiple of sixteen.</param>
    /// <param name="sums">[<see cref="Rows"/>].</param>
    /// <returns>How many rows were taken, at least one.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Sums(float* x, nint xStride, int rows, float* w, int width, Vector128<float>* sums)
    {
        if (Avx.IsSupported && Fma.IsSupported && !Avx512F.IsSupported)
        {
            if (rows >= 3 && rows != 4)         // four are two pairs: a lone row would leave half of the adders waiting
            {
                Three(x, xStride, w, width, sums);
                return 3;
            }
            if (rows >= 2)
            {
                Two(x, xStride, w, width, sums);
                return 2;
            }
            sums[0] = One256(x, w, width);
            return 1;
        }
        if (rows >= Rows)
        {
            Four(x, xStride, w, width, sums);
            return Rows;
        }
        sums[0] = One(x, w, width);
        return 1;
    }

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
        Vector512<float> e = Lanes.InQuarters(a0, a1, a2, a3), f = Lanes.InQuarters(b0, b1, b2, b3), g = Lanes.InQuarters(c0, c1, c2, c3),
            h = Lanes.InQuarters(d0, d1, d2, d3);
        var ef = Avx512F.Shuffle4x128(e, f, 0x88) + Avx512F.Shuffle4x128(e, f, 0xDD);
        var gh = Avx512F.Shuffle4x128(g, h, 0x88) + Avx512F.Shuffle4x128(g, h, 0xDD);
        (Avx512F.Shuffle4x128(ef, gh, 0x88) + Avx512F.Shuffle4x128(ef, gh, 0xDD)).Store((float*)sums);
    }

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

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Three(float* x0, nint xStride, float* w, int width, Vector128<float>* sums)
    {
        float* x1 = x0 + xStride, x2 = x1 + xStride;
        float* w1 = w + width, w2 = w1 + width, w3 = w2 + width;
        Vector256<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
        Vector256<float> c0 = default, c1 = default, c2 = default, c3 = default;
        for (nint i = 0; i < width; i += Vector256<float>.Count)
        {
            Vector256<float> p = Vector256.Load(x0 + i), q = Vector256.Load(x1 + i), r = Vector256.Load(x2 + i);
            var s = Vector256.Load(w + i);
            a0 = Fma.MultiplyAdd(p, s, a0);
            b0 = Fma.MultiplyAdd(q, s, b0);
            c0 = Fma.MultiplyAdd(r, s, c0);
            s = Vector256.Load(w1 + i);
            a1 = Fma.MultiplyAdd(p, s, a1);
            b1 = Fma.MultiplyAdd(q, s, b1);
            c1 = Fma.MultiplyAdd(r, s, c1);
            s = Vector256.Load(w2 + i);
            a2 = Fma.MultiplyAdd(p, s, a2);
            b2 = Fma.MultiplyAdd(q, s, b2);
            c2 = Fma.MultiplyAdd(r, s, c2);
            s = Vector256.Load(w3 + i);
            a3 = Fma.MultiplyAdd(p, s, a3);
            b3 = Fma.MultiplyAdd(q, s, b3);
            c3 = Fma.MultiplyAdd(r, s, c3);
        }
        sums[0] = Sum(a0, a1, a2, a3);
        sums[1] = Sum(b0, b1, b2, b3);
        sums[2] = Sum(c0, c1, c2, c3);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Two(float* x0, nint xStride, float* w, int width, Vector128<float>* sums)
    {
        var x1 = x0 + xStride;
        float* w1 = w + width, w2 = w1 + width, w3 = w2 + width;
        Vector256<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
        for (nint i = 0; i < width; i += Vector256<float>.Count)
        {
            Vector256<float> p = Vector256.Load(x0 + i), q = Vector256.Load(x1 + i);
            var s = Vector256.Load(w + i);
            a0 = Fma.MultiplyAdd(p, s, a0);
            b0 = Fma.MultiplyAdd(q, s, b0);
            s = Vector256.Load(w1 + i);
            a1 = Fma.MultiplyAdd(p, s, a1);
            b1 = Fma.MultiplyAdd(q, s, b1);
            s = Vector256.Load(w2 + i);
            a2 = Fma.MultiplyAdd(p, s, a2);
            b2 = Fma.MultiplyAdd(q, s, b2);
            s = Vector256.Load(w3 + i);
            a3 = Fma.MultiplyAdd(p, s, a3);
            b3 = Fma.MultiplyAdd(q, s, b3);
        }
        sums[0] = Sum(a0, a1, a2, a3);
        sums[1] = Sum(b0, b1, b2, b3);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static Vector128<float> One256(float* x0, float* w, int width)
    {
        float* w1 = w + width, w2 = w1 + width, w3 = w2 + width;
        Vector256<float> a0 = default, a1 = default, a2 = default, a3 = default;
        for (nint i = 0; i < width; i += Vector256<float>.Count)
        {
            var x = Vector256.Load(x0 + i);
            a0 = Fma.MultiplyAdd(x, Vector256.Load(w + i), a0);
            a1 = Fma.MultiplyAdd(x, Vector256.Load(w1 + i), a1);
            a2 = Fma.MultiplyAdd(x, Vector256.Load(w2 + i), a2);
            a3 = Fma.MultiplyAdd(x, Vector256.Load(w3 + i), a3);
        }
        return Sum(a0, a1, a2, a3);
    }

    /// <summary>The sums of four registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Sum(Vector256<float> a, Vector256<float> b, Vector256<float> c, Vector256<float> d)
    {
        var halves = Lanes.InQuarters(a, b, c, d);
        return halves.GetLower() + halves.GetUpper();
    }
}
