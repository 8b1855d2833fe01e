using System.Runtime.InteropServices;
using System.Text;

namespace Handbook.Torch.Cuda;

/// <summary>One GPU in use by this process: memory, modules, streams and events.</summary>
/// <remarks>
/// It is the primary context, which libtorch's runtime uses as well, so that addresses and streams of either are good for the other. Every
/// call makes it the current one of its thread first: a backward runs on threads of libtorch. Streams are the driver's handles; 0 is the
/// default one.
/// </remarks>
internal sealed unsafe class CudaContext : IDisposable
{
    private const int LargestShared = 8;                                                 // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    private const int FreeByDefault = 48 << 10;                                          // of shared memory; more must be asked for
    private readonly CudaDriver _driver;
    private readonly int _device;
    private readonly nint _handle;
    private bool _disposed;

    internal CudaContext(CudaDriver driver, CudaCard card, int device)
    {
        (_driver, Card, _device) = (driver, card, device);
        nint handle;
        Check(Library.PrimaryContextRetain(&handle, device), "cuDevicePrimaryCtxRetain");
        _handle = handle;
    }

    public CudaCard Card { get; }

    /// <summary>Bytes of the card's memory that nobody holds, and all of them.</summary>
    public (long Free, long Total) Memory
    {
        get
        {
            nuint free, total;
            Enter();
            Check(Library.MemoryGetInfo(&free, &total), "cuMemGetInfo");
            return ((long)free, (long)total);
        }
    }

    private DriverLibrary Library => _driver.Library;

    // ---- memory --------------------------------------------------------------------------------------------------

    /// <summary>Memory of the card; the caller frees it. Tensors get theirs from libtorch's allocator instead.</summary>
    public ulong Allocate(long bytes)
    {
        ulong address;
        Enter();
        var status = Library.MemoryAllocate(&address, (nuint)bytes);
        if (status != 0)
        {
            nuint free = 0, total = 0;
            _ = Library.MemoryGetInfo(&free, &total);
            Check(status, $"cuMemAlloc of {bytes:N0} bytes, with {free:N0} of {total:N0} free");
        }
        return address;
    }

    public void Free(ulong address)
    {
        Enter();
        Check(Library.MemoryFree(address), $"cuMemFree of {address:x}");
    }

    /// <summary>Memory of the host that the card reads and writes by itself, so that copies need not wait; the caller frees it.</summary>
    public void* AllocatePinned(long bytes)
    {
        void* address;
        Enter();
        Check(Library.HostAllocate(&address, (nuint)bytes, 0), $"cuMemHostAlloc of {bytes:N0} bytes");
        return address;
    }

    public void FreePinned(void* address)
    {
        Enter();
        Check(Library.HostFree(address), "cuMemFreeHost");
    }

    /// <summary>Copies to the card, in the order of the stream; the host's memory stays as it is until the stream is there.</summary>
    public void CopyToDevice(ulong target, void* source, long bytes, nint stream = 0)
    {
        Enter();
        Check(Library.CopyToDevice(target, source, (nuint)bytes, stream), $"cuMemcpyHtoDAsync of {bytes:N0} bytes to {target:x}");
    }

    /// <summary>Copies from the card, in the order of the stream.</summary>
    public void CopyToHost(void* target, ulong source, long bytes, nint stream = 0)
    {
        Enter();
        Check(Library.CopyToHost(target, source, (nuint)bytes, stream), $"cuMemcpyDtoHAsync of {bytes:N0} bytes from {source:x}");
    }

    /// <summary>Sets every byte, in the order of the stream.</summary>
    public void Fill(ulong target, byte value, long bytes, nint stream = 0)
    {
        Enter();
        Check(Library.Fill(target, value, (nuint)bytes, stream), $"cuMemsetD8Async of {bytes:N0} bytes at {target:x}");
    }

    // ---- kernels -------------------------------------------------------------------------------------------------

