using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>Moves rows between the caller's tensors and float32 panels whose rows are whole vectors, zero behind the last
/// element.</summary>
internal static unsafe class AttentionPanels
{
    /// <summary>Rows between the one that is fetched into the cache and the one that is read: the next block arrives while this one is
    /// worked on.</summary>
    private const int Ahead = SegmentTable.BlockSize;

    /// <summary>E rounded up to whole vectors.</summary>
    public static int Width(int headSize) => (headSize + Lanes.Width - 1) / Lanes.Width * Lanes.Width;

    /// <summary><paramref name="rows"/> rows times <paramref name="factor"/>; rows up to the next multiple of <paramref name="pad"/> become
    /// 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Load<T>(T* source, nint stride, int rows, int size, float factor, float* panel, int pad) where T : unmanaged
    {
        int width = Width(size), whole = size / Lanes.Width * Lanes.Width;
        var scale = Vector512.Create(factor);
        var row = 0;
        for (; row < rows; row++, source += stride, panel += width)
        {
            for (var i = 0; i < whole; i += Lanes.Width)
            {
                if (Sse.IsSupported)
                    Sse.Prefetch1(source + Ahead * stride + i);        // beyond the last row it does nothing
                (Lanes.Load(source + i) * scale).Store(panel + i);
            }
            if (whole < width)
                (Lanes.LoadPartial(source + whole, size - whole, 0) * scale).Store(panel + whole);
        }
        for (; row % pad != 0; row++, panel += width)
            new Span<float>(panel, width).Clear();
    }

    /// <summary>Writes <paramref name="rows"/> rows times <paramref name="factor"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Store<T>(float* panel, int rows, int size, float factor, T* target, nint stride) where T : unmanaged
    {
        int width = Width(size), whole = size / Lanes.Width * Lanes.Width;
        var scale = Vector512.Create(factor);
        for (var row = 0; row < rows; row++, target += stride, panel += width)
        {
            for (var i = 0; i < whole; i += Lanes.Width)
                Lanes.Store(target + i, Vector512.Load(panel + i) * scale);
            if (whole < width)
                Lanes.StorePartial(target + whole, size - whole, Vector512.Load(panel + whole) * scale);
        }
    }

    /// <summary>panel[rows][width] → target[width][64] times <paramref name="factor"/>; as many rows as make whole vectors, so the panel is
    /// padded to these.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Transpose(float* panel, int rows, int width, float factor, float* target)
    {
        const int stride = SegmentTable.BlockSize;
        var scale = Vector512.Create(factor);
        var row = 0;
        if (Avx512F.IsSupported)
            for (; row < rows; row += 16)
                for (var column = 0; column < width; column += 16)
                    Transpose16(panel + row * width + column, width, scale, target + column * stride + row);
        var end = (rows + Lanes.Width - 1) / Lanes.Width * Lanes.Width;
        if (Avx.IsSupported)
            for (; row < end; row += 8)
                for (var column = 0; column < width; column += 8)
                    Transpose8(panel + row * width + column, width, scale.GetLower(), target + column * stride + row);
        for (; row < end; row++)
            for (var column = 0; column < width; column++)
                target[column * stride + row] = panel[row * width + column] * factor;
    }

    /// <summary>16 × 16: pairs of rows, then pairs of pairs, within 128-bit quarters; then the quarters change places.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose16(float* source, nint stride, Vector512<float> scale, float* target)
    {
        const int to = SegmentTable.BlockSize;
        for (var quarter = 0; quarter < 4; quarter++)
        {
            // Rows quarter, quarter+4, … would need a second pass; four consecutive rows give, per 128-bit part, a 4 × 4 block transposed.
            Vector512<float> r0 = Vector512.Load(source) * scale, r1 = Vector512.Load(source + stride) * scale;
            Vector512<float> r2 = Vector512.Load(source + 2 * stride) * scale, r3 = Vector512.Load(source + 3 * stride) * scale;
            var low01 = Avx512F.UnpackLow(r0, r1);
            var high01 = Avx512F.UnpackHigh(r0, r1);
            var low23 = Avx512F.UnpackLow(r2, r3);
            var high23 = Avx512F.UnpackHigh(r2, r3);
            Quarters(Avx512F.Shuffle(low01, low23, 0x44), target);
            Quarters(Avx512F.Shuffle(low01, low23, 0xEE), target + to);
            Quarters(Avx512F.Shuffle(high01, high23, 0x44), target + 2 * to);
            Quarters(Avx512F.Shuffle(high01, high23, 0xEE), target + 3 * to);
            source += 4 * stride;
            target += 4;
        }

        static void Quarters(Vector512<float> column, float* target)
        {
            column.GetLower().GetLower().Store(target);
            column.GetLower().GetUpper().Store(target + 4 * to);
            column.GetUpper().GetLower().Store(target + 8 * to);
            column.GetUpper().GetUpper().Store(target + 12 * to);
        }
    }
    /// <summary>8 × 8, in the same way.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose8(float* source, nint stride, Vector256<float> scale, float* target)
    {
        const int to = SegmentTable.BlockSize;
        Four(source, stride, scale, out var a0, out var a1, out var a2, out var a3);
        Four(source + 4 * stride, stride, scale, out var b0, out var b1, out var b2, out var b3);
        Avx.Permute2x128(a0, b0, 0x20).Store(target);
        Avx.Permute2x128(a1, b1, 0x20).Store(target + to);
        Avx.Permute2x128(a2, b2, 0x20).Store(target + 2 * to);
        Avx.Permute2x128(a3, b3, 0x20).Store(target + 3 * to);
        Avx.Permute2x128(a0, b0, 0x31).Store(target + 4 * to);
        Avx.Permute2x128(a1, b1, 0x31).Store(target + 5 * to);
        Avx.Permute2x128(a2, b2, 0x31).Store(target + 6 * to);
        Avx.Permute2x128(a3, b3, 0x31).Store(target + 7 * to);
    }

    /// <summary>Four rows: two blocks of 4 × 4, each transposed in its half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Four(float* source, nint stride, Vector256<float> scale, out Vector256<float> c0, out Vector256<float> c1,
        out Vector256<float> c2, out Vector256<float> c3)
    {
        Vector256<float> r0 = Vector256.Load(source) * scale, r1 = Vector256.Load(source + stride) * scale;
        Vector256<float> r2 = Vector256.Load(source + 2 * stride) * scale, r3 = Vector256.Load(source + 3 * stride) * scale;
        Vector256<float> low01 = Avx.UnpackLow(r0, r1), high01 = Avx.UnpackHigh(r0, r1), low23 = Avx.UnpackLow(r2, r3),
            high23 = Avx.UnpackHigh(r2, r3);
        c0 = Avx.Shuffle(low01, low23, 0x44);
        c1 = Avx.Shuffle(low01, low23, 0xEE);
        c2 = Avx.Shuffle(high01, high23, 0x44);
        c3 = Avx.Shuffle(high01, high23, 0xEE);
    }
}
