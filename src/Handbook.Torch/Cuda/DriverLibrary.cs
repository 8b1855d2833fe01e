using System.Runtime.InteropServices;

namespace Handbook.Torch.Cuda;

/// <summary>The functions of NVIDIA's driver, <c>libcuda</c>, that are called here; each returns 0 where all went well.</summary>
/// <remarks>They are looked up by name, so a test may stand in for the driver with functions of its own.</remarks>
internal sealed unsafe class DriverLibrary
{
    /// <summary>Environment variable with its file or folder.</summary>
    public const string Variable = "HANDBOOK_LIBCUDA";

    public readonly delegate* unmanaged<uint, int> Init;
    public readonly delegate* unmanaged<int*, int> DriverGetVersion;
    public readonly delegate* unmanaged<int*, int> DeviceGetCount;
    public readonly delegate* unmanaged<int*, int, int> DeviceGet;
    public readonly delegate* unmanaged<byte*, int, int, int> DeviceGetName;
    public readonly delegate* unmanaged<nuint*, int, int> DeviceTotalMem;
    public readonly delegate* unmanaged<int*, int, int, int> DeviceGetAttribute;
    public readonly delegate* unmanaged<nint*, int, int> PrimaryContextRetain;
    public readonly delegate* unmanaged<int, int> PrimaryContextRelease;
    public readonly delegate* unmanaged<nint, int> ContextSetCurrent;
    public readonly delegate* unmanaged<nuint*, nuint*, int> MemoryGetInfo;
    public readonly delegate* unmanaged<ulong*, nuint, int> MemoryAllocate;
    public readonly delegate* unmanaged<ulong, int> MemoryFree;
    public readonly delegate* unmanaged<void**, nuint, uint, int> HostAllocate;
    public readonly delegate* unmanaged<void*, int> HostFree;
    public readonly delegate* unmanaged<ulong, void*, nuint, nint, int> CopyToDevice;
    public readonly delegate* unmanaged<void*, ulong, nuint, nint, int> CopyToHost;
    public readonly delegate* unmanaged<ulong, byte, nuint, nint, int> Fill;
    public readonly delegate* unmanaged<nint*, void*, uint, int*, void**, int> ModuleLoad;
    public readonly delegate* unmanaged<nint, int> ModuleUnload;
    public readonly delegate* unmanaged<nint*, nint, byte*, int> ModuleGetFunction;
    public readonly delegate* unmanaged<nint, int, int, int> FunctionSetAttribute;
    public readonly delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int> LaunchKernel;
    public readonly delegate* unmanaged<nint*, uint, int> StreamCreate;
    public readonly delegate* unmanaged<nint, int> StreamDestroy;
    public readonly delegate* unmanaged<nint, int> StreamSynchronize;
    public readonly delegate* unmanaged<nint, nint, uint, int> StreamWaitEvent;
    public readonly delegate* unmanaged<nint*, uint, int> EventCreate;
    public readonly delegate* unmanaged<nint, int> EventDestroy;
    public readonly delegate* unmanaged<nint, nint, int> EventRecord;
    public readonly delegate* unmanaged<nint, int> EventSynchronize;
    public readonly delegate* unmanaged<float*, nint, nint, int> EventElapsedTime;
    private readonly delegate* unmanaged<int, byte**, int> _errorName;
    private readonly delegate* unmanaged<int, byte**, int> _errorText;

