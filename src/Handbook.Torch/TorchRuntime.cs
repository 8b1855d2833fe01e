using System.Reflection;
using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;
using Handbook.Torch.Native;

namespace Handbook.Torch;

/// <summary>Loads libtorch once, after the environment that its maths libraries read at load time has been set.</summary>
public static unsafe class TorchRuntime
{
    private static readonly Lock Gate = new();
    private static bool _loaded;

    /// <summary>Version of the libtorch that the shim was built with.</summary>
    public static string Version
    {
        get
        {
            Load();
            return Shim.Version;
        }
    }

    /// <summary>What was chosen for this process, in one line for the start of a run.</summary>
    public static string Description { get; private set; } = "";

    /// <summary>Things the user should know about the installation, e.g. a BLAS whose threads fight with OpenMP;
    /// empty where all is well.</summary>
    public static IReadOnlyList<string> Warnings { get; private set; } = [];

    /// <summary>Threads of libtorch and of our kernels together.</summary>
    public static int Threads
    {
        get
        {
            Load();
            return Shim.Threads();
        }
        set
        {
            Load();
            Shim.Check(Shim.SetThreads(value));
            ThreadTeam.Threads = value;
        }
    }

    /// <summary>Loads the native libraries; later calls return at once.</summary>
    /// <exception cref="TorchException">The shim is not built or libtorch is not installed.</exception>
    public static void Load()
    {
        if (Volatile.Read(ref _loaded))
            return;
        lock (Gate)
        {
            if (_loaded)
                return;
            var core = ChooseEnvironment();
            NativeLibrary.SetDllImportResolver(typeof(TorchRuntime).Assembly, Resolve);
            PreferOpenMpBlas();
            Shim.Initialize();
            TorchCuda.SetAllocator();
            var library = NativeLibrary.Load(LibraryPath());
            ThreadTeam.NativeLoop = (delegate* unmanaged<int, delegate* unmanaged<void*, int, void>, void*,
                void>)NativeLibrary.GetExport(library, "hb_parallel");
            if (Processor.Path == ProcessorPath.BFloat16)
            {
                RowProducts.Native = (delegate* unmanaged<RowProducts*, int, int, void>)Kernel(library, "hb_row_products");
                BlockProducts.Native = (delegate* unmanaged<ProductJob*, int, int, void>)Kernel(library, "hb_block_product");
            }
            var threads = Environment.GetEnvironmentVariable("OMP_NUM_THREADS") is { Length: > 0 } named
                && int.TryParse(named, out var asked) && asked > 0
                ? asked
                : Environment.ProcessorCount;
            Shim.Check(Shim.SetThreads(threads));
            ThreadTeam.Threads = threads;
            Describe(core, threads);
            Volatile.Write(ref _loaded, true);
        }
    }

    // a shim that was built earlier may have none
    private static nint Kernel(nint library, string name) =>
        NativeLibrary.TryGetExport(library, name, out var kernel) ? ((delegate* unmanaged<nint>)kernel)() : 0;

    /// <summary>Bytes of CPU tensors: in use, the peak since the last reset, and ever touched by the allocator.</summary>
    public static (long Used, long Peak, long Touched) Memory
    {
        get
        {
            Load();
            long used, peak, touched;
            Shim.Memory(&used, &peak, &touched);
            return (used, peak, touched);
        }
    }

    /// <summary>Begins a new peak of <see cref="Memory"/> at what is in use now.</summary>
    public static void ResetPeakMemory() => Shim.ResetPeak();

    /// <summary>Gives the pages of freed tensors back to the system.</summary>
    public static void TrimMemory()
    {
        Load();
        Shim.Trim();
    }

