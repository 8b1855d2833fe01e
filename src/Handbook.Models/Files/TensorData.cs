using System.Runtime.InteropServices;
using Handbook.Torch;

namespace Handbook.Models.Files;

/// <summary>What a file says of a tensor before anything of it is read.</summary>
public sealed record TensorInfo(string Name, DType DType, ValueList<long> Shape)
{
    /// <summary>Number of elements; 1 for a scalar.</summary>
    public long Count => TensorShape.Count(Shape);

    /// <summary>Bytes of all elements.</summary>
    public long ByteCount => Count * DType.Size;
}

/// <summary>A tensor's elements in mapped or native memory: row-major, little-endian.</summary>
/// <param name="Info">Name, element type and shape.</param>
/// <param name="Pointer">The first element.</param>
/// <param name="Owner">What keeps the memory alive: take a reference on it (<c>DangerousAddRef</c>) to outlive the file object.</param>
public readonly record struct TensorData(TensorInfo Info, nint Pointer, SafeHandle Owner)
{
    /// <summary>All bytes; more than 2 GiB do not fit into a span, use <see cref="Slice"/> there.</summary>
    public ReadOnlySpan<byte> Bytes => Slice(0, checked((int)Info.ByteCount));

    /// <summary>Some of the bytes. Valid while the owner lives.</summary>
    public unsafe ReadOnlySpan<byte> Slice(long start, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start + length, Info.ByteCount);
        return new((byte*)Pointer + start, length);
    }
}

internal static class TensorShape
{
    public static long Count(ValueList<long> shape)
    {
        var count = 1L;
        foreach (var size in shape)
            count = checked(count * size);
        return count;
    }
}

/// <summary>Memory outside the garbage collector's, freed with its handle.</summary>
internal sealed unsafe class NativeBuffer : SafeHandle
{
    public NativeBuffer(long size) : base(0, true)
    {
        Size = size;
        SetHandle((nint)NativeMemory.AlignedAlloc((nuint)Math.Max(size, 1), 64));
    }

    public long Size { get; }

    public byte* Pointer => (byte*)handle;

    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        NativeMemory.AlignedFree((void*)handle);
        return true;
    }
}

/// <summary>Keeps memory that a handle owns from being freed as long as this object lives.</summary>
internal sealed class MemoryHold
{
    private readonly SafeHandle _owner;

    public MemoryHold(SafeHandle owner)
    {
        var held = false;
        owner.DangerousAddRef(ref held);
        _owner = owner;
    }

    ~MemoryHold() => _owner.DangerousRelease();
}
