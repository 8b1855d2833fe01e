using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>The values of a <see cref="Quantised.CodedMatrix"/>, read from its memory.</summary>
internal unsafe struct CodedValues
{
    /// <summary>1/127 in float32.</summary>
    private const float Int8Step = 1f / 127;

    public byte* Codes;

    /// <summary>Null where the scales are codes; of int8, where the codes themselves are wanted.</summary>
    public float* Scales;

    public byte* ScaleCodes;
    public float* NestedScales;
    public float Offset;

    /// <summary>The sixteen values of codes, behind them the 256 of codes of scales.</summary>
    public float* Book;

    public long Columns;
    public int BlockSize;
    public bool IsInt8;

    /// <summary>Columns <paramref name="column"/> … of a row.</summary>
    /// <param name="target">Room for <paramref name="count"/>; float, BFloat16, double, or <see cref="RoundedSingle"/>.</param>
    public readonly void Read<T>(long row, long column, int count, T* target) where T : unmanaged
    {
        if (IsInt8)
            ReadInt8((sbyte*)Codes + row * Columns + column, Scales == null ? 1 : Scales[row], Scales == null ? 1 : Int8Step, count, target);
        else
            ReadFourBits(row * Columns + column, count, target);
    }

    /// <summary>The same by the formula, one value after another.</summary>
    public readonly void ReadPlainly<T>(long row, long column, int count, T* target) where T : unmanaged
    {
        for (var i = 0; i < count; i++)
            Lanes.Set(target, i, One(row, row * Columns + column + i));
    }

    private readonly float One(long row, long i) => IsInt8
        ? ((sbyte*)Codes)[i] * Scales[row] * Int8Step
        : Book[(i & 1) == 0 ? Codes[i >> 1] >> 4 : Codes[i >> 1] & 15] * Scale(i / BlockSize);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly float Scale(long block)
    {
        if (Scales != null)
            return Scales[block];
        var product = Book[16 + ScaleCodes[block]] * NestedScales[block / Quantised.QuantisedFormat.NestedBlockSize];
        return product + Offset;
    }

    private static void ReadInt8<T>(sbyte* codes, float scale, float unit, int count, T* target) where T : unmanaged
    {
        var (factor, step) = (Vector512.Create(scale), Vector512.Create(unit));
        var i = 0;
        for (; i + Lanes.Width <= count; i += Lanes.Width)
            Put(target + i, Vector512.ConvertToSingle(Widen(codes + i)) * factor * step);
        for (; i < count; i++)
            Set(target, i, codes[i] * scale * unit);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<int> Widen(sbyte* codes)
    {
        var bytes = Vector128.Load(codes);
        if (Avx512F.IsSupported)
            return Avx512F.ConvertToVector512Int32(bytes);
        var (low, high) = Vector128.Widen(bytes);
        return Vector512.Create(Vector256.Create(Vector128.WidenLower(low), Vector128.WidenUpper(low)),
            Vector256.Create(Vector128.WidenLower(high), Vector128.WidenUpper(high)));
    }

    private readonly void ReadFourBits<T>(long first, int count, T* target) where T : unmanaged
    {
        var book = Vector512.Load(Book);
        for (var i = 0; i < count;)
        {
            var at = first + i;
            var block = at / BlockSize;
            var scale = Scale(block);
            var end = (int)Math.Min(count, (block + 1) * BlockSize - first);
            for (; i < end && (first + i & 1) != 0; i++)
                Set(target, i, Book[Codes[first + i >> 1] & 15] * scale);
            var factor = Vector512.Create(scale);
            var codes = Codes + (first + i >> 1);
            for (; i + Lanes.Width <= end; i += Lanes.Width, codes += Lanes.Width / 2)
                Put(target + i, Sixteen(codes, book) * factor);
            for (; i < end; i++)
                Set(target, i, Book[(first + i & 1) == 0 ? Codes[first + i >> 1] >> 4 : Codes[first + i >> 1] & 15] * scale);
        }
    }

    /// <summary>The values of the sixteen codes in eight bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Sixteen(byte* codes, Vector512<float> book)
    {
        if (Avx512F.IsSupported)
        {
            var twice = Ssse3.Shuffle(Vector128.CreateScalarUnsafe(*(ulong*)codes).AsByte(), Twice);
            // The permutation looks at four bits of an index.
            return Avx512F.PermuteVar16x32(book, Avx512F.ShiftRightLogicalVariable(Avx512F.ConvertToVector512Int32(twice),
                Vector512.Create(4uL).AsUInt32()));
        }
        if (Avx2.IsSupported)
        {
            var twice = Ssse3.Shuffle(Vector128.CreateScalarUnsafe(*(ulong*)codes).AsByte(), Twice);
            return Vector512.Create(Eight(twice, book), Eight(Sse2.ShiftRightLogical128BitLane(twice, 8), book));
        }
        var values = stackalloc float[Lanes.Width];
        for (var i = 0; i < Lanes.Width; i += 2)
            (values[i], values[i + 1]) = (book[codes[i >> 1] >> 4], book[codes[i >> 1] & 15]);
        return Vector512.Load(values);
    }

    private static Vector128<byte> Twice => Vector128.Create((byte)0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Eight(Vector128<byte> twice, Vector512<float> book)
    {
        var index = Avx2.ShiftRightLogicalVariable(Avx2.ConvertToVector256Int32(twice), Vector256.Create(4uL).AsUInt32());
        // The permutation looks at three bits of an index; the fourth, moved to the sign, chooses the half of the book.
        return Avx.BlendVariable(Avx2.PermuteVar8x32(book.GetLower(), index), Avx2.PermuteVar8x32(book.GetUpper(), index),
            Avx2.ShiftLeftLogical(index, 28).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Set<T>(T* target, long i, float value) where T : unmanaged
    {
        if (typeof(T) == typeof(RoundedSingle))
            ((float*)target)[i] = BFloat16.From(value);
        else
            Lanes.Set(target, i, value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put<T>(T* target, Vector512<float> values) where T : unmanaged
    {
        if (typeof(T) == typeof(RoundedSingle))
        {
            Lanes.RoundToBFloat16Values(values).Store((float*)target);
            return;
        }
        if (typeof(T) != typeof(double))
        {
            Lanes.Store(target, values);
            return;
        }
        var (low, high) = Vector512.Widen(values);
        low.Store((double*)target);
        high.Store((double*)target + Vector512<double>.Count);
    }
}

/// <summary>A float32 that is rounded to a value of bfloat16.</summary>
internal readonly record struct RoundedSingle(float Value);
