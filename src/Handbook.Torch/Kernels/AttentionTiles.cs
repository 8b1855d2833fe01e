using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>Small float32 matrix products in registers: tiles of 8 rows and up to 48 columns.</summary>
/// <remarks>
/// <code>C[i][j] (+)= Σ_t A[i·aRow + t·aStep] · B[t·bStep + j]      i = 0…7, j = 0…16·vectors−1, t = 0…depth−1</code>
/// A is read element by element and may lie either way round; B and C are rows of whole vectors. The order of the sum is that of t,
/// whatever the shape.
/// </remarks>
internal static unsafe class AttentionTiles
{
    /// <summary>Rows of C that one call makes.</summary>
    public const int Rows = 8;

    /// <summary>8 rows by any number of 16-lane vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Product(float* a, nint aRow, nint aStep, float* b, nint bStep, float* c, nint cRow, int vectors, int depth, bool add)
    {
        if (!Vector512.IsHardwareAccelerated)
        {
            for (var row = 0; row < Rows; row += 4)
                for (var column = 0; column < vectors * 16; column += 2 * Vector<float>.Count)
                    Narrow(a + row * aRow, aRow, aStep, b + column, bStep, c + row * cRow + column, cRow, depth, add);
            return;
        }
        while (vectors > 0)
        {
            // 5 = 3 + 2, 4 = 2 + 2: a lone vector would leave half of the adders waiting.
            var wide = vectors is 3 || vectors >= 5 ? 3 : Math.Min(vectors, 2);
            if (wide == 3)
                Wide3(a, aRow, aStep, b, bStep, c, cRow, depth, add);
            else if (wide == 2)
                Wide2(a, aRow, aStep, b, bStep, c, cRow, depth, add);
            else
                Wide1(a, aRow, aStep, b, bStep, c, cRow, depth, add);
            b += 16 * wide;
            c += 16 * wide;
            vectors -= wide;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Wide3(float* a, nint aRow, nint aStep, float* b, nint bStep, float* c, nint cRow, int depth, bool add)
    {
        Vector512<float> c00, c01, c02, c10, c11, c12, c20, c21, c22, c30, c31, c32, c40, c41, c42, c50, c51, c52, c60, c61, c62, c70, c71,
            c72;
        if (add)
        {
            c00 = Vector512.Load(c + 0 * cRow); c01 = Vector512.Load(c + 0 * cRow + 16); c02 = Vector512.Load(c + 0 * cRow + 32);
            c10 = Vector512.Load(c + 1 * cRow); c11 = Vector512.Load(c + 1 * cRow + 16); c12 = Vector512.Load(c + 1 * cRow + 32);
            c20 = Vector512.Load(c + 2 * cRow); c21 = Vector512.Load(c + 2 * cRow + 16); c22 = Vector512.Load(c + 2 * cRow + 32);
            c30 = Vector512.Load(c + 3 * cRow); c31 = Vector512.Load(c + 3 * cRow + 16); c32 = Vector512.Load(c + 3 * cRow + 32);
            c40 = Vector512.Load(c + 4 * cRow); c41 = Vector512.Load(c + 4 * cRow + 16); c42 = Vector512.Load(c + 4 * cRow + 32);
            c50 = Vector512.Load(c + 5 * cRow); c51 = Vector512.Load(c + 5 * cRow + 16); c52 = Vector512.Load(c + 5 * cRow + 32);
            c60 = Vector512.Load(c + 6 * cRow); c61 = Vector512.Load(c + 6 * cRow + 16); c62 = Vector512.Load(c + 6 * cRow + 32);
            c70 = Vector512.Load(c + 7 * cRow); c71 = Vector512.Load(c + 7 * cRow + 16); c72 = Vector512.Load(c + 7 * cRow + 32);
        }
        else
        {
            c00 = c01 = c02 = Vector512<float>.Zero;
            c10 = c11 = c12 = Vector512<float>.Zero;
            c20 = c21 = c22 = Vector512<float>.Zero;
            c30 = c31 = c32 = Vector512<float>.Zero;
            c40 = c41 = c42 = Vector512<float>.Zero;
            c50 = c51 = c52 = Vector512<float>.Zero;
            c60 = c61 = c62 = Vector512<float>.Zero;
            c70 = c71 = c72 = Vector512<float>.Zero;
        }
        nint row2 = 2 * aRow, row3 = 3 * aRow;
        var lower = a + 4 * aRow;
        for (; depth > 0; depth--)
        {
            var b0 = Vector512.Load(b); var b1 = Vector512.Load(b + 16); var b2 = Vector512.Load(b + 32);
            var x = Vector512.Create(*a);
            c00 = Vector512.FusedMultiplyAdd(x, b0, c00); c01 = Vector512.FusedMultiplyAdd(x, b1, c01);
            c02 = Vector512.FusedMultiplyAdd(x, b2, c02);
            x = Vector512.Create(a[aRow]);
            c10 = Vector512.FusedMultiplyAdd(x, b0, c10); c11 = Vector512.FusedMultiplyAdd(x, b1, c11);
            c12 = Vector512.FusedMultiplyAdd(x, b2, c12);
            x = Vector512.Create(a[row2]);
            c20 = Vector512.FusedMultiplyAdd(x, b0, c20); c21 = Vector512.FusedMultiplyAdd(x, b1, c21);
            c22 = Vector512.FusedMultiplyAdd(x, b2, c22);
            x = Vector512.Create(a[row3]);
            c30 = Vector512.FusedMultiplyAdd(x, b0, c30); c31 = Vector512.FusedMultiplyAdd(x, b1, c31);
            c32 = Vector512.FusedMultiplyAdd(x, b2, c32);
            x = Vector512.Create(*lower);
            c40 = Vector512.FusedMultiplyAdd(x, b0, c40); c41 = Vector512.FusedMultiplyAdd(x, b1, c41);
            c42 = Vector512.FusedMultiplyAdd(x, b2, c42);
            x = Vector512.Create(lower[aRow]);
            c50 = Vector512.FusedMultiplyAdd(x, b0, c50); c51 = Vector512.FusedMultiplyAdd(x, b1, c51);
            c52 = Vector512.FusedMultiplyAdd(x, b2, c52);
            x = Vector512.Create(lower[row2]);
            c60 = Vector512.FusedMultiplyAdd(x, b0, c60); c61 = Vector512.FusedMultiplyAdd(x, b1, c61);
            c62 = Vector512.FusedMultiplyAdd(x, b2, c62);
            x = Vector512.Create(lower[row3]);
            c70 = Vector512.FusedMultiplyAdd(x, b0, c70); c71 = Vector512.FusedMultiplyAdd(x, b1, c71);
            c72 = Vector512.FusedMultiplyAdd(x, b2, c72);
            a += aStep;
            lower += aStep;
            b += bStep;
        }
        c00.Store(c + 0 * cRow); c01.Store(c + 0 * cRow + 16); c02.Store(c + 0 * cRow + 32);
        c10.Store(c + 1 * cRow); c11.Store(c + 1 * cRow + 16); c12.Store(c + 1 * cRow + 32);
        c20.Store(c + 2 * cRow); c21.Store(c + 2 * cRow + 16); c22.Store(c + 2 * cRow + 32);
        c30.Store(c + 3 * cRow); c31.Store(c + 3 * cRow + 16); c32.Store(c + 3 * cRow + 32);
        c40.Store(c + 4 * cRow); c41.Store(c + 4 * cRow + 16); c42.Store(c + 4 * cRow + 32);
        c50.Store(c + 5 * cRow); c51.Store(c + 5 * cRow + 16); c52.Store(c + 5 * cRow + 32);
        c60.Store(c + 6 * cRow); c61.Store(c + 6 * cRow + 16); c62.Store(c + 6 * cRow + 32);
        c70.Store(c + 7 * cRow); c71.Store(c + 7 * cRow + 16); c72.Store(c + 7 * cRow + 32);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Wide2(float* a, nint aRow, nint aStep, float* b, nint bStep, float* c, nint cRow, int depth, bool add)
    {
        Vector512<float> c00, c01, c10, c11, c20, c21, c30, c31, c40, c41, c50, c51, c60, c61, c70, c71;
        if (add)
        {
            c00 = Vector512.Load(c + 0 * cRow); c01 = Vector512.Load(c + 0 * cRow + 16);
            c10 = Vector512.Load(c + 1 * cRow); c11 = Vector512.Load(c + 1 * cRow + 16);
            c20 = Vector512.Load(c + 2 * cRow); c21 = Vector512.Load(c + 2 * cRow + 16);
            c30 = Vector512.Load(c + 3 * cRow); c31 = Vector512.Load(c + 3 * cRow + 16);
            c40 = Vector512.Load(c + 4 * cRow); c41 = Vector512.Load(c + 4 * cRow + 16);
            c50 = Vector512.Load(c + 5 * cRow); c51 = Vector512.Load(c + 5 * cRow + 16);
            c60 = Vector512.Load(c + 6 * cRow); c61 = Vector512.Load(c + 6 * cRow + 16);
            c70 = Vector512.Load(c + 7 * cRow); c71 = Vector512.Load(c + 7 * cRow + 16);
        }
        else
        {
            c00 = c01 = Vector512<float>.Zero;
            c10 = c11 = Vector512<float>.Zero;
            c20 = c21 = Vector512<float>.Zero;
            c30 = c31 = Vector512<float>.Zero;
            c40 = c41 = Vector512<float>.Zero;
            c50 = c51 = Vector512<float>.Zero;
            c60 = c61 = Vector512<float>.Zero;
            c70 = c71 = Vector512<float>.Zero;
        }
        nint row2 = 2 * aRow, row3 = 3 * aRow;
        var lower = a + 4 * aRow;
        for (; depth > 0; depth--)
        {
            var b0 = Vector512.Load(b); var b1 = Vector512.Load(b + 16);
            var x = Vector512.Create(*a);
            c00 = Vector512.FusedMultiplyAdd(x, b0, c00); c01 = Vector512.FusedMultiplyAdd(x, b1, c01);
            x = Vector512.Create(a[aRow]);
            c10 = Vector512.FusedMultiplyAdd(x, b0, c10); c11 = Vector512.FusedMultiplyAdd(x, b1, c11);
            x = Vector512.Create(a[row2]);
            c20 = Vector512.FusedMultiplyAdd(x, b0, c20); c21 = Vector512.FusedMultiplyAdd(x, b1, c21);
            x = Vector512.Create(a[row3]);
            c30 = Vector512.FusedMultiplyAdd(x, b0, c30); c31 = Vector512.FusedMultiplyAdd(x, b1, c31);
            x = Vector512.Create(*lower);
            c40 = Vector512.FusedMultiplyAdd(x, b0, c40); c41 = Vector512.FusedMultiplyAdd(x, b1, c41);
            x = Vector512.Create(lower[aRow]);
            c50 = Vector512.FusedMultiplyAdd(x, b0, c50); c51 = Vector512.FusedMultiplyAdd(x, b1, c51);
            x = Vector512.Create(lower[row2]);
            c60 = Vector512.FusedMultiplyAdd(x, b0, c60); c61 = Vector512.FusedMultiplyAdd(x, b1, c61);
            x = Vector512.Create(lower[row3]);
            c70 = Vector512.FusedMultiplyAdd(x, b0, c70); c71 = Vector512.FusedMultiplyAdd(x, b1, c71);
            a += aStep;
            lower += aStep;
            b += bStep;
        }
        c00.Store(c + 0 * cRow); c01.Store(c + 0 * cRow + 16);
        c10.Store(c + 1 * cRow); c11.Store(c + 1 * cRow + 16);
        c20.Store(c + 2 * cRow); c21.Store(c + 2 * cRow + 16);
        c30.Store(c + 3 * cRow); c31.Store(c + 3 * cRow + 16);
        c40.Store(c + 4 * cRow); c41.Store(c + 4 * cRow + 16);
        c50.Store(c + 5 * cRow); c51.Store(c + 5 * cRow + 16);
        c60.Store(c + 6 * cRow); c61.Store(c + 6 * cRow + 16);
        c70.Store(c + 7 * cRow); c71.Store(c + 7 * cRow + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Wide1(float* a, nint aRow, nint aStep, float* b, nint bStep, float* c, nint cRow, int depth, bool add)
    {
        Vector512<float> c00, c10, c20, c30, c40, c50, c60, c70;
        if (add)
        {
            c00 = Vector512.Load(c + 0 * cRow);
            c10 = Vector512.Load(c + 1 * cRow);
            c20 = Vector512.Load(c + 2 * cRow);
            c30 = Vector512.Load(c + 3 * cRow);
            c40 = Vector512.Load(c + 4 * cRow);
            c50 = Vector512.Load(c + 5 * cRow);
            c60 = Vector512.Load(c + 6 * cRow);
            c70 = Vector512.Load(c + 7 * cRow);
        }
        else
        {
            c00 = Vector512<float>.Zero;
            c10 = Vector512<float>.Zero;
            c20 = Vector512<float>.Zero;
            c30 = Vector512<float>.Zero;
            c40 = Vector512<float>.Zero;
            c50 = Vector512<float>.Zero;
            c60 = Vector512<float>.Zero;
            c70 = Vector512<float>.Zero;
        }
        nint row2 = 2 * aRow, row3 = 3 * aRow;
        var lower = a + 4 * aRow;
        for (; depth > 0; depth--)
        {
            var b0 = Vector512.Load(b);
            var x = Vector512.Create(*a);
            c00 = Vector512.FusedMultiplyAdd(x, b0, c00);
            x = Vector512.Create(a[aRow]);
            c10 = Vector512.FusedMultiplyAdd(x, b0, c10);
            x = Vector512.Create(a[row2]);
            c20 = Vector512.FusedMultiplyAdd(x, b0, c20);
            x = Vector512.Create(a[row3]);
            c30 = Vector512.FusedMultiplyAdd(x, b0, c30);
            x = Vector512.Create(*lower);
            c40 = Vector512.FusedMultiplyAdd(x, b0, c40);
            x = Vector512.Create(lower[aRow]);
            c50 = Vector512.FusedMultiplyAdd(x, b0, c50);
            x = Vector512.Create(lower[row2]);
            c60 = Vector512.FusedMultiplyAdd(x, b0, c60);
            x = Vector512.Create(lower[row3]);
            c70 = Vector512.FusedMultiplyAdd(x, b0, c70);
            a += aStep;
            lower += aStep;
            b += bStep;
        }
        c00.Store(c + 0 * cRow);
        c10.Store(c + 1 * cRow);
        c20.Store(c + 2 * cRow);
        c30.Store(c + 3 * cRow);
        c40.Store(c + 4 * cRow);
        c50.Store(c + 5 * cRow);
        c60.Store(c + 6 * cRow);
        c70.Store(c + 7 * cRow);
    }

    /// <summary>4 rows by two registers of whatever width the processor has; 16 registers are enough for it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Narrow(float* a, nint aRow, nint aStep, float* b, nint bStep, float* c, nint cRow, int depth, bool add)
    {
        var width = Vector<float>.Count;
        Vector<float> c00, c01, c10, c11, c20, c21, c30, c31;
        if (add)
        {
            c00 = Vector.Load(c + 0 * cRow); c01 = Vector.Load(c + 0 * cRow + width);
            c10 = Vector.Load(c + 1 * cRow); c11 = Vector.Load(c + 1 * cRow + width);
            c20 = Vector.Load(c + 2 * cRow); c21 = Vector.Load(c + 2 * cRow + width);
            c30 = Vector.Load(c + 3 * cRow); c31 = Vector.Load(c + 3 * cRow + width);
        }
        else
        {
            c00 = c01 = Vector<float>.Zero;
            c10 = c11 = Vector<float>.Zero;
            c20 = c21 = Vector<float>.Zero;
            c30 = c31 = Vector<float>.Zero;
        }
        nint row2 = 2 * aRow, row3 = 3 * aRow;
        for (; depth > 0; depth--)
        {
            var b0 = Vector.Load(b); var b1 = Vector.Load(b + width);
            var x = Vector.Create(*a);
            c00 = Vector.FusedMultiplyAdd(x, b0, c00); c01 = Vector.FusedMultiplyAdd(x, b1, c01);
            x = Vector.Create(a[aRow]);
            c10 = Vector.FusedMultiplyAdd(x, b0, c10); c11 = Vector.FusedMultiplyAdd(x, b1, c11);
            x = Vector.Create(a[row2]);
            c20 = Vector.FusedMultiplyAdd(x, b0, c20); c21 = Vector.FusedMultiplyAdd(x, b1, c21);
            x = Vector.Create(a[row3]);
            c30 = Vector.FusedMultiplyAdd(x, b0, c30); c31 = Vector.FusedMultiplyAdd(x, b1, c31);
            a += aStep;
            b += bStep;
        }
        c00.Store(c + 0 * cRow); c01.Store(c + 0 * cRow + width);
        c10.Store(c + 1 * cRow); c11.Store(c + 1 * cRow + width);
        c20.Store(c + 2 * cRow); c21.Store(c + 2 * cRow + width);
        c30.Store(c + 3 * cRow); c31.Store(c + 3 * cRow + width);
    }
}
