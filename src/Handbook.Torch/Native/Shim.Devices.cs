using System.Runtime.InteropServices;

namespace Handbook.Torch.Native;

/// <summary>The functions of native/device.cpp.</summary>
internal static unsafe partial class Shim
{
    [LibraryImport(Library, EntryPoint = "hb_cuda_missing")] private static partial byte* CudaMissingText();
    [LibraryImport(Library, EntryPoint = "hb_device_count")] public static partial int DeviceCount(int kind);
    [LibraryImport(Library, EntryPoint = "hb_device_get")] public static partial nint DeviceGet(int kind, int* index);
    [LibraryImport(Library, EntryPoint = "hb_device_set")] public static partial nint DeviceSet(int kind, int index);
    [LibraryImport(Library, EntryPoint = "hb_device_synchronize")] public static partial nint DeviceSynchronize(int kind, int index);
    [LibraryImport(Library, EntryPoint = "hb_cuda_stream")] public static partial nint CudaStream(int index, nint* stream);
    [LibraryImport(Library, EntryPoint = "hb_cuda_memory")] public static partial nint CudaMemory(int index, long* values);
    [LibraryImport(Library, EntryPoint = "hb_cuda_reset_peak")] public static partial nint CudaResetPeak(int index);
    [LibraryImport(Library, EntryPoint = "hb_cuda_rules")] public static partial nint CudaRules(int tf32, int deterministic);
    [LibraryImport(Library, EntryPoint = "hb_cuda_trim")] public static partial nint CudaTrim();

    /// <summary>What this build lacks to ask CUDA's streams and allocator; null where nothing.</summary>
    public static string? CudaMissing() => Marshal.PtrToStringUTF8((nint)CudaMissingText());
}
