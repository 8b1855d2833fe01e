using System.Runtime.InteropServices;
using Handbook.Base;

namespace Handbook.Torch.Cuda;

/// <summary>NVIDIA's driver, found at run time: the GPUs of this machine, and what is done on one.</summary>
internal sealed unsafe class CudaDriver
{
    private const int Major = 75, Minor = 76, Processors = 16, SharedPerBlock = 97;      // CU_DEVICE_ATTRIBUTE_…

    private static readonly Lazy<(CudaDriver? Found, string Problem)> s_default = new(() =>
    {
        try
        {
            return DriverLibrary.Find(Environment.GetEnvironmentVariable, out var problem) is { } library
                ? (new CudaDriver(library), "") : (null, problem);
        }
        catch (Exception error) when (error is CudaException or InputException)
        {
            return (null, error.Message);
        }
    });

    /// <summary>Starts the driver.</summary>
    /// <exception cref="CudaException">It has no GPU, or does not fit the kernel's module.</exception>
    public CudaDriver(DriverLibrary library)
    {
        Library = library;
        library.Check(library.Init(0), "cuInit");
        int version, count;
        library.Check(library.DriverGetVersion(&version), "cuDriverGetVersion");
        Version = new(version / 1000, version % 1000 / 10);
        library.Check(library.DeviceGetCount(&count), "cuDeviceGetCount");
        Cards = [.. Enumerable.Range(0, count).Select(Describe)];
    }

    /// <summary>The driver of this machine; null where there is none that works, for the reason in <see cref="Problem"/>.</summary>
    public static CudaDriver? Default => s_default.Value.Found;

    /// <summary>Why there is no driver; empty where there is one.</summary>
    public static string Problem => s_default.Value.Problem;

    /// <summary>The driver of this machine.</summary>
    /// <exception cref="InputException">There is none that works.</exception>
    public static CudaDriver Need() => Default ?? throw new InputException($"a GPU cannot be used: {Problem}",
        fix: $"install NVIDIA's driver, or set {DriverLibrary.Variable} to the file or folder of its libcuda");

    /// <summary>The newest CUDA that the driver serves.</summary>
    public Version Version { get; }

    /// <summary>The GPUs, by number.</summary>
    public IReadOnlyList<CudaCard> Cards { get; }

    public DriverLibrary Library { get; }

    /// <summary>Opens a GPU: the context that libtorch, too, uses in this process.</summary>
    /// <exception cref="InputException">There is none of that number.</exception>
    public CudaContext Open(int index) => index >= 0 && index < Cards.Count ? new(this, Cards[index], Handle(index))
        : throw new InputException($"there is no GPU {index}; the driver shows {Cards.Count}",
            fix: "nvidia-smi -L lists them; CUDA_VISIBLE_DEVICES may hide some");

    private CudaCard Describe(int index)
    {
        const int NameBytes = 256;
        var device = Handle(index);
        var name = stackalloc byte[NameBytes];
        Library.Check(Library.DeviceGetName(name, NameBytes, device), $"cuDeviceGetName of GPU {index}");
        nuint memory;
        Library.Check(Library.DeviceTotalMem(&memory, device), $"cuDeviceTotalMem of GPU {index}");
        return new(index, Marshal.PtrToStringUTF8((nint)name) ?? "", Attribute(Major) * 10 + Attribute(Minor), (long)memory,
            Attribute(Processors), Attribute(SharedPerBlock));

        int Attribute(int which)
        {
            int value;
            Library.Check(Library.DeviceGetAttribute(&value, which, device), $"cuDeviceGetAttribute {which} of GPU {index}");
            return value;
        }
    }

    private int Handle(int index)
    {
        int device;
        Library.Check(Library.DeviceGet(&device, index), $"cuDeviceGet of GPU {index}");
        return device;
    }
}
