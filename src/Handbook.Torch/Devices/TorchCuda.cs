using Handbook.Base;
using Handbook.Torch.Native;

namespace Handbook.Torch.Devices;

/// <summary>What libtorch's caching allocator says of a GPU's memory, in bytes.</summary>
/// <param name="Used">In tensors now.</param>
/// <param name="PeakUsed">In tensors at most.</param>
/// <param name="Held">Taken from the card now: in tensors, or kept for the next ones.</param>
/// <param name="PeakHeld">Taken from the card at most.</param>
/// <param name="Retries">Allocations for which kept memory was given back first; each waits for the card.</param>
/// <param name="Refusals">Allocations that failed.</param>
internal readonly record struct DeviceMemory(long Used, long PeakUsed, long Held, long PeakHeld, long Retries, long Refusals);

/// <summary>libtorch's side of the GPUs: how many it sees, which one a thread uses, its streams, its memory.</summary>
internal static unsafe class TorchCuda
{
    /// <summary>libtorch's setting of its allocator for GPUs.</summary>
    private const string AllocatorVariable = "PYTORCH_CUDA_ALLOC_CONF";

    /// <summary>cuBLAS's own: sums of one order need work space of one size.</summary>
    private const string WorkspaceVariable = "CUBLAS_WORKSPACE_CONFIG";

    /// <summary>What this libtorch lacks to use a GPU; null where nothing.</summary>
    public static string? Missing
    {
        get
        {
            TorchRuntime.Load();
            return Shim.CudaMissing();
        }
    }

    /// <summary>GPUs that libtorch sees; 0 where it or the driver has none.</summary>
    public static int Count
    {
        get
        {
            TorchRuntime.Load();
            return Shim.DeviceCount(Device.Cuda(0).Kind);
        }
    }

    /// <exception cref="InputException">This libtorch cannot use a GPU, or sees none; says why.</exception>
    public static void Require()
    {
        if (Missing is { } missing)
        {
            var parts = missing.Split("\n  fix: ");
            throw new InputException($"a GPU cannot be used: {parts[0]}", fix: parts.Length > 1 ? parts[1] : null);
        }
        if (Count == 0)
            throw new InputException("a GPU cannot be used: libtorch was built for CUDA, but sees no GPU",
                fix: "nvidia-smi -L lists them; CUDA_VISIBLE_DEVICES may hide some; `handbook info` shows what was found");
    }

    /// <summary>The GPU that the calling thread uses.</summary>
    public static int Current
    {
        get
        {
            int index;
            TorchRuntime.Load();
            Shim.Check(Shim.DeviceGet(Device.Cuda(0).Kind, &index));
            return index;
        }
        set
        {
            TorchRuntime.Load();
            Shim.Check(Shim.DeviceSet(Device.Cuda(0).Kind, value));
        }
    }

    /// <summary>The driver's handle of the stream that operators of the calling thread use: kernels that read what these write go there.
    /// </summary>
    public static nint Stream(Device device)
    {
        nint stream;
        TorchRuntime.Load();
        Shim.Check(Shim.CudaStream(device.Index, &stream));
        return stream;
    }

    /// <summary>Waits until a device has done what it was given.</summary>
    public static void Synchronize(Device device)
    {
        if (device.IsCpu)
            return;
        TorchRuntime.Load();
        Shim.Check(Shim.DeviceSynchronize(device.Kind, device.Index));
    }

    /// <summary>Memory of a GPU as libtorch's allocator counts it.</summary>
    public static DeviceMemory Memory(Device device)
    {
        var values = stackalloc long[6];
        TorchRuntime.Load();
        Shim.Check(Shim.CudaMemory(device.Index, values));
        return new(values[0], values[1], values[2], values[3], values[4], values[5]);
    }

    /// <summary>Rules for all operators from here on, see <see cref="ComputeDevice.Prepare"/>.</summary>
    public static void SetRules(bool tf32, bool deterministic)
    {
        TorchRuntime.Load();
        if (deterministic)
            _ = Shim.SetEnvironment(WorkspaceVariable, ":4096:8", 0);       // before the first product
        Shim.Check(Shim.CudaRules(tf32 ? 1 : 0, deterministic ? 1 : 0));
    }

    /// <summary>Begins new peaks of <see cref="Memory"/> at what is in use now.</summary>
    public static void ResetPeak(Device device)
    {
        TorchRuntime.Load();
        Shim.Check(Shim.CudaResetPeak(device.Index));
    }

    /// <summary>Gives memory that no tensor uses back to the cards.</summary>
    public static void Trim()
    {
        TorchRuntime.Load();
        Shim.Check(Shim.CudaTrim());
    }

    /// <summary>The allocator's settings to start with: segments that grow in place, so that lengths which change from step to step do not
    /// cut the memory to pieces. Null where they stay as they are: somebody has set them, or this libtorch is too old.</summary>
    /// <param name="set">What the variable has; null where it is unset.</param>
    /// <param name="version">libtorch's version.</param>
    internal static (string Variable, string Value)? AllocatorSettings(string? set, string version)
    {
        var parts = version.Split('.');
        var known = parts.Length >= 2 && int.TryParse(parts[0], out var major) && int.TryParse(parts[1], out var minor)
            && (major, minor).CompareTo((2, 1)) >= 0;
        return known && string.IsNullOrEmpty(set) ? (AllocatorVariable, "expandable_segments:True") : null;
    }

    /// <summary>Makes those settings; before the first tensor on a GPU.</summary>
    internal static void SetAllocator()
    {
        if (Shim.CudaMissing() is null
            && AllocatorSettings(Environment.GetEnvironmentVariable(AllocatorVariable), Shim.Version) is var (variable, value))
            _ = Shim.SetEnvironment(variable, value, 1);
    }
}
