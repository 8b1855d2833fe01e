using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Handbook.Torch;

/// <summary>The upper half of a float32: 8 exponent bits, 7 stored fraction bits.</summary>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct BFloat16(ushort Bits)
{
    /// <summary>Rounds to the nearest value, ties to even, as libtorch does; NaN stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static BFloat16 From(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        if (float.IsNaN(value))
            return new(0x7FC0);
        return new((ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16));
    }

    /// <summary>The value as a float32, without loss.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float ToSingle() => BitConverter.UInt32BitsToSingle((uint)Bits << 16);

    /// <inheritdoc cref="From"/>
    public static explicit operator BFloat16(float value) => From(value);

    /// <inheritdoc cref="ToSingle"/>
    public static implicit operator float(BFloat16 value) => value.ToSingle();
}
