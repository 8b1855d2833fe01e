using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Handbook.Torch.Cuda;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>Stands in for NVIDIA's driver: two cards whose memory is the host's, streams that are always up to date, and kernels that write
/// down what they were launched with.</summary>
/// <remarks>One at a time: the functions of a C interface have no object to belong to.</remarks>
internal sealed unsafe class StandInDriver : IDisposable
{
    private static StandInDriver? s_now;

    private readonly Dictionary<string, nint> _exports;
    private readonly List<nint> _texts = [];
    private readonly Dictionary<string, int[]> _parameterSizes = [];
    private readonly List<string> _functions = [];
    private float _clock;

    public StandInDriver()
    {
        Assert.Null(s_now);
        s_now = this;
        _exports = new()
        {
            ["cuInit"] = (nint)(delegate* unmanaged<uint, int>)&Init,
            ["cuDriverGetVersion"] = (nint)(delegate* unmanaged<int*, int>)&Version,
            ["cuDeviceGetCount"] = (nint)(delegate* unmanaged<int*, int>)&Count,
            ["cuDeviceGet"] = (nint)(delegate* unmanaged<int*, int, int>)&Get,
            ["cuDeviceGetName"] = (nint)(delegate* unmanaged<byte*, int, int, int>)&Name,
            ["cuDeviceTotalMem_v2"] = (nint)(delegate* unmanaged<nuint*, int, int>)&TotalMemory,
            ["cuDeviceGetAttribute"] = (nint)(delegate* unmanaged<int*, int, int, int>)&Attribute,
            ["cuDevicePrimaryCtxRetain"] = (nint)(delegate* unmanaged<nint*, int, int>)&Retain,
            ["cuDevicePrimaryCtxRelease_v2"] = (nint)(delegate* unmanaged<int, int>)&Release,
            ["cuCtxSetCurrent"] = (nint)(delegate* unmanaged<nint, int>)&SetCurrent,
            ["cuMemGetInfo_v2"] = (nint)(delegate* unmanaged<nuint*, nuint*, int>)&MemoryInfo,
            ["cuMemAlloc_v2"] = (nint)(delegate* unmanaged<ulong*, nuint, int>)&Allocate,
            ["cuMemFree_v2"] = (nint)(delegate* unmanaged<ulong, int>)&Free,
            ["cuMemHostAlloc"] = (nint)(delegate* unmanaged<void**, nuint, uint, int>)&HostAllocate,
            ["cuMemFreeHost"] = (nint)(delegate* unmanaged<void*, int>)&HostFree,
            ["cuMemcpyHtoDAsync_v2"] = (nint)(delegate* unmanaged<ulong, void*, nuint, nint, int>)&ToDevice,
            ["cuMemcpyDtoHAsync_v2"] = (nint)(delegate* unmanaged<void*, ulong, nuint, nint, int>)&ToHost,
            ["cuMemsetD8Async"] = (nint)(delegate* unmanaged<ulong, byte, nuint, nint, int>)&Fill,
            ["cuModuleLoadDataEx"] = (nint)(delegate* unmanaged<nint*, void*, uint, int*, void**, int>)&Load,
            ["cuModuleUnload"] = (nint)(delegate* unmanaged<nint, int>)&Unload,
            ["cuModuleGetFunction"] = (nint)(delegate* unmanaged<nint*, nint, byte*, int>)&Function,
            ["cuFuncSetAttribute"] = (nint)(delegate* unmanaged<nint, int, int, int>)&SetFunctionAttribute,
            ["cuLaunchKernel"] =
                (nint)(delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int>)&Launch,
            ["cuStreamCreate"] = (nint)(delegate* unmanaged<nint*, uint, int>)&CreateStream,
            ["cuStreamDestroy_v2"] = (nint)(delegate* unmanaged<nint, int>)&DestroyStream,
            ["cuStreamSynchronize"] = (nint)(delegate* unmanaged<nint, int>)&Synchronize,
            ["cuStreamWaitEvent"] = (nint)(delegate* unmanaged<nint, nint, uint, int>)&WaitEvent,
            ["cuEventCreate"] = (nint)(delegate* unmanaged<nint*, uint, int>)&CreateEvent,
            ["cuEventDestroy_v2"] = (nint)(delegate* unmanaged<nint, int>)&DestroyEvent,
            ["cuEventRecord"] = (nint)(delegate* unmanaged<nint, nint, int>)&Record,
            ["cuEventSynchronize"] = (nint)(delegate* unmanaged<nint, int>)&SynchronizeEvent,
            ["cuEventElapsedTime"] = (nint)(delegate* unmanaged<float*, nint, nint, int>)&Elapsed,
            ["cuGetErrorName"] = (nint)(delegate* unmanaged<int, byte**, int>)&ErrorName,
            ["cuGetErrorString"] = (nint)(delegate* unmanaged<int, byte**, int>)&ErrorText,
        };
    }

