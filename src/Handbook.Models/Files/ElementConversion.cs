using System.Buffers;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Handbook.Base;
using Handbook.Torch;

namespace Handbook.Models.Files;

/// <summary>Rewrites elements of one type as another. Float64 stays exact; everything else goes through float32, which holds every
/// smaller float exactly.</summary>
internal static class ElementConversion
{
    private const int Chunk = 4096;

    /// <summary>The element types a parameter can be read as.</summary>
    public static bool IsTarget(DType dtype) => dtype is DType.Float32 or DType.Float64 or DType.BFloat16 or DType.Float16;

    /// <param name="source">Elements of type <paramref name="from"/>.</param>
    /// <param name="destination">Room for as many elements of type <paramref name="to"/>.</param>
    public static void Convert(ReadOnlySpan<byte> source, DType from, Span<byte> destination, DType to)
    {
        if (from == to)
        {
            source.CopyTo(destination);
            return;
        }
        if (!IsTarget(to))
            throw new ArgumentOutOfRangeException(nameof(to), to, "not an element type of parameters");
        var count = source.Length / from.Size;
        if (from == DType.Float32)
        {
            FromSingles(MemoryMarshal.Cast<byte, float>(source), destination, to);
            return;
        }
        if (to == DType.Float32)
        {
            ToSingles(source, from, MemoryMarshal.Cast<byte, float>(destination)[..count]);
            return;
        }
        var pool = ArrayPool<float>.Shared.Rent(Chunk);
        for (var i = 0; i < count; i += Chunk)
        {
            var part = pool.AsSpan(0, Math.Min(Chunk, count - i));
            ToSingles(source.Slice(i * from.Size, part.Length * from.Size), from, part);
            FromSingles(part, destination[(i * to.Size)..], to);
        }
        ArrayPool<float>.Shared.Return(pool);
    }

    private static void ToSingles(ReadOnlySpan<byte> source, DType from, Span<float> destination)
    {
        switch (from)
        {
            case DType.BFloat16:
                Widen(MemoryMarshal.Cast<byte, ushort>(source), destination);
                break;
            case DType.Float16:
                TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<byte, Half>(source), destination);
                break;
            case DType.Float64:
                TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, double>(source), destination);
                break;
            case DType.Float8E4M3:
                for (var i = 0; i < source.Length; i++)
                    destination[i] = Float8E4M3(source[i]);
                break;
            case DType.Float8E5M2: // the upper half of a float16
                for (var i = 0; i < source.Length; i++)
                    destination[i] = (float)BitConverter.UInt16BitsToHalf((ushort)(source[i] << 8));
                break;
            default:
                throw new InputException($"weights of element type {from} cannot be read as numbers of a network",
                    fix: "save the model in float32, bfloat16 or float16");
        }
    }

    private static void FromSingles(ReadOnlySpan<float> source, Span<byte> destination, DType to)
    {
        switch (to)
        {
            case DType.Float32:
                MemoryMarshal.AsBytes(source).CopyTo(destination);
                break;
            case DType.BFloat16:
                var bits = MemoryMarshal.Cast<byte, BFloat16>(destination);
                for (var i = 0; i < source.Length; i++)
                    bits[i] = BFloat16.From(source[i]);
                break;
            case DType.Float16:
                TensorPrimitives.ConvertToHalf(source, MemoryMarshal.Cast<byte, Half>(destination));
                break;
            case DType.Float64:
                var doubles = MemoryMarshal.Cast<byte, double>(destination);
                for (var i = 0; i < source.Length; i++)
                    doubles[i] = source[i];
                break;
        }
    }

    private static void Widen(ReadOnlySpan<ushort> source, Span<float> destination)
    {
        var bits = MemoryMarshal.Cast<float, uint>(destination);
        var i = 0;
        for (; i <= source.Length - Vector256<ushort>.Count; i += Vector256<ushort>.Count)
        {
            var (low, high) = Vector256.Widen(Vector256.Create(source[i..]));
            (low << 16).CopyTo(bits[i..]);
            (high << 16).CopyTo(bits[(i + Vector256<uint>.Count)..]);
        }
        for (; i < source.Length; i++)
            bits[i] = (uint)source[i] << 16;
    }

    /// <summary>One sign, four exponent bits with bias 7, three fraction bits; no infinity, all ones is NaN. Micikevicius et al.
    /// 2022, arXiv:2209.05433.</summary>
    private static float Float8E4M3(byte value)
    {
        var sign = (value & 0x80) != 0 ? -1f : 1f;
        var (exponent, fraction) = ((value >> 3) & 15, value & 7);
        if (exponent == 15 && fraction == 7)
            return float.NaN;
        return exponent == 0 ? sign * fraction / 512f : sign * (1 + fraction / 8f) * MathF.ScaleB(1, exponent - 7);
    }
}
