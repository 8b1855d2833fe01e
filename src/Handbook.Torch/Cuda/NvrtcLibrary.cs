using System.Runtime.InteropServices;
using System.Text;
using Handbook.Base.Files;

namespace Handbook.Torch.Cuda;

/// <summary>The functions of NVIDIA's run-time compiler, <c>libnvrtc</c> of CUDA 12 or 13; each returns 0 where all went well.</summary>
internal sealed unsafe class NvrtcLibrary
{
    /// <summary>Environment variable with its file or folder.</summary>
    public const string Variable = "HANDBOOK_NVRTC";

    private static readonly string[] s_names = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

    private readonly delegate* unmanaged<nint*, byte*, byte*, int, byte**, byte**, int> _create;
    private readonly delegate* unmanaged<nint, int, byte**, int> _compile;
    private readonly delegate* unmanaged<nint*, int> _destroy;
    private readonly delegate* unmanaged<int, byte*> _error;
    private readonly FoundLibrary _library;

    private NvrtcLibrary(FoundLibrary library)
    {
        _library = library;
        _create = (delegate* unmanaged<nint*, byte*, byte*, int, byte**, byte**, int>)library.Export("nvrtcCreateProgram");
        _compile = (delegate* unmanaged<nint, int, byte**, int>)library.Export("nvrtcCompileProgram");
        _destroy = (delegate* unmanaged<nint*, int>)library.Export("nvrtcDestroyProgram");
        _error = (delegate* unmanaged<int, byte*>)library.Export("nvrtcGetErrorString");
        int major, minor, count;
        Check(((delegate* unmanaged<int*, int*, int>)library.Export("nvrtcVersion"))(&major, &minor), "nvrtcVersion");
        Version = new(major, minor);
        Check(((delegate* unmanaged<int*, int>)library.Export("nvrtcGetNumSupportedArchs"))(&count), "nvrtcGetNumSupportedArchs");
        var numbers = new int[count];
        fixed (int* first = numbers)
            Check(((delegate* unmanaged<int*, int>)library.Export("nvrtcGetSupportedArchs"))(first), "nvrtcGetSupportedArchs");
        Architectures = numbers;
    }

    /// <summary>Release of CUDA that it belongs to.</summary>
    public Version Version { get; }

    /// <summary>Compute capabilities that it compiles for, times ten.</summary>
    public IReadOnlyList<int> Architectures { get; }

    /// <summary>The file that was loaded.</summary>
    public string Path => _library.Path;

    /// <summary>Finds it: <see cref="Variable"/>, the libtorch in use, the cache folder that <c>make setup-cuda-check</c> fills, CUDA's own
    /// folder, the system's loader.</summary>
    /// <param name="environment">Environment variables by name.</param>
    /// <param name="problem">What was tried, where it is nowhere.</param>
    public static NvrtcLibrary? Find(Func<string, string?> environment, out string problem)
    {
        var folders = TorchFolders.Libraries(environment)
            .Append(System.IO.Path.Combine(FileHashes.DefaultFolder, "nvrtc"))
            .Append("/usr/local/cuda/lib64").Where(Directory.Exists);
        var found = FoundLibrary.Find(s_names, (Variable, environment(Variable)), folders, "libnvrtc-builtins", out problem);
        return found is null ? null : new(found);
    }

    /// <summary>Compiles a text.</summary>
    /// <param name="options">Everything beside the text, the architecture included.</param>
    /// <param name="wantsPtx">PTX rather than a cubin.</param>
    /// <returns>The image, null where the text is refused; and what the compiler had to say.</returns>
    public (byte[]? Image, string Log) Compile(CudaSource source, IReadOnlyList<string> options, bool wantsPtx)
    {
        string[] names = [.. source.Headers.Keys];
        using var text = new Strings([source.Text, source.Name]);
        using var headers = new Strings([.. names.Select(name => source.Headers[name])]);
        using var includes = new Strings(names);
        using var given = new Strings([.. options]);
        nint program;
        Check(_create(&program, text.All[0], text.All[1], names.Length, headers.All, includes.All), "nvrtcCreateProgram");
        try
        {
            var status = _compile(program, options.Count, given.All);
            var log = Encoding.UTF8.GetString(Bytes(program, "ProgramLog")).TrimEnd('\0', '\n');
            const int CompilationFailed = 6, InvalidOption = 5;
            if (status is CompilationFailed or InvalidOption)
                return (null, log.Length > 0 ? log : Describe(status));
            Check(status, "nvrtcCompileProgram");
            return (Bytes(program, wantsPtx ? "PTX" : "CUBIN"), log);
        }
        finally
        {
            _ = _destroy(&program);
        }
    }

    private byte[] Bytes(nint program, string what)
    {
        nuint size;
        Check(((delegate* unmanaged<nint, nuint*, int>)_library.Export($"nvrtcGet{what}Size"))(program, &size), $"nvrtcGet{what}Size");
        var bytes = new byte[checked((int)size)];
        fixed (byte* first = bytes)
            if (size > 0)
                Check(((delegate* unmanaged<nint, byte*, int>)_library.Export($"nvrtcGet{what}"))(program, first), $"nvrtcGet{what}");
        return bytes;
    }

    private void Check(int status, string call)
    {
        if (status != 0)
            throw new CudaException($"{call} of {Path} failed: {Describe(status)}");
    }

    private string Describe(int status) => $"{Marshal.PtrToStringUTF8((nint)_error(status))} ({status})";

    /// <summary>Texts as C has them, while a call lasts.</summary>
    private readonly struct Strings(string[] texts) : IDisposable
    {
        public readonly byte** All = Copy(texts);

        private static byte** Copy(string[] texts)
        {
            var all = (byte**)NativeMemory.AllocZeroed((nuint)texts.Length + 1, (nuint)sizeof(byte*));
            for (var i = 0; i < texts.Length; i++)
                all[i] = (byte*)Marshal.StringToCoTaskMemUTF8(texts[i]);
            return all;
        }

        public void Dispose()
        {
            for (var each = All; *each is not null; each++)
                Marshal.FreeCoTaskMem((nint)(*each));
            NativeMemory.Free(All);
        }
    }
}