    /// <summary>Every call but the questions, in order.</summary>
    public List<string> Calls { get; } = [];

    /// <summary>A call that fails, by the function's name here, with the driver's number of the error.</summary>
    public Dictionary<string, int> Failing { get; } = [];

    /// <summary>What is still held: addresses, modules, streams, events, contexts.</summary>
    public int Held { get; private set; }

    /// <summary>What a complaint of the driver's own compiler says.</summary>
    public string CompilerLog { get; set; } = "";

    public DriverLibrary Library => new(name => _exports.TryGetValue(name, out var address) ? address
        : throw new InvalidOperationException($"the stand-in has no {name}"));

    public CudaDriver Driver => new(Library);

    /// <summary>Says how many bytes each parameter of a kernel has, so that a launch's arguments can be read.</summary>
    public void Declare(string kernel, params int[] parameterSizes) => _parameterSizes[kernel] = parameterSizes;

    public void Dispose()
    {
        s_now = null;
        _texts.ForEach(Marshal.FreeCoTaskMem);
    }

    private int Answer(string? call, [CallerMemberName] string function = "")
    {
        if (Failing.TryGetValue(function, out var status))
            return status;
        if (call is not null)
            Calls.Add(call);
        return 0;
    }

    private byte* Text(string text)
    {
        _texts.Add(Marshal.StringToCoTaskMemUTF8(text));
        return (byte*)_texts[^1];
    }

    private static StandInDriver Now => s_now!;

    // ---- cards ----

    [UnmanagedCallersOnly] private static int Init(uint flags) => Now.Answer(null);

