using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Handbook.Base;
using Handbook.Torch;
using Handbook.Torch.Devices;

namespace Handbook.Bench.Gpu;

/// <summary>The device of <c>native/stand_in_device.cpp</c>, with the CPU's kernels: what a rehearsal computes on where there is no GPU.</summary>
internal static unsafe class StandInDevice
{
    private static delegate* unmanaged<nint, nint> _onCpu;
    private static delegate* unmanaged<long, void> _limit;

    /// <summary>Makes it what a run finds.</summary>
    /// <exception cref="InputException">It was not built: newer releases of libtorch have another way for such devices.</exception>
    public static ComputeDevice Use()
    {
        TorchRuntime.Load();
        var path = Path.Combine(Repository.Root, "build", "native", "libhandbook_stand_in.so");
        if (!File.Exists(path))
            throw new InputException($"{path} is not there, the device that stands in for a GPU",
                why: "it is built with libtorch 1.13, beside the native library", fix: "make build with the system's libtorch of Debian 12");
        var library = NativeLibrary.Load(path);
        _onCpu = (delegate* unmanaged<nint, nint>)NativeLibrary.GetExport(library, "hb_stand_in_on_cpu");
        _limit = (delegate* unmanaged<long, void>)NativeLibrary.GetExport(library, "hb_stand_in_limit");
        Place = new(((delegate* unmanaged<int>)NativeLibrary.GetExport(library, "hb_stand_in_kind"))(), 0);
        DeviceKernels.Register(new StandInKernels());
        return ComputeDevice.StandIn = new(Place, "a stand-in", Proof: "only stood in for");
    }

    /// <summary>Where its tensors are.</summary>
    public static Device Place { get; private set; }

    /// <summary>Refuses tensors of more bytes, with the words of a full GPU; 0 for none.</summary>
    public static void Limit(long bytes) => _limit(bytes);

    /// <summary>The same elements as a tensor of the CPU.</summary>
    public static Tensor OnCpu(Tensor tensor) => Tensor.Own(_onCpu(tensor.Handle));

    /// <summary>The file of what stands in for NCCL; compiled with g++ once.</summary>
    /// <exception cref="InputException">There is no compiler.</exception>
    public static string Nccl()
    {
        var source = Path.Combine(Repository.Root, "bench", "Handbook.Bench", "Gpu", "stand_in_nccl.cpp");
        var hash = Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(source)))[..16];
        var folder = Directory.CreateDirectory(Path.Combine(Repository.Root, "build", "emulator")).FullName;
        var library = Path.Combine(folder, $"stand-in-nccl-{hash}.so");
        if (File.Exists(library))
            return library;
        var made = $"{library}.{Environment.ProcessId}";        // ranks come here at once
        using var compiler = Start(["-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", source, "-lrt", "-o", made]);
        var said = compiler.StandardError.ReadToEnd();
        compiler.WaitForExit();
        if (compiler.ExitCode != 0)
            throw new InputException($"g++ did not compile {source}: {said[..Math.Min(said.Length, 2000)]}");
        File.Move(made, library, overwrite: true);
        return library;
    }

    private static Process Start(string[] arguments)
    {
        try
        {
            return Process.Start(new ProcessStartInfo("g++", arguments) { RedirectStandardError = true })!;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            throw new InputException("no g++, which compiles what stands in for NCCL", fix: "tools/setup.sh installs it");
        }
    }
}
