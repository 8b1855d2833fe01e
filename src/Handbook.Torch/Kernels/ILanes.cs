using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>How a loop over a row in steps of sixteen meets the row's end. Loops are compiled for each kind.</summary>
/// <remarks>
/// A loop that may call <see cref="Lanes.LoadPartial"/> keeps its vectors on the stack, where they straddle cache lines: up to five times
/// slower. So rows whose length is a multiple of sixteen, as those of real models are, get a loop without that call.
/// <para>
/// Methods with such a loop are not inlined: on processors without 512-bit registers the two kinds together would exceed what the compiler
/// inlines into one method, and each vector operation beyond becomes a call.
/// </para>
/// </remarks>
internal unsafe interface ILanes
{
    Vector512<float> Load<T>(T* row, int i) where T : unmanaged;

    /// <summary>As <see cref="Load{T}(T*, int)"/>, with another value than 0 behind the row's end.</summary>
    Vector512<float> Load<T>(T* row, int i, float fill) where T : unmanaged;

    void Store<T>(T* row, int i, Vector512<float> value) where T : unmanaged;
}

/// <summary>The row's length is a multiple of sixteen.</summary>
internal readonly unsafe struct WholeLanes : ILanes
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<float> Load<T>(T* row, int i) where T : unmanaged => Lanes.Load(row + i);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<float> Load<T>(T* row, int i, float fill) where T : unmanaged => Lanes.Load(row + i);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store<T>(T* row, int i, Vector512<float> value) where T : unmanaged => Lanes.Store(row + i, value);
}

/// <summary>The row has any length: masked where the processor can, else the last elements one by one.</summary>
internal readonly unsafe struct RaggedLanes(int count) : ILanes
{
    private readonly int _count = count;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<float> Load<T>(T* row, int i) where T : unmanaged => Load(row, i, 0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<float> Load<T>(T* row, int i, float fill) where T : unmanaged
    {
        if (Avx512F.IsSupported && typeof(T) == typeof(float))
            return Avx512F.MaskLoad((float*)row + i, Inside(i).AsSingle(), Vector512.Create(fill));
        if (Avx512BW.VL.IsSupported && typeof(T) == typeof(BFloat16))
            return Lanes.FromBFloat16(Avx512BW.VL.MaskLoad((ushort*)row + i, NarrowInside(i), Vector256.Create(BFloat16.From(fill).Bits)));
        if (i + Lanes.Width <= _count)
            return Lanes.Load(row + i);
        if (Avx.IsSupported && typeof(T) == typeof(float))
        {
            var outside = Vector256.Create(fill);
            var (low, high) = HalvesInside(i);
            return Vector512.Create(
                Vector256.ConditionalSelect(low, Avx.MaskLoad((float*)row + i, low), outside),
                Vector256.ConditionalSelect(high, Avx.MaskLoad((float*)row + i + Lanes.Width / 2, high), outside));
        }
        // the end of half a head of 48, 80 or 112 elements
        if (Avx2.IsSupported && typeof(T) == typeof(BFloat16) && i + Lanes.Width / 2 == _count)
            return Vector512.Create(Lanes.Half((ushort*)row + i), Vector256.Create(fill));
        return Lanes.LoadPartial(row + i, _count - i, fill);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store<T>(T* row, int i, Vector512<float> value) where T : unmanaged
    {
        if (Avx512F.IsSupported && typeof(T) == typeof(float))
            Avx512F.MaskStore((float*)row + i, Inside(i).AsSingle(), value);
        else if (Avx512BW.VL.IsSupported && typeof(T) == typeof(BFloat16))
            Avx512BW.VL.MaskStore((ushort*)row + i, NarrowInside(i), Lanes.ToBFloat16(value));
        else if (i + Lanes.Width <= _count)
            Lanes.Store(row + i, value);
        else if (Avx.IsSupported && typeof(T) == typeof(float))
        {
            // A masked store takes many cycles where it is not needed.
            var (low, high) = HalvesInside(i);
            var rest = _count - i;
            if (rest >= Lanes.Width / 2)
                value.GetLower().Store((float*)row + i);
            else
                Avx.MaskStore((float*)row + i, low, value.GetLower());
            if (rest > Lanes.Width / 2)
                Avx.MaskStore((float*)row + i + Lanes.Width / 2, high, value.GetUpper());
        }
        else if (Avx2.IsSupported && typeof(T) == typeof(BFloat16) && i + Lanes.Width / 2 == _count)
            Lanes.ToBFloat16(value).GetLower().Store((ushort*)row + i);
        else
            Lanes.StorePartial(row + i, _count - i, value);
    }

    /// <summary>All bits of the lanes that lie inside the row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Vector512<int> Inside(int i) => Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(_count - i));

    /// <summary>The same for the two halves.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private (Vector256<float> Low, Vector256<float> High) HalvesInside(int i)
    {
        var rest = Vector256.Create(_count - i);
        return (Vector256.LessThan(Vector256<int>.Indices, rest).AsSingle(),
            Vector256.LessThan(Vector256<int>.Indices + Vector256.Create(Lanes.Width / 2), rest).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Vector256<ushort> NarrowInside(int i) =>
        Vector256.LessThan(Vector256<short>.Indices, Vector256.Create((short)Math.Min(_count - i, Lanes.Width))).AsUInt16();
}
