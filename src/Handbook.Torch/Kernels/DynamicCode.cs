using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>Eight bits for a number of −1 … 1 (or 0 … 1), finer towards 0: the dynamic code book in which 8-bit optimisers keep their
/// states.</summary>
/// <remarks>
/// <code>
/// decade k of seven:   10^(k−6) · the means of neighbours among 2ᵏ + 1 points (2ᵏ⁺¹ + 1 without signs), evenly from 0.1 to 1
/// and besides:         0 and 1
/// x → the code whose value is nearest; the lower one halfway
/// </code>
/// Dettmers et al. 2022, arXiv:2110.02861; the points are rounded as in bitsandbytes 0.50, whose tables these are bit for bit.
/// </remarks>
internal sealed unsafe class DynamicCode
{
    private const int Decades = 7;
    private const int LargestKey = 0x3F80;      // the upper half of the bits of 1
    private const int SignBit = 0x4000;

    private readonly float[] _values = GC.AllocateArray<float>(256, pinned: true);
    private readonly float[] _above = GC.AllocateArray<float>(256, pinned: true);
    private readonly byte[] _first = GC.AllocateArray<byte>(2 * SignBit + 3, pinned: true);     // read four bytes at a time

    private DynamicCode(bool signed)
    {
        Fill(signed);
        for (var i = 0; i < 255; i++)
            _above[i] = 0.5f * (_values[i] + _values[i + 1]);
        _above[255] = float.PositiveInfinity;
        // The upper half of a number's bits narrows its code down to two neighbours: no two borders share that half.
        for (var key = 0; key <= LargestKey; key++)
        {
            _first[key] = Nearest(BitConverter.Int32BitsToSingle(key << 16));
            _first[key | SignBit] = Nearest(-BitConverter.Int32BitsToSingle(key << 16 | 0xFFFF));
        }
    }

    /// <summary>For states of either sign.</summary>
    public static DynamicCode Signed { get; } = new(signed: true);

    /// <summary>For states that are never negative.</summary>
    public static DynamicCode Unsigned { get; } = new(signed: false);

    /// <summary>The value of each code, ascending; [256].</summary>
    public ReadOnlySpan<float> Values => _values;

    /// <summary>The code nearest to a number; NaN gets one as well. The plain form of how vectors are encoded.</summary>
    public byte Nearest(float x)
    {
        var low = 0;        // borders below x
        for (var step = 128; step > 0; step >>= 1)
            if (_above[low + step - 1] < x)
                low += step;
        return (byte)low;
    }

    private void Fill(bool signed)
    {
        var count = 0;
        for (var decade = 0; decade < Decades; decade++)
        {
            var items = signed ? 1 << decade : 2 << decade;
            var scale = (float)Math.Pow(10, decade - (Decades - 1));
            for (var i = 0; i < items; i++)
            {
                var value = (Point(i, items) + Point(i + 1, items)) / 2 * scale;
                _values[count++] = value;
                if (signed)
                    _values[count++] = -value;
            }
        }
        _values[count++] = 0;
        _values[count] = 1;
        Array.Sort(_values);
    }

    // From the nearer end, rounded once: as the reference's points come out.
    private static float Point(int i, int items)
    {
        var step = (1f - 0.1f) / items;
        return i < (items + 1) / 2 ? MathF.FusedMultiplyAdd(step, i, 0.1f) : MathF.FusedMultiplyAdd(-step, items - i, 1f);
    }

    /// <summary>The values of sixteen codes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<float> Decode(byte* codes)
    {
        var values = Pointer(_values);
        if (Avx2.IsSupported)
            return Vector512.Create(Avx2.GatherVector256(values, Avx2.ConvertToVector256Int32(codes), 4),
                Avx2.GatherVector256(values, Avx2.ConvertToVector256Int32(codes + 8), 4));
        var result = Vector512<float>.Zero;
        for (var i = 0; i < Lanes.Width; i++)
            ((float*)&result)[i] = values[codes[i]];
        return result;
    }

    /// <summary>The codes of sixteen numbers of −1 … 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Encode(Vector512<float> x, byte* codes)
    {
        if (Avx2.IsSupported)
        {
            var both = Vector256.Narrow(Encode(x.GetLower()), Encode(x.GetUpper()));
            Vector128.Narrow(both.GetLower(), both.GetUpper()).Store(codes);
            return;
        }
        for (var i = 0; i < Lanes.Width; i++)
            codes[i] = Nearest(x[i]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Vector256<uint> Encode(Vector256<float> x)
    {
        var key = x.AsInt32() >>> 16;
        var index = Avx2.Min(key & Vector256.Create(0x7FFF), Vector256.Create(LargestKey)) | (key >>> 15) * SignBit;
        var first = Avx2.GatherVector256((int*)Pointer(_first), index, 1) & Vector256.Create(0xFF);
        var border = Avx2.GatherVector256(Pointer(_above), first, 4);
        return (first - Vector256.GreaterThan(x, border).AsInt32()).AsUInt32();       // a true comparison is −1
    }

    // The arrays are pinned, and alive as long as this object, of which there are two.
    private static T* Pointer<T>(T[] array) where T : unmanaged => (T*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(array));
}
