using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>Copies of matrices in float32, in the order in which <see cref="ProductTiles"/> read them.</summary>
internal static unsafe class ProductPanels
{
    private const int Side = 8;

    /// <summary>Columns of a matrix, <paramref name="width"/> at a time: panels of [rows, width], one behind the other, with zeros behind
    /// the last column.</summary>
    /// <param name="row">Elements from one row to the next.</param>
    /// <param name="column">Elements from one column to the next.</param>
    public static void Copy<T>(T* source, nint row, nint column, int rows, int columns, int width, float* target) where T : unmanaged
    {
        var panel = (nint)width * rows;
        var whole = width % Side != 0 || (row != 1 && column != 1) ? 0 : columns / Side * Side;
        if (column == 1)
            Straight(source, row, rows, whole, width, target);
        else
            for (var j = 0; j < whole; j += Side)
                Turned(source + j * column, column, rows, target + j / width * panel + j % width, width);
        var last = (columns + width - 1) / width * width;
        for (var j = whole; j < last; j++)
            Column(source + j * column, j < columns, row, rows, target + j / width * panel + j % width, width);
    }

    /// <summary>Row by row, over all panels: so the source is read in its own order.</summary>
    private static void Straight<T>(T* source, nint row, int rows, int columns, int width, float* target) where T : unmanaged
    {
        for (var i = 0; i < rows; i++, source += row, target += width)
        {
            T* from = source, end = source + columns;
            for (var to = target; from < end; to += (nint)width * rows)
                if (width == Side)
                {
                    Eight(from).Store(to);
                    from += Side;
                }
                else
                    for (var k = 0; k < width && from < end; k += Side, from += Side)
                        Eight(from).Store(to + k);
        }
    }

    /// <summary>Eight columns, each without gaps.</summary>
    private static void Turned<T>(T* source, nint column, int rows, float* target, int stride) where T : unmanaged
    {
        var i = 0;
        for (; i + Side <= rows; i += Side)
            Turn(source + i, column, target + i * stride, stride);
        for (var j = 0; i < rows && j < Side; j++)
            Column(source + i + j * column, true, 1, rows - i, target + i * stride + j, stride);
    }

    /// <summary>One column, or zeros in its place.</summary>
    private static void Column<T>(T* source, bool exists, nint row, int rows, float* target, int stride) where T : unmanaged
    {
        for (var i = 0; i < rows; i++)
            target[(nint)i * stride] = exists ? One(source + i * row) : 0;
    }

    /// <summary>Eight columns of eight, turned.</summary>
    private static void Turn<T>(T* source, nint column, float* target, nint stride) where T : unmanaged
    {
        var other = source + 4 * column;
        Vector256<float> a = Eight(source), b = Eight(source + column), c = Eight(source + 2 * column), d = Eight(source + 3 * column);
        Vector256<float> e = Eight(other), f = Eight(other + column), g = Eight(other + 2 * column), h = Eight(other + 3 * column);
        Four(Avx.UnpackLow(a, b), Avx.UnpackLow(c, d), Avx.UnpackLow(e, f), Avx.UnpackLow(g, h), target, stride);
        Four(Avx.UnpackHigh(a, b), Avx.UnpackHigh(c, d), Avx.UnpackHigh(e, f), Avx.UnpackHigh(g, h), target + 2 * stride, stride);
    }

    /// <summary>Rows 0, 1, 4 and 5 of what is turned, of pairs of its columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Four(Vector256<float> ab, Vector256<float> cd, Vector256<float> ef, Vector256<float> gh, float* target, nint stride)
    {
        Vector256<float> p = Avx.Shuffle(ab, cd, 0b01_00_01_00), q = Avx.Shuffle(ab, cd, 0b11_10_11_10);
        Vector256<float> r = Avx.Shuffle(ef, gh, 0b01_00_01_00), s = Avx.Shuffle(ef, gh, 0b11_10_11_10);
        Avx.Permute2x128(p, r, 0x20).Store(target);
        Avx.Permute2x128(q, s, 0x20).Store(target + stride);
        Avx.Permute2x128(p, r, 0x31).Store(target + 4 * stride);
        Avx.Permute2x128(q, s, 0x31).Store(target + 5 * stride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Eight<T>(T* source) where T : unmanaged =>
        typeof(T) == typeof(BFloat16) ? Lanes.Half((ushort*)source) : Vector256.Load((float*)source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float One<T>(T* source) where T : unmanaged =>
        typeof(T) == typeof(BFloat16) ? ((BFloat16*)source)->ToSingle() : *(float*)source;
}