    // OpenBLAS picks AVX2 kernels on processors newer than itself, at half the speed; libgomp's idle threads must not spin
    // for long while the loader's threads want their core. All is read when the libraries are loaded, so it is set before.
    private static string ChooseEnvironment()
    {
        var path = Processor.Path;
        var core = Environment.GetEnvironmentVariable("OPENBLAS_CORETYPE") ?? "";
        if (Processor.Forced is not null)
        {
            var wide = path >= ProcessorPath.Avx512;
            core = wide ? "SkylakeX" : "Haswell";
            Set("OPENBLAS_CORETYPE", core);
            Set("ATEN_CPU_CAPABILITY", wide ? "avx512" : "avx2");
            Set("MKL_ENABLE_INSTRUCTIONS", wide ? "AVX512" : "AVX2");
            if (path < ProcessorPath.BFloat16)
                Set("ONEDNN_MAX_CPU_ISA", wide ? "AVX512_CORE" : "AVX2");
        }
        else if (core.Length == 0 && path >= ProcessorPath.Avx512)
        {
            core = "SkylakeX";
            Set("OPENBLAS_CORETYPE", core);
        }
        // Idle OpenMP threads spin before they sleep; libgomp's default of milliseconds starves the loader's threads and every other
        // process. Ten times as long was measured to gain sampling a sixth on an idle machine, and to cost it two thirds on a busy one.
        if (Environment.GetEnvironmentVariable("OMP_WAIT_POLICY") is null && Environment.GetEnvironmentVariable("GOMP_SPINCOUNT") is null)
            Set("GOMP_SPINCOUNT", "10000");
        // For this process alone: those that it starts have shares of their own.
        if (string.IsNullOrEmpty(Environment.GetEnvironmentVariable("OMP_NUM_THREADS")))
            _ = Shim.SetEnvironment("OMP_NUM_THREADS", Environment.ProcessorCount.ToString(), 1);
        return core;

        static void Set(string name, string value)
        {
            _ = Shim.SetEnvironment(name, value, 1);      // the C library's environment, which native libraries read
            Environment.SetEnvironmentVariable(name, value);
        }
    }

    // Where both flavours of OpenBLAS are installed the system may prefer the one with its own threads; a library that is
    // already loaded under the same name wins.
    private static void PreferOpenMpBlas()
    {
        if (!string.IsNullOrEmpty(Environment.GetEnvironmentVariable("LIBTORCH")))
            return;
        foreach (var folder in (string[])["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"])
        {
            foreach (var file in (string[])["libopenblas.so.0", "libblas.so.3"])
            {
                var path = Path.Combine(folder, "openblas-openmp", file);
                if (File.Exists(path))
                    NativeLibrary.TryLoad(path, out _);
            }
        }
    }

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? search) =>
        name == Shim.Library ? NativeLibrary.Load(LibraryPath()) : 0;

    /// <summary>The shim's file: <c>HANDBOOK_NATIVE</c>, beside the program or in its package, or
    /// <c>build/native</c> of the repository.</summary>
    private static string LibraryPath()
    {
        const string File = "libhandbook_torch.so";
        var named = Environment.GetEnvironmentVariable("HANDBOOK_NATIVE");
        if (!string.IsNullOrEmpty(named))
            return Directory.Exists(named) ? Path.Combine(named, File) : named;
        // Where the host found the native files of the program's packages.
        foreach (var folder in (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries))
            if (System.IO.File.Exists(Path.Combine(folder, File)))
                return Path.Combine(folder, File);
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            foreach (var candidate in (string[])[Path.Combine(folder.FullName, File),
                Path.Combine(folder.FullName, "build", "native", File)])
                if (System.IO.File.Exists(candidate))
                    return candidate;
        }
        throw new InputException($"{File} was not found beside {AppContext.BaseDirectory} or in build/native above it",
            why: "it is the part of the program that computes", fix: "run `make build`, or set HANDBOOK_NATIVE to its folder");
    }

    private static void Describe(string core, int threads)
    {
        var warnings = new List<string>();
        var blas = "built-in";
        try
        {
            var maps = File.ReadAllText("/proc/self/maps");
            if (maps.Contains("openblas-openmp", StringComparison.Ordinal))
                blas = "OpenBLAS (OpenMP)";
            else if (maps.Contains("libmkl", StringComparison.Ordinal))
                blas = "MKL";
            else if (maps.Contains("openblas-pthread", StringComparison.Ordinal))
            {
                blas = "OpenBLAS (own threads)";
                warnings.Add("the OpenBLAS with its own threads is loaded; training in float32 is 4 to 7 times slower, because two thread "
                    + "pools share the cores. Install libopenblas0-openmp.");
            }
            else if (maps.Contains("libblas.so", StringComparison.Ordinal))
            {
                blas = "reference BLAS";
                warnings.Add("the reference BLAS is loaded; install libopenblas0-openmp for matrix products that are many times faster.");
            }
        }
        catch (IOException)
        {
            blas = "unknown BLAS";     // no /proc: nothing can be said
        }
        Warnings = warnings;
        Description = $"libtorch {Shim.Version}, {blas}{(core.Length > 0 ? $" {core}" : "")}, {threads} threads, {Processor.Description}";
    }
}
