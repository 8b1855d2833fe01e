using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Handbook.Base;
using Handbook.Torch.Native;

namespace Handbook.Torch;

/// <summary>The instructions that kernels and products are made of; each has what the one before has.</summary>
internal enum ProcessorPath
{
    /// <summary>What .NET and the libraries find on a processor that has none of the others.</summary>
    Portable,

    /// <summary>256-bit vectors with fused multiply-add; bfloat16 is widened.</summary>
    Avx2,

    /// <summary>512-bit vectors (the F, BW, DQ and VL parts of AVX-512); bfloat16 is widened.</summary>
    Avx512,

    /// <summary>AVX-512 that multiplies bfloat16 itself.</summary>
    BFloat16,
}

/// <summary>Which path this process takes: the best that the processor has, or the one that <c>HANDBOOK_CPU</c> names.</summary>
/// <remarks>
/// A forced path is that of a lesser processor in all layers: .NET's vectors, the BLAS, libtorch's own kernels and oneDNN. So each can be
/// tested, and its speed estimated, on a machine that has more.
/// </remarks>
internal static class Processor
{
    /// <summary>The environment variable that forces a path.</summary>
    public const string Variable = "HANDBOOK_CPU";

    /// <summary>How .NET is told, before it starts, to leave AVX-512 alone.</summary>
    internal const string DotnetVariable = "DOTNET_EnableAVX512";

    private static readonly (string Name, ProcessorPath Path)[] Names = [("avx2", ProcessorPath.Avx2), ("avx512", ProcessorPath.Avx512),
        ("bf16", ProcessorPath.BFloat16)];

    private static readonly Lazy<ProcessorPath> Chosen = new(Choose);

    private static readonly Lazy<bool> OwnBFloat16 = new(() => Path == ProcessorPath.BFloat16
        ? Forced is not null || IsFasterInBFloat16(Flags(), Vendor()) : Path == ProcessorPath.Portable && Flags().Contains("bf16"));

    private static readonly Lazy<bool> Tiles = new(() => Path == ProcessorPath.BFloat16 && Flags().Contains(AmxFlag));

    private const string AmxFlag = "amx_bf16";

    /// <summary>The best path that the processor has.</summary>
    public static ProcessorPath Best { get; } = Detect();