    /// <summary>Loads what NVRTC compiled; PTX is compiled here by the driver, whose complaint is in the message.</summary>
    /// <returns>A module; the caller unloads it, or it lives as long as the process.</returns>
    public nint Load(CudaBinary binary)
    {
        const int ErrorLog = 5, ErrorLogBytes = 6, LogBytes = 8192;
        var log = stackalloc byte[LogBytes];
        log[0] = 0;
        var options = stackalloc int[] { ErrorLog, ErrorLogBytes };
        var values = stackalloc void*[] { log, (void*)LogBytes };
        nint module;
        int status;
        Enter();
        fixed (byte* image = binary.Image)
            status = Library.ModuleLoad(&module, image, 2, options, values);
        if (status != 0)
        {
            var remarks = Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(log)).Trim();
            Check(status, $"cuModuleLoadDataEx of {binary.Source} for {binary.Architecture}{(remarks.Length > 0 ? $" ({remarks})" : "")}");
        }
        return module;
    }

    public void Unload(nint module)
    {
        Enter();
        Check(Library.ModuleUnload(module), "cuModuleUnload");
    }

    /// <summary>A kernel of a module.</summary>
    /// <param name="sharedBytes">The most dynamic shared memory that its launches will ask for.</param>
    public nint Function(nint module, string name, int sharedBytes = 0)
    {
        nint function;
        var text = Encoding.UTF8.GetBytes(name + '\0');
        Enter();
        fixed (byte* first = text)
            Check(Library.ModuleGetFunction(&function, module, first), $"cuModuleGetFunction of {name}");
        if (sharedBytes > Card.SharedMemory)
            throw new CudaException($"{name} asks for {sharedBytes:N0} bytes of shared memory; a block of GPU {Card.Index}, {Card.Name}, has "
                + $"{Card.SharedMemory:N0}");
        if (sharedBytes > FreeByDefault)
            Check(Library.FunctionSetAttribute(function, LargestShared, sharedBytes),
                $"cuFuncSetAttribute of {name} to {sharedBytes:N0} bytes of shared memory");
        return function;
    }

    /// <summary>Puts a kernel into the order of a stream, and does not wait for it.</summary>
    /// <param name="name">The kernel in messages.</param>
    /// <param name="arguments">The address of each argument's value, as many as the kernel has parameters.</param>
    public void Launch(nint function, string name, (int X, int Y, int Z) grid, int threads, int sharedBytes, nint stream, void** arguments)
    {
        Enter();
        var status = Library.LaunchKernel(function, (uint)grid.X, (uint)grid.Y, (uint)grid.Z, (uint)threads, 1, 1, (uint)sharedBytes, stream,
            arguments, null);
        if (status != 0)
            Check(status, $"launch of {name} ({grid.X}×{grid.Y}×{grid.Z} blocks of {threads} threads, {sharedBytes:N0} bytes shared)");
    }

    // ---- order ---------------------------------------------------------------------------------------------------

    /// <summary>A stream that does not wait for the default one; the caller closes it.</summary>
    public nint OpenStream()
    {
        nint stream;
        Enter();
        Check(Library.StreamCreate(&stream, 1), "cuStreamCreate");
        return stream;
    }

    public void CloseStream(nint stream)
    {
        Enter();
        Check(Library.StreamDestroy(stream), "cuStreamDestroy");
    }

    /// <summary>Waits until all that was put into a stream is done.</summary>
    public void Synchronize(nint stream = 0)
    {
        Enter();
        Check(Library.StreamSynchronize(stream), "cuStreamSynchronize");
    }

    /// <summary>What follows in the stream waits for the event; the host does not.</summary>
    public void Await(nint stream, CudaEvent @event)
    {
        Enter();
        Check(Library.StreamWaitEvent(stream, @event.Handle, 0), "cuStreamWaitEvent");
    }

    /// <summary>A mark that is put into a stream.</summary>
    /// <param name="timed">Whether <see cref="CudaEvent.Since"/> will be asked.</param>
    public CudaEvent NewEvent(bool timed = false) => new(this, timed);

    /// <summary>Makes this the calling thread's context.</summary>
    internal void Enter()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        Check(Library.ContextSetCurrent(_handle), "cuCtxSetCurrent");
    }

    internal DriverLibrary Calls => Library;

    internal void Check(int status, string what)
    {
        if (status != 0)
            Library.Check(status, $"GPU {Card.Index}, {Card.Name}: {what}");
    }

    /// <summary>Lets go of the card; libtorch may still use it.</summary>
    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        Check(Library.PrimaryContextRelease(_device), "cuDevicePrimaryCtxRelease");
    }
}
