using System.Text;
using System.Text.RegularExpressions;
using Handbook.Base;

namespace Handbook.Torch.Cuda;

/// <summary>Compiles the text of kernels for a card with NVIDIA's run-time compiler, which needs neither card nor driver; what was compiled
/// once comes from the disk.</summary>
internal sealed partial class Nvrtc
{
    private static readonly Lazy<(Nvrtc? Found, string Problem)> s_default = new(() =>
    {
        var library = NvrtcLibrary.Find(Environment.GetEnvironmentVariable, out var problem);
        return (library is null ? null : new Nvrtc(library, BinaryCache.Default), problem);
    });

    private readonly NvrtcLibrary _library;
    private readonly BinaryCache? _cache;

    /// <param name="cache">Where binaries are kept; null for nowhere.</param>
    public Nvrtc(NvrtcLibrary library, BinaryCache? cache) => (_library, _cache) = (library, cache);

    /// <summary>The compiler of this machine; null where there is none, for the reason in <see cref="Problem"/>.</summary>
    public static Nvrtc? Default => s_default.Value.Found;

    /// <summary>Where a compiler was looked for in vain; empty where there is one.</summary>
    public static string Problem => s_default.Value.Problem;

    /// <summary>Release of CUDA that the compiler belongs to.</summary>
    public Version Version => _library.Version;

    /// <summary>The file that was loaded.</summary>
    public string Path => _library.Path;

    /// <summary>Compute capabilities that it compiles for, times ten.</summary>
    public IReadOnlyList<int> Architectures => _library.Architectures;

    /// <summary>The compiler of this machine.</summary>
    /// <exception cref="InputException">There is none.</exception>
    public static Nvrtc Need() => Default ?? throw new InputException($"NVRTC, which compiles the kernels for a GPU, was not found: {Problem}",
        fix: $"install CUDA's libnvrtc (Debian: libnvrtc12 of non-free; Python's torch for CUDA brings it), or set {NvrtcLibrary.Variable} "
            + "to its file or folder");

    /// <summary>What to compile for, given a card.</summary>
    /// <param name="capability">Compute capability of the card, times ten.</param>
    /// <exception cref="InputException">The card is older than all that the compiler knows.</exception>
    public CudaArchitecture For(int capability) => CudaArchitecture.For(capability, Architectures)
        ?? throw new InputException($"NVRTC {Version} compiles for no card as old as compute capability {capability / 10}.{capability % 10}; "
            + $"its oldest is {Architectures.Min() / 10}.{Architectures.Min() % 10}", fix: "use an older CUDA, or a newer card");

    /// <summary>Compiles a source, or takes it from the disk where the same was compiled before.</summary>
    /// <exception cref="CudaException">The text is refused; the message has each error with file, line, kernel and the line's text.</exception>
    public CudaBinary Compile(CudaSource source, CudaArchitecture architecture)
    {
        var hash = source.Hash(architecture, $"NVRTC {Version}");
        if (_cache?.Read(hash) is var (kept, remarks))
            return new(source.Name, architecture, kept, remarks, WasCached: true);
        string[] options = [$"--gpu-architecture={architecture}", .. source.Options];
        var (image, log) = _library.Compile(source, options, architecture.IsVirtual);
        if (image is null)
            throw new CudaException(Explain(source, architecture, log));
        _cache?.Write(hash, image, log);
        return new(source.Name, architecture, image, log, WasCached: false);
    }

    private string Explain(CudaSource source, CudaArchitecture architecture, string log)
    {
        var message = new StringBuilder($"{source.Name} does not compile for {architecture} with NVRTC {Version}:");
        var any = false;
        foreach (var remark in Remark().Matches(log).Where(remark => remark.Groups["kind"].Value.EndsWith("error", StringComparison.Ordinal)))
        {
            any = true;
            var (file, line) = (remark.Groups["file"].Value, int.Parse(remark.Groups["line"].Value));
            var kernel = source.KernelAround(file, line) is { } name ? $" in kernel {name}" : "";
            message.Append($"\n  {file}:{line}{kernel}: {remark.Groups["text"].Value.TrimEnd()}");
            if (source.Line(file, line) is { } text)
                message.Append($"\n    {line} | {text.Trim()}");
        }
        if (!any)
            message.Append("\n  ").Append(log.Replace("\n", "\n  ", StringComparison.Ordinal));
        return message.ToString();
    }

    // rms_norm.cu(12): error: identifier "x" is undefined
    [GeneratedRegex(@"^(?<file>[^\n(]+)\((?<line>\d+)\): (?<kind>(catastrophic )?error|warning)( #[\w-]+)?: (?<text>[^\n]*)", RegexOptions.Multiline)]
    private static partial Regex Remark();
}