    /// <summary>The path that was asked for; null where none was.</summary>
    public static ProcessorPath? Forced => Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } asked
        ? Parse(asked, Best) : null;

    /// <summary>The path of this process.</summary>
    /// <exception cref="InputException"><c>HANDBOOK_CPU</c> names no path, or one that the processor or .NET does not take.</exception>
    public static ProcessorPath Path => Chosen.Value;

    /// <summary>The path in words, with what forced it.</summary>
    public static string Description => Path switch
    {
        ProcessorPath.BFloat16 => MultipliesBFloat16 ? "AVX-512 with bfloat16" : "AVX-512, bfloat16 widened to float32",
        ProcessorPath.Avx512 => "AVX-512",
        ProcessorPath.Avx2 => "AVX2",
        _ => System.Runtime.Intrinsics.Arm.AdvSimd.IsSupported ? "NEON" : "no vector unit known",
    } + (Forced is null ? "" : $" ({Variable}={Environment.GetEnvironmentVariable(Variable)})");

    /// <summary>Whether products of bfloat16 are the processor's own; else they are widened to float32. Where a path is forced that has
    /// them, they are.</summary>
    public static bool MultipliesBFloat16 => OwnBFloat16.Value;

    /// <summary>Why products of bfloat16 are widened to float32 here, as the beginning of a sentence.</summary>
    public static string WideningReason => Path == ProcessorPath.BFloat16
        ? "this processor multiplies bfloat16 in vectors at half of float32's speed, and has no tiles (AMX)"
        : "no bfloat16 instructions are used here";

    /// <summary>Whether bfloat16 is multiplied in tiles (AMX), by libtorch: many times as fast as in vectors.</summary>
    public static bool HasTiles => Tiles.Value;

    /// <summary>Whether a processor's own product of bfloat16 is faster than a widened one.</summary>
    /// <remarks>VDPBF16PS makes four operations of each element of a register, fused multiply-add in float32 two. AMD starts one a cycle of
    /// either (Zen 4: 419 and 210 GFLOP/s measured on two cores). Intel starts two of the second in a cycle, but one of the first in two
    /// (89 and 179 GFLOP/s measured on one core); there only tiles (AMX) are faster, which a virtual machine may lack.</remarks>
    internal static bool IsFasterInBFloat16(IReadOnlySet<string> flags, string vendor) => vendor != "GenuineIntel"
        || flags.Contains(AmxFlag);

    /// <summary>The path that a value of <c>HANDBOOK_CPU</c> names, on a processor whose best is <paramref name="best"/>.</summary>
    internal static ProcessorPath Parse(string asked, ProcessorPath best)
    {
        var index = Array.FindIndex(Names, known => known.Name == asked);
        if (index < 0)
            throw new InputException($"{Variable} is '{asked}', which is no path of a processor",
                fix: $"use {Choices(Names)}, or unset it for the best that the processor has");
        if (Names[index].Path <= best)
            return Names[index].Path;
        var has = Names.Where(known => known.Path <= best).ToArray();
        throw new InputException($"{Variable} is {asked}, but this processor lacks its instructions",
            fix: has.Length == 0 ? "unset it" : $"use {Choices(has)}, or unset it for the best that the processor has");
    }

    /// <summary>
    /// Where .NET chose its vectors otherwise than <c>HANDBOOK_CPU</c> asks, replaces the process by one that starts with the right ones;
    /// else returns. A program calls it first of all.
    /// </summary>
    public static void Apply()
    {
        if (Forced is not { } path || (path >= ProcessorPath.Avx512) == Avx512F.IsSupported)
            return;
        var set = Environment.GetEnvironmentVariable(DotnetVariable);
        if (path == ProcessorPath.Avx2 ? set == "0" : set is null)
            return;                                 // another setting decides; Path says so
        if (!OperatingSystem.IsLinux() || Environment.ProcessPath is not { } program)
            return;
        var arguments = File.ReadAllText("/proc/self/cmdline").Split('\0')[..^1];
        _ = path == ProcessorPath.Avx2 ? Shim.SetEnvironment(DotnetVariable, "0", 1) : Shim.UnsetEnvironment(DotnetVariable);
        _ = Shim.Execute(program, [.. arguments, null]);
        throw new InputException($"{program} could not be started again for {Variable}: error {Marshal.GetLastPInvokeError()}",
            fix: $"set {DotnetVariable}={(path == ProcessorPath.Avx2 ? "0" : "1")} beside it");
    }

    private static ProcessorPath Choose()
    {
        var forced = Forced;
        if (forced is null)
            return Best >= ProcessorPath.Avx512 && !Avx512F.IsSupported ? ProcessorPath.Avx2 : Best;
        if ((forced >= ProcessorPath.Avx512) != Avx512F.IsSupported || (forced >= ProcessorPath.Avx2 && !Avx2.IsSupported))
            throw forced == ProcessorPath.Avx2
                ? new InputException($"{Variable} is avx2, but .NET started with AVX-512", "it chooses its vectors once, when it starts",
                    $"set {DotnetVariable}=0 as well, before the program starts")
                : new InputException($"{Variable} is {Environment.GetEnvironmentVariable(Variable)}, but .NET started without the "
                    + "vectors it needs", "it chooses them once, when it starts",
                    $"unset {DotnetVariable} and other variables that take instructions from .NET");
        return forced.Value;
    }

    private static ProcessorPath Detect()
    {
        if (!OperatingSystem.IsLinux())
            return Avx512F.IsSupported && Avx512BW.IsSupported && Avx512DQ.IsSupported && Avx512F.VL.IsSupported ? ProcessorPath.Avx512
                : Avx2.IsSupported && Fma.IsSupported ? ProcessorPath.Avx2 : ProcessorPath.Portable;
        var flags = Flags();
        if (!flags.IsSupersetOf(["avx2", "fma"]))
            return ProcessorPath.Portable;
        if (!flags.IsSupersetOf(["avx512f", "avx512bw", "avx512dq", "avx512vl"]))
            return ProcessorPath.Avx2;
        return flags.Contains("avx512_bf16") ? ProcessorPath.BFloat16 : ProcessorPath.Avx512;
    }

    private static HashSet<string> Flags() => [.. (Line("flags") ?? Line("Features") ?? "").Split(' ',
        StringSplitOptions.RemoveEmptyEntries)];

    private static string Vendor() => Line("vendor_id") ?? "";

    /// <summary>What Linux says of the first processor; null where nothing is known.</summary>
    private static string? Line(string key)
    {
        try
        {
            return File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal)) is { } line
                ? line[(line.IndexOf(':') + 1)..].Trim() : null;
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static string Choices((string Name, ProcessorPath Path)[] names) =>
        names.Length == 1 ? names[0].Name : $"{string.Join(", ", names[..^1].Select(known => known.Name))} or {names[^1].Name}";
}
