using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>Sixteen float32 values at a time, read from and written to rows of float or bfloat16.</summary>
/// <remarks>Where the processor has no 512-bit registers, .NET makes each operation out of two of 256 bits (or four of 128).</remarks>
internal static unsafe class Lanes
{
    public const int Width = 16;

    /// <summary>Elements i … i+15 of a row of <paramref name="count"/>; 0 behind its end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load<T>(T* row, int i, int count) where T : unmanaged =>
        i + Width <= count ? Load(row + i) : LoadPartial(row + i, count - i, 0);

    /// <summary>Writes elements i … i+15 of a row of <paramref name="count"/>; nothing behind its end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(T* row, int i, int count, Vector512<float> value) where T : unmanaged
    {
        if (i + Width <= count)
            Store(row + i, value);
        else
            StorePartial(row + i, count - i, value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load<T>(T* source) where T : unmanaged
    {
        if (typeof(T) == typeof(float))
            return Vector512.Load((float*)source);
        if (typeof(T) == typeof(BFloat16))
            return Avx2.IsSupported && !Avx512F.IsSupported
                ? Vector512.Create(Half((ushort*)source), Half((ushort*)source + Width / 2))
                : FromBFloat16(Vector256.Load((ushort*)source));
        throw new NotSupportedException($"no vector form of {typeof(T).Name}");
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(T* target, Vector512<float> value) where T : unmanaged
    {
        if (typeof(T) == typeof(float))
            value.Store((float*)target);
        else if (typeof(T) == typeof(BFloat16))
            (Avx2.IsSupported && !Avx512F.IsSupported ? RoundHalves(value) : ToBFloat16(value)).Store((ushort*)target);
        else
            throw new NotSupportedException($"no vector form of {typeof(T).Name}");
    }

    /// <summary>As <see cref="ToBFloat16"/>, half by half: few enough calls for the compiler to inline them all.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ushort> RoundHalves(Vector512<float> value) =>
        // Quarters 0, 2, 1, 3 are what it packs; no value is above 16 bits, so none is clipped.
        Avx2.Permute4x64(Avx2.PackUnsignedSaturate(Round(value.GetLower()), Round(value.GetUpper())).AsUInt64(), 0b11_01_10_00).AsUInt16();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Round(Vector256<float> value)
    {
        var bits = value.AsInt32();
        var odd = Avx2.And(Avx2.ShiftRightLogical(bits, 16), Vector256.Create(1));
        var rounded = Avx2.ShiftRightLogical(Avx2.Add(Avx2.Add(bits, Vector256.Create(0x7FFF)), odd), 16);
        return Avx2.BlendVariable(rounded, Vector256.Create(0x7FC0), Avx.CompareUnordered(value, value).AsInt32());
    }

    /// <summary>The first <paramref name="count"/> elements; <paramref name="fill"/> in the other lanes.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Vector512<float> LoadPartial<T>(T* source, int count, float fill) where T : unmanaged
    {
        if (typeof(T) == typeof(BFloat16))
        {
            var bits = Vector256.Create(BFloat16.From(fill).Bits);
            for (var i = 0; i < count; i++)
                ((ushort*)&bits)[i] = ((ushort*)source)[i];
            return FromBFloat16(bits);
        }
        if (typeof(T) != typeof(float))
            throw new NotSupportedException($"no vector form of {typeof(T).Name}");
        var value = Vector512.Create(fill);
        for (var i = 0; i < count; i++)
            ((float*)&value)[i] = ((float*)source)[i];
        return value;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void StorePartial<T>(T* target, int count, Vector512<float> value) where T : unmanaged
    {
        if (typeof(T) == typeof(BFloat16))
        {
            var bits = ToBFloat16(value);
            for (var i = 0; i < count; i++)
                ((ushort*)target)[i] = ((ushort*)&bits)[i];
            return;
        }
        if (typeof(T) != typeof(float))
            throw new NotSupportedException($"no vector form of {typeof(T).Name}");
        for (var i = 0; i < count; i++)
            ((float*)target)[i] = ((float*)&value)[i];
    }

    /// <summary>One element, for the plain code that serves float64 and the tests.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static double Get<T>(T* source, long i) where T : unmanaged
    {
        if (typeof(T) == typeof(float))
            return ((float*)source)[i];
        if (typeof(T) == typeof(double))
            return ((double*)source)[i];
        if (typeof(T) == typeof(BFloat16))
            return ((BFloat16*)source)[i].ToSingle();
        throw new NotSupportedException($"no kernel reads {typeof(T).Name}");
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set<T>(T* target, long i, double value) where T : unmanaged
    {
        if (typeof(T) == typeof(float))
            ((float*)target)[i] = (float)value;
        else if (typeof(T) == typeof(double))
            ((double*)target)[i] = value;
        else if (typeof(T) == typeof(BFloat16))
            ((BFloat16*)target)[i] = BFloat16.From((float)value);
        else
            throw new NotSupportedException($"no kernel writes {typeof(T).Name}");
    }

    /// <summary>Upper halves of the rounded bit patterns (ties to even), still as 32-bit lanes; NaN becomes the quiet NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> RoundToBFloat16(Vector512<float> value)
    {
        var bits = value.AsUInt32();
        var rounded = (bits + Vector512.Create(0x7FFFu) + ((bits >>> 16) & Vector512<uint>.One)) >>> 16;
        return Vector512.ConditionalSelect(Vector512.Equals(value, value).AsUInt32(), rounded, Vector512.Create(0x7FC0u));
    }

    /// <summary>Float32 values rounded to those of bfloat16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> RoundToBFloat16Values(Vector512<float> values) => (RoundToBFloat16(values) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> FromBFloat16(Vector256<ushort> bits) => (Widen(bits) << 16).AsSingle();

    /// <summary>Eight elements of bfloat16, on AVX2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Half(ushort* source) => Avx2.ShiftLeftLogical(Avx2.ConvertToVector256Int32(source), 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<ushort> ToBFloat16(Vector512<float> value) => Narrow(RoundToBFloat16(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Widen(Vector256<ushort> value) => Avx512F.IsSupported
        ? Avx512F.ConvertToVector512UInt32(value)
        : Vector512.Create(Vector256.WidenLower(value), Vector256.WidenUpper(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ushort> Narrow(Vector512<uint> value) => Avx512F.IsSupported
        ? Avx512F.ConvertToVector256UInt16(value)
        : Vector256.Narrow(value.GetLower(), value.GetUpper());

    /// <summary>In each quarter the sums of that quarter of a, b, c and d: (0 + 2) + (1 + 3).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> InQuarters(Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d)
    {
        if (Avx512F.IsSupported)
        {
            var ab = Avx512F.UnpackLow(a, b) + Avx512F.UnpackHigh(a, b);
            var cd = Avx512F.UnpackLow(c, d) + Avx512F.UnpackHigh(c, d);
            return Avx512F.UnpackLow(ab.AsDouble(), cd.AsDouble()).AsSingle() + Avx512F.UnpackHigh(ab.AsDouble(), cd.AsDouble()).AsSingle();
        }
        return Vector512.Create(
            InQuarters(a.GetLower(), b.GetLower(), c.GetLower(), d.GetLower()),
            InQuarters(a.GetUpper(), b.GetUpper(), c.GetUpper(), d.GetUpper()));
    }

    /// <summary>The same for the two quarters of a half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> InQuarters(Vector256<float> a, Vector256<float> b, Vector256<float> c, Vector256<float> d)
    {
        if (Avx.IsSupported)
        {
            var ab = Avx.UnpackLow(a, b) + Avx.UnpackHigh(a, b);
            var cd = Avx.UnpackLow(c, d) + Avx.UnpackHigh(c, d);
            return Avx.UnpackLow(ab.AsDouble(), cd.AsDouble()).AsSingle() + Avx.UnpackHigh(ab.AsDouble(), cd.AsDouble()).AsSingle();
        }
        return Vector256.Create(Quarter(a.GetLower(), b.GetLower(), c.GetLower(), d.GetLower()),
            Quarter(a.GetUpper(), b.GetUpper(), c.GetUpper(), d.GetUpper()));

        static Vector128<float> Quarter(Vector128<float> a, Vector128<float> b, Vector128<float> c, Vector128<float> d) =>
            Vector128.Create(a[0] + a[2] + (a[1] + a[3]), b[0] + b[2] + (b[1] + b[3]), c[0] + c[2] + (c[1] + c[3]),
                d[0] + d[2] + (d[1] + d[3]));
    }

    /// <summary>The quarters together: (0 + 1) + (2 + 3).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Quarters(Vector512<float> sums) =>
        (sums.GetLower().GetLower() + sums.GetLower().GetUpper()) + (sums.GetUpper().GetLower() + sums.GetUpper().GetUpper());
}