    [UnmanagedCallersOnly]
    private static int Version(int* version)
    {
        *version = 12040;
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int Count(int* count)
    {
        *count = 2;
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int Get(int* device, int index)
    {
        *device = index + 100;
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int Name(byte* name, int length, int device)
    {
        Encoding.UTF8.GetBytes($"Stand-in {device - 100}\0").CopyTo(new Span<byte>(name, length));
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int TotalMemory(nuint* bytes, int device)
    {
        *bytes = 80u << 20;
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int Attribute(int* value, int which, int device)
    {
        *value = which switch { 75 => device == 100 ? 9 : 8, 76 => device == 100 ? 0 : 6, 16 => 132, 97 => 227 << 10, _ => -1 };
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int Retain(nint* context, int device)
    {
        *context = device * 10;
        Now.Held++;
        return Now.Answer($"retain {device}");
    }

    [UnmanagedCallersOnly]
    private static int Release(int device)
    {
        Now.Held--;
        return Now.Answer($"release {device}");
    }

    [UnmanagedCallersOnly] private static int SetCurrent(nint context) => Now.Answer(null);

    // ---- memory ----

    [UnmanagedCallersOnly]
    private static int MemoryInfo(nuint* free, nuint* total)
    {
        *total = 80u << 20;
        *free = 3u << 20;
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int Allocate(ulong* address, nuint bytes)
    {
        var status = bytes > 3u << 20 ? 2 : Now.Answer($"allocate {bytes}");
        if (status != 0)
            return status;
        *address = (ulong)NativeMemory.Alloc(bytes);
        Now.Held++;
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int Free(ulong address)
    {
        NativeMemory.Free((void*)address);
        Now.Held--;
        return Now.Answer("free");
    }

    [UnmanagedCallersOnly]
    private static int HostAllocate(void** address, nuint bytes, uint flags)
    {
        *address = NativeMemory.Alloc(bytes);
        Now.Held++;
        return Now.Answer($"pin {bytes}");
    }

    [UnmanagedCallersOnly]
    private static int HostFree(void* address)
    {
        NativeMemory.Free(address);
        Now.Held--;
        return Now.Answer("unpin");
    }

    [UnmanagedCallersOnly]
    private static int ToDevice(ulong target, void* source, nuint bytes, nint stream)
    {
        NativeMemory.Copy(source, (void*)target, bytes);
        return Now.Answer($"to device {bytes} in {stream}");
    }

    [UnmanagedCallersOnly]
    private static int ToHost(void* target, ulong source, nuint bytes, nint stream)
    {
        NativeMemory.Copy((void*)source, target, bytes);
        return Now.Answer($"to host {bytes} in {stream}");
    }

    [UnmanagedCallersOnly]
    private static int Fill(ulong target, byte value, nuint bytes, nint stream)
    {
        NativeMemory.Fill((void*)target, bytes, value);
        return Now.Answer($"fill {bytes} in {stream}");
    }

    // ---- kernels ----

    [UnmanagedCallersOnly]
    private static int Load(nint* module, void* image, uint count, int* options, void** values)
    {
        Assert.Equal([5, 6], new Span<int>(options, (int)count).ToArray());
        Encoding.UTF8.GetBytes(Now.CompilerLog + '\0').CopyTo(new Span<byte>(values[0], (int)(nint)values[1]));
        *module = 7000;
        Now.Held++;
        return Now.Answer($"load {Marshal.PtrToStringUTF8((nint)image)}");
    }

    [UnmanagedCallersOnly]
    private static int Unload(nint module)
    {
        Now.Held--;
        return Now.Answer($"unload {module}");
    }

    [UnmanagedCallersOnly]
    private static int Function(nint* function, nint module, byte* name)
    {
        var text = Marshal.PtrToStringUTF8((nint)name)!;
        if (!Now._parameterSizes.ContainsKey(text))
            return 500;
        Now._functions.Add(text);
        *function = Now._functions.Count;
        return Now.Answer(null);
    }

    [UnmanagedCallersOnly]
    private static int SetFunctionAttribute(nint function, int which, int value) =>
        Now.Answer($"set {Now._functions[(int)function - 1]} {which} to {value}");

    [UnmanagedCallersOnly]
    private static int Launch(nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint shared,
        nint stream, void** arguments, void** extra)
    {
        var name = Now._functions[(int)function - 1];
        var sizes = Now._parameterSizes[name];
        var bytes = sizes.Select((size, i) => Convert.ToHexStringLower(new ReadOnlySpan<byte>(arguments[i], size)));
        return Now.Answer($"{name} <<<{gridX} {gridY} {gridZ}, {blockX} {blockY} {blockZ}, {shared}, {stream}>>> {string.Join(' ', bytes)}");
    }

    // ---- order ----

    [UnmanagedCallersOnly]
    private static int CreateStream(nint* stream, uint flags)
    {
        *stream = 500;
        Now.Held++;
        return Now.Answer($"stream {flags}");
    }

    [UnmanagedCallersOnly]
    private static int DestroyStream(nint stream)
    {
        Now.Held--;
        return Now.Answer($"close stream {stream}");
    }

    [UnmanagedCallersOnly] private static int Synchronize(nint stream) => Now.Answer($"wait for {stream}");

    [UnmanagedCallersOnly] private static int WaitEvent(nint stream, nint @event, uint flags) => Now.Answer($"{stream} awaits {@event}");

    [UnmanagedCallersOnly]
    private static int CreateEvent(nint* @event, uint flags)
    {
        *@event = 900 + Now.Held++;
        return Now.Answer($"event {flags}");
    }

    [UnmanagedCallersOnly]
    private static int DestroyEvent(nint @event)
    {
        Now.Held--;
        return Now.Answer(null);
    }

    [UnmanagedCallersOnly] private static int Record(nint @event, nint stream) => Now.Answer($"record {@event} in {stream}");

    [UnmanagedCallersOnly] private static int SynchronizeEvent(nint @event) => Now.Answer($"wait for event {@event}");

    [UnmanagedCallersOnly]
    private static int Elapsed(float* milliseconds, nint from, nint to)
    {
        *milliseconds = Now._clock += 1.5f;
        return 0;
    }

    // ---- errors ----

    [UnmanagedCallersOnly]
    private static int ErrorName(int status, byte** text)
    {
        *text = Now.Text(status switch
        {
            2 => "CUDA_ERROR_OUT_OF_MEMORY",
            500 => "CUDA_ERROR_NOT_FOUND",
            700 => "CUDA_ERROR_ILLEGAL_ADDRESS",
            100 => "CUDA_ERROR_NO_DEVICE",
            _ => "CUDA_ERROR_INVALID_VALUE"
        });
        return status == 9999 ? 1 : 0;
    }

    [UnmanagedCallersOnly]
    private static int ErrorText(int status, byte** text)
    {
        *text = Now.Text($"words for {status}");
        return 0;
    }
}
