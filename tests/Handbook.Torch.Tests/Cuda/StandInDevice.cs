using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Handbook.Testing;
using Handbook.Torch.Cuda;
using Handbook.Torch.Devices;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>A device that libtorch keeps apart from the CPU as it does a GPU, and whose kernels are those of GPUs, run by the emulator: on it
/// everything goes the way that it goes on a card, but for the time and what only a card can show.</summary>
/// <remarks>Its library is built beside the shim, of <c>native/stand_in_device.cpp</c>.</remarks>
internal static unsafe class StandInDevice
{
    private static readonly string s_path = Path.Combine(SharedFiles.Repository, "build", "native", "libhandbook_stand_in.so");

    private static readonly Lazy<(Device Device, nint Library)> s_loaded = new(() =>
    {
        TorchRuntime.Load();
        var library = NativeLibrary.Load(s_path);
        var device = new Device(((delegate* unmanaged<int>)NativeLibrary.GetExport(library, "hb_stand_in_kind"))(), 0);
        DeviceKernels.Register(new CudaKernels(new Queue(), device, () => null));
        return (device, library);
    });

    /// <summary>Loads it before any test: libtorch counts the devices once, as it first goes backward.</summary>
    [ModuleInitializer]
    internal static void LoadFirst()
    {
        if (File.Exists(s_path))
            _ = s_loaded.Value;
    }

    private sealed class Queue : ICudaQueue
    {
        public void Launch(CudaLaunch launch, Device device)
        {
            Launched.Add(launch.Kernel);
            Emulated.Run(launch);
        }
    }

    /// <summary>Kernels in the order in which they were launched.</summary>
    public static List<string> Launched { get; } = [];

    /// <summary>How often the host has waited for values of the device.</summary>
    public static long Waits => ((delegate* unmanaged<long>)NativeLibrary.GetExport(s_loaded.Value.Library, "hb_stand_in_reads"))();

    /// <summary>The device; skips the calling test where it cannot be had.</summary>
    public static Device Need()
    {
        EmulatedLibrary.Need();
        Assert.SkipUnless(File.Exists(s_path), $"no {s_path}: tools/build-native.sh builds it");
        return s_loaded.Value.Device;
    }
}