    /// <param name="export">The address of a function by its name; throws where there is none.</param>
    public DriverLibrary(Func<string, nint> export)
    {
        Init = (delegate* unmanaged<uint, int>)export("cuInit");
        DriverGetVersion = (delegate* unmanaged<int*, int>)export("cuDriverGetVersion");
        DeviceGetCount = (delegate* unmanaged<int*, int>)export("cuDeviceGetCount");
        DeviceGet = (delegate* unmanaged<int*, int, int>)export("cuDeviceGet");
        DeviceGetName = (delegate* unmanaged<byte*, int, int, int>)export("cuDeviceGetName");
        DeviceTotalMem = (delegate* unmanaged<nuint*, int, int>)export("cuDeviceTotalMem_v2");
        DeviceGetAttribute = (delegate* unmanaged<int*, int, int, int>)export("cuDeviceGetAttribute");
        PrimaryContextRetain = (delegate* unmanaged<nint*, int, int>)export("cuDevicePrimaryCtxRetain");
        PrimaryContextRelease = (delegate* unmanaged<int, int>)export("cuDevicePrimaryCtxRelease_v2");
        ContextSetCurrent = (delegate* unmanaged<nint, int>)export("cuCtxSetCurrent");
        MemoryGetInfo = (delegate* unmanaged<nuint*, nuint*, int>)export("cuMemGetInfo_v2");
        MemoryAllocate = (delegate* unmanaged<ulong*, nuint, int>)export("cuMemAlloc_v2");
        MemoryFree = (delegate* unmanaged<ulong, int>)export("cuMemFree_v2");
        HostAllocate = (delegate* unmanaged<void**, nuint, uint, int>)export("cuMemHostAlloc");
        HostFree = (delegate* unmanaged<void*, int>)export("cuMemFreeHost");
        CopyToDevice = (delegate* unmanaged<ulong, void*, nuint, nint, int>)export("cuMemcpyHtoDAsync_v2");
        CopyToHost = (delegate* unmanaged<void*, ulong, nuint, nint, int>)export("cuMemcpyDtoHAsync_v2");
        Fill = (delegate* unmanaged<ulong, byte, nuint, nint, int>)export("cuMemsetD8Async");
        ModuleLoad = (delegate* unmanaged<nint*, void*, uint, int*, void**, int>)export("cuModuleLoadDataEx");
        ModuleUnload = (delegate* unmanaged<nint, int>)export("cuModuleUnload");
        ModuleGetFunction = (delegate* unmanaged<nint*, nint, byte*, int>)export("cuModuleGetFunction");
        FunctionSetAttribute = (delegate* unmanaged<nint, int, int, int>)export("cuFuncSetAttribute");
        LaunchKernel = (delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int>)
            export("cuLaunchKernel");
        StreamCreate = (delegate* unmanaged<nint*, uint, int>)export("cuStreamCreate");
        StreamDestroy = (delegate* unmanaged<nint, int>)export("cuStreamDestroy_v2");
        StreamSynchronize = (delegate* unmanaged<nint, int>)export("cuStreamSynchronize");
        StreamWaitEvent = (delegate* unmanaged<nint, nint, uint, int>)export("cuStreamWaitEvent");
        EventCreate = (delegate* unmanaged<nint*, uint, int>)export("cuEventCreate");
        EventDestroy = (delegate* unmanaged<nint, int>)export("cuEventDestroy_v2");
        EventRecord = (delegate* unmanaged<nint, nint, int>)export("cuEventRecord");
        EventSynchronize = (delegate* unmanaged<nint, int>)export("cuEventSynchronize");
        EventElapsedTime = (delegate* unmanaged<float*, nint, nint, int>)export("cuEventElapsedTime");
        _errorName = (delegate* unmanaged<int, byte**, int>)export("cuGetErrorName");
        _errorText = (delegate* unmanaged<int, byte**, int>)export("cuGetErrorString");
    }

    /// <summary>Finds the driver: <see cref="Variable"/>, else what the system's loader has.</summary>
    /// <param name="environment">Environment variables by name.</param>
    /// <param name="problem">What was tried, where it is nowhere.</param>
    public static DriverLibrary? Find(Func<string, string?> environment, out string problem)
    {
        var found = FoundLibrary.Find(["libcuda.so.1"], (Variable, environment(Variable)), [], null, out problem);
        return found is null ? null : new(found.Export);
    }

    /// <summary>Throws what a call reported.</summary>
    /// <param name="what">The call with what it was given.</param>
    public void Check(int status, string what)
    {
        if (status != 0)
            throw new CudaException($"{what}: {Describe(status)}{Advice(status)}", status);
    }

    /// <summary>An error by its name and in words.</summary>
    public string Describe(int status)
    {
        byte* name, text;
        if (_errorName(status, &name) != 0 || _errorText(status, &text) != 0)
            return $"error {status}";
        return $"{Marshal.PtrToStringUTF8((nint)name)} ({status}), {Marshal.PtrToStringUTF8((nint)text)}";
    }

    // Errors of a kernel come with a later call, and end the process's use of the card.
    private static string Advice(int status) => status is >= 700 and < 720
        ? "\n  why: a kernel that was launched before failed; nothing more can be computed on this card by this process"
            + "\n  fix: run it again with CUDA_LAUNCH_BLOCKING=1, which reports a failure at its own launch"
        : "";
}
