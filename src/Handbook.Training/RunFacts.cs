using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Handbook.Base.Files;
using Handbook.Torch;

namespace Handbook.Training;

/// <summary>Something of the program or the machine that <c>run.json</c> keeps.</summary>
/// <param name="Group">The entry that it stands in.</param>
/// <param name="Name">Its name there.</param>
/// <param name="Value">What it is now.</param>
/// <param name="Decides">Whether it decides the bits that come out.</param>
internal sealed record RunFact(string Group, string Name, object? Value, bool Decides = true)
{
    /// <summary>Whether it is of the program, not of the machine.</summary>
    public bool IsProgram => Group == RunFacts.Versions;
}

/// <summary>Program and machine as <c>run.json</c> names them: a run writes these, and whoever verifies it compares them.</summary>
internal static class RunFacts
{
    /// <summary>Versions of the program and of what computes.</summary>
    public const string Versions = "versions";

    /// <summary>The choices made for this machine and this run.</summary>
    public const string Engine = "engine";

    /// <summary>The machine.</summary>
    public const string Hardware = "hardware";

    /// <summary>The name of a process's threads.</summary>
    public const string Threads = "threads";

    private static readonly string[] s_parts = ["Handbook", "Handbook.Base", "Handbook.Data", "Handbook.Models", "Handbook.Text", "Handbook.Torch",
        "Handbook.Training"];

    /// <summary>The entries that facts stand in.</summary>
    public static IReadOnlyList<string> Groups { get; } = [Versions, Engine, Hardware];

    /// <summary>All of them, as they are in this process.</summary>
    public static IReadOnlyList<RunFact> Now() =>
    [
        new(Versions, "libtorch", TorchRuntime.Version),
        new(Versions, "build", Build),
        new(Versions, "handbook", RunInfo.Version),
        new(Versions, "commit", RunInfo.Commit),
        new(Versions, "dotnet", Environment.Version.ToString()),
        new(Versions, "os", RuntimeInformation.OSDescription, Decides: false),
        new(Engine, "description", TorchRuntime.Description, Decides: false),
        new(Engine, "path", Handbook.Torch.Processor.Path.ToString()),
        new(Engine, Threads, TorchRuntime.Threads),
        new(Hardware, "host", Environment.MachineName, Decides: false),
        new(Hardware, "cpu", Processor()),
        new(Hardware, "cores", Environment.ProcessorCount, Decides: false),
        new(Hardware, "avx512", Avx512F.IsSupported, Decides: false),
        new(Hardware, "memory_bytes", GC.GetGCMemoryInfo().TotalAvailableMemoryBytes, Decides: false),
    ];

    /// <summary>Tells builds of the program apart that have one version: a hash over what the compiler names each of its parts by, which is
    /// made of their sources.</summary>
    private static string Build { get; } = FileHashes.OfBytes([.. AppDomain.CurrentDomain.GetAssemblies()
        .Where(part => part.GetName().Name is { } name && s_parts.Contains(name)).OrderBy(part => part.GetName().Name, StringComparer.Ordinal)
        .SelectMany(part => part.ManifestModule.ModuleVersionId.ToByteArray())])[..16];

    /// <summary>The processor's name.</summary>
    private static string Processor()
    {
        try
        {
            var line = File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal));
            if (line is not null)
                return line[(line.IndexOf(':') + 1)..].Trim();
        }
        catch (IOException)
        {
            // no /proc here: the architecture must do
        }
        return RuntimeInformation.ProcessArchitecture.ToString();
    }
}
