using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>A tile of a product in registers: each sum is taken in the order of its terms, whatever the tile.</summary>
/// <remarks>32 registers of 512 bits hold the sums of eight rows of 48, 16 of 256 bits those of six rows of 16, beside the operands.</remarks>
internal static unsafe class ProductTiles
{
    /// <summary>Columns that a tile is a multiple of.</summary>
    public const int Unit = 16;

    /// <summary>Rows of a tile.</summary>
    public static int Rows => Avx512F.IsSupported ? 8 : 6;

    /// <summary>Most columns of a tile.</summary>
    public static int Columns => Avx512F.IsSupported ? 3 * Unit : Unit;

    /// <summary>Columns of the tile that takes so many, or the most that one takes.</summary>
    public static int Width(int columns) => Math.Min(Columns, (columns + Unit - 1) / Unit * Unit);

    /// <summary>Elements that hold any tile.</summary>
    public const int Elements = 8 * 3 * Unit;

    /// <summary>result[i, j] (+)= Σ p[i, t] · q[t, j].</summary>
    /// <param name="p">Element [i, t] at i · <paramref name="pRow"/> + t · <paramref name="pTerm"/>.</param>
    /// <param name="rows">Rows that there are; others repeat the last one.</param>
    /// <param name="q">[terms, columns], rows <paramref name="qStride"/> elements apart.</param>
    /// <param name="columns">A multiple of <see cref="Unit"/>, at most <see cref="Columns"/>.</param>
    /// <param name="result">[<see cref="Rows"/>, columns], rows <paramref name="stride"/> elements apart.</param>
    /// <param name="add">Whether the sums are added to what stands there.</param>
    /// <param name="tiles">Tiles beside one another, of the same rows of p.</param>
    /// <param name="qTile">Elements from one tile's columns of q to the next one's.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Sum(float* p, nint pRow, nint pTerm, int rows, float* q, nint qStride, int columns, int terms, float* result,
        nint stride, bool add, int tiles, nint qTile)
    {
        if (!Avx512F.IsSupported && rows <= 4)
            Four(p, pRow, pTerm, rows - 1, q, qStride, terms, result, stride, add, tiles, qTile);
        else if (!Avx512F.IsSupported)
            Six(p, pRow, pTerm, rows - 1, q, qStride, terms, result, stride, add, tiles, qTile);
        else if (columns == 3 * Unit)
            EightOfThree(p, pRow, pTerm, rows - 1, q, qStride, terms, result, stride, add, tiles, qTile);
        else if (columns == 2 * Unit)
            EightOfTwo(p, pRow, pTerm, rows - 1, q, qStride, terms, result, stride, add, tiles, qTile);
        else
            EightOfOne(p, pRow, pTerm, rows - 1, q, qStride, terms, result, stride, add, tiles, qTile);
    }

    /// <summary>The same for one tile, or for what there is of it.</summary>
    /// <param name="rows">At most <see cref="Rows"/>.</param>
    /// <param name="q">Zeros, or anything else, stand behind the last column.</param>
    /// <param name="columns">At most <see cref="Columns"/>.</param>
    /// <param name="rest">Room for <see cref="Elements"/>.</param>
    public static void SumSome(float* p, nint pRow, nint pTerm, int rows, float* q, nint qStride, int columns, int terms, float* result,
        nint stride, bool add, float* rest)
    {
        var whole = Width(columns);
        if (rows == Rows && columns == whole)
        {
            Sum(p, pRow, pTerm, rows, q, qStride, whole, terms, result, stride, add, 1, 0);
            return;
        }
        Sum(p, pRow, pTerm, rows, q, qStride, whole, terms, rest, whole, add: false, 1, 0);
        for (var i = 0; i < rows; i++)
            for (var j = 0; j < columns; j++)
                result[i * stride + j] = rest[i * whole + j] + (add ? result[i * stride + j] : 0);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void EightOfThree(float* p0, nint pRow, nint pTerm, int last, float* q, nint qStride, int terms, float* result,
        nint stride, bool add, int tiles, nint qTile)
    {
        float* p1 = p0 + Math.Min(1, last) * pRow, p2 = p0 + Math.Min(2, last) * pRow, p3 = p0 + Math.Min(3, last) * pRow;
        float* p4 = p0 + Math.Min(4, last) * pRow, p5 = p0 + Math.Min(5, last) * pRow, p6 = p0 + Math.Min(6, last) * pRow;
        var p7 = p0 + Math.Min(7, last) * pRow;
        for (var tile = 0; tile < tiles; tile++, q += qTile, result += 3 * Unit)
        {
            Vector512<float> a0 = default, a1 = default, a2 = default, b0 = default, b1 = default, b2 = default;
            Vector512<float> c0 = default, c1 = default, c2 = default, d0 = default, d1 = default, d2 = default;
            Vector512<float> e0 = default, e1 = default, e2 = default, f0 = default, f1 = default, f2 = default;
            Vector512<float> g0 = default, g1 = default, g2 = default, h0 = default, h1 = default, h2 = default;
            Fetch(result, stride, 8, 3 * Unit);
            var some = q;
            nint at = 0;
            for (var t = 0; t < terms; t++, at += pTerm, some += qStride)
            {
                Vector512<float> x = Vector512.Load(some), y = Vector512.Load(some + 16), z = Vector512.Load(some + 32);
                var value = Vector512.Create(p0[at]);
                a0 = Vector512.FusedMultiplyAdd(value, x, a0);
                a1 = Vector512.FusedMultiplyAdd(value, y, a1);
                a2 = Vector512.FusedMultiplyAdd(value, z, a2);
                value = Vector512.Create(p1[at]);
                b0 = Vector512.FusedMultiplyAdd(value, x, b0);
                b1 = Vector512.FusedMultiplyAdd(value, y, b1);
                b2 = Vector512.FusedMultiplyAdd(value, z, b2);
                value = Vector512.Create(p2[at]);
                c0 = Vector512.FusedMultiplyAdd(value, x, c0);
                c1 = Vector512.FusedMultiplyAdd(value, y, c1);
                c2 = Vector512.FusedMultiplyAdd(value, z, c2);
                value = Vector512.Create(p3[at]);
                d0 = Vector512.FusedMultiplyAdd(value, x, d0);
                d1 = Vector512.FusedMultiplyAdd(value, y, d1);
                d2 = Vector512.FusedMultiplyAdd(value, z, d2);
                value = Vector512.Create(p4[at]);
                e0 = Vector512.FusedMultiplyAdd(value, x, e0);
                e1 = Vector512.FusedMultiplyAdd(value, y, e1);
                e2 = Vector512.FusedMultiplyAdd(value, z, e2);
                value = Vector512.Create(p5[at]);
                f0 = Vector512.FusedMultiplyAdd(value, x, f0);
                f1 = Vector512.FusedMultiplyAdd(value, y, f1);
                f2 = Vector512.FusedMultiplyAdd(value, z, f2);
                value = Vector512.Create(p6[at]);
                g0 = Vector512.FusedMultiplyAdd(value, x, g0);
                g1 = Vector512.FusedMultiplyAdd(value, y, g1);
                g2 = Vector512.FusedMultiplyAdd(value, z, g2);
                value = Vector512.Create(p7[at]);
                h0 = Vector512.FusedMultiplyAdd(value, x, h0);
                h1 = Vector512.FusedMultiplyAdd(value, y, h1);
                h2 = Vector512.FusedMultiplyAdd(value, z, h2);
            }
            var target = result;
            Store(a0, a1, a2, target, add);
            Store(b0, b1, b2, target += stride, add);
            Store(c0, c1, c2, target += stride, add);
            Store(d0, d1, d2, target += stride, add);
            Store(e0, e1, e2, target += stride, add);
            Store(f0, f1, f2, target += stride, add);
            Store(g0, g1, g2, target += stride, add);
            Store(h0, h1, h2, target + stride, add);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void EightOfTwo(float* p0, nint pRow, nint pTerm, int last, float* q, nint qStride, int terms, float* result,
        nint stride, bool add, int tiles, nint qTile)
    {
        float* p1 = p0 + Math.Min(1, last) * pRow, p2 = p0 + Math.Min(2, last) * pRow, p3 = p0 + Math.Min(3, last) * pRow;
        float* p4 = p0 + Math.Min(4, last) * pRow, p5 = p0 + Math.Min(5, last) * pRow, p6 = p0 + Math.Min(6, last) * pRow;
        var p7 = p0 + Math.Min(7, last) * pRow;
        for (var tile = 0; tile < tiles; tile++, q += qTile, result += 2 * Unit)
        {
            Vector512<float> a0 = default, a1 = default, b0 = default, b1 = default, c0 = default, c1 = default, d0 = default, d1 = default;
            Vector512<float> e0 = default, e1 = default, f0 = default, f1 = default, g0 = default, g1 = default, h0 = default, h1 = default;
            var some = q;
            nint at = 0;
            for (var t = 0; t < terms; t++, at += pTerm, some += qStride)
            {
                Vector512<float> x = Vector512.Load(some), y = Vector512.Load(some + 16);
                var value = Vector512.Create(p0[at]);
                a0 = Vector512.FusedMultiplyAdd(value, x, a0);
                a1 = Vector512.FusedMultiplyAdd(value, y, a1);
                value = Vector512.Create(p1[at]);
                b0 = Vector512.FusedMultiplyAdd(value, x, b0);
                b1 = Vector512.FusedMultiplyAdd(value, y, b1);
                value = Vector512.Create(p2[at]);
                c0 = Vector512.FusedMultiplyAdd(value, x, c0);
                c1 = Vector512.FusedMultiplyAdd(value, y, c1);
                value = Vector512.Create(p3[at]);
                d0 = Vector512.FusedMultiplyAdd(value, x, d0);
                d1 = Vector512.FusedMultiplyAdd(value, y, d1);
                value = Vector512.Create(p4[at]);
                e0 = Vector512.FusedMultiplyAdd(value, x, e0);
                e1 = Vector512.FusedMultiplyAdd(value, y, e1);
                value = Vector512.Create(p5[at]);
                f0 = Vector512.FusedMultiplyAdd(value, x, f0);
                f1 = Vector512.FusedMultiplyAdd(value, y, f1);
                value = Vector512.Create(p6[at]);
                g0 = Vector512.FusedMultiplyAdd(value, x, g0);
                g1 = Vector512.FusedMultiplyAdd(value, y, g1);
                value = Vector512.Create(p7[at]);
                h0 = Vector512.FusedMultiplyAdd(value, x, h0);
                h1 = Vector512.FusedMultiplyAdd(value, y, h1);
            }
            var target = result;
            Store(a0, a1, target, add);
            Store(b0, b1, target += stride, add);
            Store(c0, c1, target += stride, add);
            Store(d0, d1, target += stride, add);
            Store(e0, e1, target += stride, add);
            Store(f0, f1, target += stride, add);
            Store(g0, g1, target += stride, add);
            Store(h0, h1, target + stride, add);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void EightOfOne(float* p0, nint pRow, nint pTerm, int last, float* q, nint qStride, int terms, float* result,
        nint stride, bool add, int tiles, nint qTile)
    {
        float* p1 = p0 + Math.Min(1, last) * pRow, p2 = p0 + Math.Min(2, last) * pRow, p3 = p0 + Math.Min(3, last) * pRow;
        float* p4 = p0 + Math.Min(4, last) * pRow, p5 = p0 + Math.Min(5, last) * pRow, p6 = p0 + Math.Min(6, last) * pRow;
        var p7 = p0 + Math.Min(7, last) * pRow;
        for (var tile = 0; tile < tiles; tile++, q += qTile, result += Unit)
        {
            Vector512<float> a = default, b = default, c = default, d = default, e = default, f = default, g = default, h = default;
            var some = q;
            nint at = 0;
            for (var t = 0; t < terms; t++, at += pTerm, some += qStride)
            {
                var x = Vector512.Load(some);
                a = Vector512.FusedMultiplyAdd(Vector512.Create(p0[at]), x, a);
                b = Vector512.FusedMultiplyAdd(Vector512.Create(p1[at]), x, b);
                c = Vector512.FusedMultiplyAdd(Vector512.Create(p2[at]), x, c);
                d = Vector512.FusedMultiplyAdd(Vector512.Create(p3[at]), x, d);
                e = Vector512.FusedMultiplyAdd(Vector512.Create(p4[at]), x, e);
                f = Vector512.FusedMultiplyAdd(Vector512.Create(p5[at]), x, f);
                g = Vector512.FusedMultiplyAdd(Vector512.Create(p6[at]), x, g);
                h = Vector512.FusedMultiplyAdd(Vector512.Create(p7[at]), x, h);
            }
            var target = result;
            Store(a, target, add);
            Store(b, target += stride, add);
            Store(c, target += stride, add);
            Store(d, target += stride, add);
            Store(e, target += stride, add);
            Store(f, target += stride, add);
            Store(g, target += stride, add);
            Store(h, target + stride, add);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Six(float* p0, nint pRow, nint pTerm, int last, float* q, nint qStride, int terms, float* result, nint stride,
        bool add, int tiles, nint qTile)
    {
        float* p1 = p0 + Math.Min(1, last) * pRow, p2 = p0 + Math.Min(2, last) * pRow, p3 = p0 + Math.Min(3, last) * pRow;
        float* p4 = p0 + Math.Min(4, last) * pRow, p5 = p0 + Math.Min(5, last) * pRow;
        for (var tile = 0; tile < tiles; tile++, q += qTile, result += Unit)
        {
            Vector256<float> a0 = default, a1 = default, b0 = default, b1 = default, c0 = default, c1 = default;
            Vector256<float> d0 = default, d1 = default, e0 = default, e1 = default, f0 = default, f1 = default;
            var some = q;
            nint at = 0;
            for (var t = 0; t < terms; t++, at += pTerm, some += qStride)
            {
                Vector256<float> x = Vector256.Load(some), y = Vector256.Load(some + 8);
                var value = Vector256.Create(p0[at]);
                a0 = Fma.MultiplyAdd(value, x, a0);
                a1 = Fma.MultiplyAdd(value, y, a1);
                value = Vector256.Create(p1[at]);
                b0 = Fma.MultiplyAdd(value, x, b0);
                b1 = Fma.MultiplyAdd(value, y, b1);
                value = Vector256.Create(p2[at]);
                c0 = Fma.MultiplyAdd(value, x, c0);
                c1 = Fma.MultiplyAdd(value, y, c1);
                value = Vector256.Create(p3[at]);
                d0 = Fma.MultiplyAdd(value, x, d0);
                d1 = Fma.MultiplyAdd(value, y, d1);
                value = Vector256.Create(p4[at]);
                e0 = Fma.MultiplyAdd(value, x, e0);
                e1 = Fma.MultiplyAdd(value, y, e1);
                value = Vector256.Create(p5[at]);
                f0 = Fma.MultiplyAdd(value, x, f0);
                f1 = Fma.MultiplyAdd(value, y, f1);
            }
            var target = result;
            Store(a0, a1, target, add);
            Store(b0, b1, target += stride, add);
            Store(c0, c1, target += stride, add);
            Store(d0, d1, target += stride, add);
            Store(e0, e1, target += stride, add);
            Store(f0, f1, target + stride, add);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Four(float* p0, nint pRow, nint pTerm, int last, float* q, nint qStride, int terms, float* result, nint stride,
        bool add, int tiles, nint qTile)
    {
        float* p1 = p0 + Math.Min(1, last) * pRow, p2 = p0 + Math.Min(2, last) * pRow, p3 = p0 + Math.Min(3, last) * pRow;
        for (var tile = 0; tile < tiles; tile++, q += qTile, result += Unit)
        {
            Vector256<float> a0 = default, a1 = default, b0 = default, b1 = default, c0 = default, c1 = default;
            Vector256<float> d0 = default, d1 = default;
            var some = q;
            nint at = 0;
            for (var t = 0; t < terms; t++, at += pTerm, some += qStride)
            {
                Vector256<float> x = Vector256.Load(some), y = Vector256.Load(some + 8);
                var value = Vector256.Create(p0[at]);
                a0 = Fma.MultiplyAdd(value, x, a0);
                a1 = Fma.MultiplyAdd(value, y, a1);
                value = Vector256.Create(p1[at]);
                b0 = Fma.MultiplyAdd(value, x, b0);
                b1 = Fma.MultiplyAdd(value, y, b1);
                value = Vector256.Create(p2[at]);
                c0 = Fma.MultiplyAdd(value, x, c0);
                c1 = Fma.MultiplyAdd(value, y, c1);
                value = Vector256.Create(p3[at]);
                d0 = Fma.MultiplyAdd(value, x, d0);
                d1 = Fma.MultiplyAdd(value, y, d1);
            }
            var target = result;
            Store(a0, a1, target, add);
            Store(b0, b1, target += stride, add);
            Store(c0, c1, target += stride, add);
            Store(d0, d1, target + stride, add);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<float> a, Vector512<float> b, Vector512<float> c, float* target, bool add)
    {
        Store(a, b, target, add);
        Store(c, target + 32, add);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<float> a, Vector512<float> b, float* target, bool add)
    {
        Store(a, target, add);
        Store(b, target + 16, add);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<float> a, float* target, bool add) => (add ? a + Vector512.Load(target) : a).Store(target);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector256<float> a, Vector256<float> b, float* target, bool add)
    {
        (add ? a + Vector256.Load(target) : a).Store(target);
        (add ? b + Vector256.Load(target + 8) : b).Store(target + 8);
    }

    /// <summary>Asks for what a tile's sums take the place of, which is read while they are taken.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Fetch(float* target, nint stride, int rows, int columns)
    {
        for (var i = 0; i < rows; i++, target += stride)
            for (var j = 0; j < columns; j += 16)
                Sse.Prefetch0(target + j);
    }
}
