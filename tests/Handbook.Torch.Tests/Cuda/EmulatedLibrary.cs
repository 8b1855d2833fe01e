using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Handbook.Testing;
using Handbook.Torch.Cuda;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>Kernels compiled for the CPU by g++, with <c>emulator.h</c> before their text.</summary>
/// <remarks>One library runs one kernel at a time. What was compiled is kept in the build folder, by the hash of its text.</remarks>
internal sealed unsafe class EmulatedLibrary
{
    private static readonly string[] s_options = ["-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique",
        "-ffp-contract=off", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-Wall", "-Wno-unknown-pragmas", "-Wno-unused-function",
        "-Wno-unused-variable"];

    private static readonly Lazy<string?> s_noCompiler = new(WhyNoCompiler);

    private readonly Lock _gate = new();
    private readonly nint _library;
    private readonly delegate* unmanaged<byte*> _error, _passed;
    private readonly delegate* unmanaged<byte*, void> _leaveOut;

    /// <param name="programs">Name, text and kernels of each.</param>
    public EmulatedLibrary(string name, IEnumerable<(string Name, string Text, IReadOnlyDictionary<string, CudaParameter[]> Kernels)> programs)
    {
        var text = new StringBuilder(Resource("emulator.h"));
        foreach (var (program, own, kernels) in programs)
        {
            text.Append($"\nnamespace in_{program} {{\n{own.Replace("extern \"C\" __global__", "static", StringComparison.Ordinal)}\n}}\n");
            foreach (var (kernel, parameters) in kernels)
                text.Append($"extern \"C\" __attribute__((visibility(\"default\"))) int launch_{kernel}(const unsigned* shape, long long first, "
                    + "long long blocks, unsigned long long seed, void** a) {\n  return emulator::launch(shape, first, blocks, seed, [&] { "
                    + $"in_{program}::{kernel}({string.Join(", ", parameters.Select((p, i) => $"*({CppName(p.Type, program)}*)a[{i}]"))}); }});\n}}\n");
        }
        _library = NativeLibrary.Load(Compile(name, text.ToString()));
        _error = (delegate* unmanaged<byte*>)NativeLibrary.GetExport(_library, "emulator_error");
        _passed = (delegate* unmanaged<byte*>)NativeLibrary.GetExport(_library, "emulator_passed");
        _leaveOut = (delegate* unmanaged<byte*, void>)NativeLibrary.GetExport(_library, "emulator_leave_out");
    }

    /// <summary>Skips the calling test where kernels cannot be compiled for the CPU.</summary>
    public static void Need() => Assert.SkipUnless(s_noCompiler.Value is null, s_noCompiler.Value ?? "");

    /// <summary>Runs a launch, or some blocks of it; every seed has another order of threads.</summary>
    /// <param name="shape">Blocks along x, y and z, threads of a block, bytes of its shared memory.</param>
    /// <param name="arguments">An address for each argument.</param>
    /// <param name="blocks">−1 for all.</param>
    public void Run(string kernel, ReadOnlySpan<uint> shape, nint arguments, ulong seed, long first = 0, long blocks = -1)
    {
        var launch = (delegate* unmanaged<uint*, long, long, ulong, nint, int>)NativeLibrary.GetExport(_library, "launch_" + kernel);
        lock (_gate)
            fixed (uint* sizes = shape)
                if (launch(sizes, first, blocks, seed, arguments) != 0)
                    throw new InvalidOperationException($"{kernel}: {Marshal.PtrToStringUTF8((nint)_error())}");
    }

    /// <summary>Where the barriers stand that were passed since the last call, as file:line.</summary>
    public string[] Passed() =>
        Marshal.PtrToStringUTF8((nint)_passed())!.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Leaves out one barrier, as if it had been removed from the text; null: none.</summary>
    public void LeaveOut(string? barrier)
    {
        fixed (byte* name = barrier is null ? null : Encoding.UTF8.GetBytes(barrier + "\0"))
            _leaveOut(name);
    }

    private static string CppName(CudaType type, string program) => (type.Scalar switch
    {
        CudaScalar.Float32 => "float",
        CudaScalar.Float64 => "double",
        CudaScalar.Int32 => "int",
        CudaScalar.BFloat16 => $"in_{program}::bf16",
        CudaScalar.Float16 => $"in_{program}::f16",
        CudaScalar.Int8 => "signed char",
        CudaScalar.UInt8 => "unsigned char",
        CudaScalar.Int64 => "long long",
        CudaScalar.UInt64 => "unsigned long long",
        _ => throw new NotSupportedException(type.ToString()),
    }) + (type.IsPointer ? "*" : "");

    private static string Compile(string name, string text)
    {
        var hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join(' ', s_options) + text)))[..16];
        var folder = Directory.CreateDirectory(Path.Combine(SharedFiles.Repository, "build", "emulator")).FullName;
        var (library, source) = (Path.Combine(folder, $"{name}-{hash}.so"), Path.Combine(folder, $"{name}-{hash}.cpp"));
        if (File.Exists(library))
            return library;
        foreach (var old in Directory.EnumerateFiles(folder, $"{name}-*"))
            File.Delete(old);
        File.WriteAllText(source, text);
        var made = library + ".made";
        using var compiler = Process.Start(new ProcessStartInfo("g++", [.. s_options, source, "-o", made]) { RedirectStandardError = true })!;
        var said = compiler.StandardError.ReadToEnd();
        compiler.WaitForExit();
        Assert.True(compiler.ExitCode == 0 && said.Length == 0, $"g++ on {source}:\n{said[..Math.Min(said.Length, 4000)]}");
        File.Move(made, library, overwrite: true);
        return library;
    }

    private static string Resource(string name)
    {
        using var reader = new StreamReader(typeof(EmulatedLibrary).Assembly.GetManifestResourceStream($"Handbook.Torch.Tests.Cuda.{name}")!);
        return reader.ReadToEnd();
    }

    private static string? WhyNoCompiler()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
            return "kernels are compiled for the CPU on Linux with x64 alone";
        try
        {
            using var compiler = Process.Start(new ProcessStartInfo("g++", ["--version"]) { RedirectStandardOutput = true })!;
            compiler.StandardOutput.ReadToEnd();
            return null;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return "no g++, which compiles kernels for the CPU: tools/setup.sh installs it";
        }
    }
}
