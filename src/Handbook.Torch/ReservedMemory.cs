using System.Runtime.InteropServices;

namespace Handbook.Torch;

/// <summary>A tensor that has an address all the time, and memory only while it is in use: pages come, as zeros, when they are touched, and
/// go with <see cref="Release"/>.</summary>
/// <remarks>So views of it stay valid while what they show comes and goes. Where the system has no such pages nothing is given back.</remarks>
internal sealed unsafe partial class ReservedMemory : IDisposable
{
    private const int ReadWrite = 3;                            // PROT_READ | PROT_WRITE
    private const int Anonymous = 0x02 | 0x20 | 0x4000;         // MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    private const int DontNeed = 4, HugePages = 14;             // MADV_DONTNEED, MADV_HUGEPAGE

    private readonly nuint _bytes;
    private void* _start;

    /// <param name="count">Elements.</param>
    public ReservedMemory(DType type, long count)
    {
        _bytes = (nuint)Math.Max(1, count * type.Size);
        if (OperatingSystem.IsLinux())
        {
            _start = Map(null, _bytes, ReadWrite, Anonymous, -1, 0);
            if (_start == (void*)-1)
                throw new TorchException($"no address space for {_bytes} bytes");
            _ = Advise(_start, _bytes, HugePages);              // advice: where it is refused nothing is lost
        }
        else
            _start = NativeMemory.AllocZeroed(_bytes);
        Tensor = TensorScope.Detach(Tensor.Wrap(_start, type, [count]));
    }

    /// <summary>[count].</summary>
    public Tensor Tensor { get; }

    /// <summary>Gives the pages back; what is read next is zeros.</summary>
    public void Release()
    {
        if (OperatingSystem.IsLinux() && Advise(_start, _bytes, DontNeed) != 0)
            throw new InvalidOperationException("the system did not take memory back");
    }

    public void Dispose()
    {
        if (_start == null)
            return;
        Tensor.Dispose();
        if (OperatingSystem.IsLinux())
            _ = Unmap(_start, _bytes);
        else
            NativeMemory.Free(_start);
        _start = null;
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial void* Map(void* at, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(void* start, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* start, nuint length, int advice);
}
