using System.Text.RegularExpressions;

namespace Handbook.Torch.Cuda;

/// <summary>One text of kernels for one element type: what is compiled together.</summary>
/// <remarks>
/// The texts are resources of this assembly, <c>Cuda/*.cu</c>; <c>common.cuh</c> stands before each. T is the element type of what goes to
/// and comes from matrix products.
/// </remarks>
internal sealed partial class CudaProgram
{
    /// <summary>The name of what stands before each text.</summary>
    public const string Header = "common.cuh";

    private const string Prefix = "Handbook.Torch.Cuda.";

    // No product and sum becomes one operation but where the text says fmaf: so the values are those of the CPU's kernels wherever these are
    // exact.
    private static readonly string[] s_options = ["--std=c++17", "--fmad=false", "-lineinfo", $"--pre-include={Header}"];

    private static readonly Lazy<Dictionary<(string, CudaScalar), CudaProgram>> s_all = new(ReadAll);

    private CudaProgram(string name, CudaScalar element, string common, string own)
    {
        (Name, Element) = (name, element);
        Source = new($"{name}.cu", own)
        {
            Headers = new Dictionary<string, string> { [Header] = $"{common}\ntypedef {TypeName(element)} T;\n{OnceFor(element)}" },
            Options = s_options,
        };
        Kernels = ReadKernels(own, element);
    }

    /// <summary>Every text for every element type.</summary>
    public static IReadOnlyCollection<CudaProgram> All => s_all.Value.Values;

    /// <summary>Element types that there are programs for.</summary>
    public static IReadOnlyList<CudaScalar> Elements { get; } = [CudaScalar.Float32, CudaScalar.BFloat16, CudaScalar.Float16];

    /// <summary>The file's name without its ending.</summary>
    public string Name { get; }

    /// <summary>What T is.</summary>
    public CudaScalar Element { get; }

    /// <summary>What is compiled.</summary>
    public CudaSource Source { get; }

    /// <summary>The kernels of this text with their parameters, in its order.</summary>
    public IReadOnlyDictionary<string, CudaParameter[]> Kernels { get; }

    /// <summary>The program of a name for elements of <typeparamref name="T"/>.</summary>
    public static CudaProgram Of<T>(string name) where T : unmanaged =>
        s_all.Value.TryGetValue((name, CudaType.ScalarOf<T>()), out var program) ? program
            : throw new NotSupportedException($"no kernels '{name}' for {typeof(T).Name}; there are those for float32, bfloat16 and float16");

    /// <summary>The element type in the text of kernels.</summary>
    public static string TypeName(CudaScalar element) => element switch
    {
        CudaScalar.Float32 => "float",
        CudaScalar.BFloat16 => "bf16",
        CudaScalar.Float16 => "f16",
        _ => throw new NotSupportedException($"{element} is not an element type of kernels"),
    };

    /// <summary>Reads what a text declares as <c>extern "C" __global__ void name(type name, …)</c>.</summary>
    internal static Dictionary<string, CudaParameter[]> ReadKernels(string text, CudaScalar element)
    {
        var kernels = new Dictionary<string, CudaParameter[]>();
        if (OnceFor(element).Length == 0)
            text = Once().Replace(text, "");
        foreach (Match match in Declaration().Matches(text))
            kernels.Add(match.Groups["name"].Value, [.. match.Groups["list"].Value.Split(',').Select(Parameter)]);
        return kernels;

        CudaParameter Parameter(string declared)
        {
            var at = declared.LastIndexOfAny([' ', '*', '\n']) + 1;
            return new(CudaType.Parse(declared[..at].Replace('\n', ' '), element), declared[at..].Trim());
        }
    }

    /// <summary>What makes kernels that know no T part of the programs of one of them.</summary>
    private static string OnceFor(CudaScalar element) => element == CudaScalar.Float32 ? "#define ONCE\n" : "";

    public override string ToString() => $"{Name} ({TypeName(Element)})";

    private static Dictionary<(string, CudaScalar), CudaProgram> ReadAll()
    {
        var common = Read(Prefix + Header);
        var programs = new Dictionary<(string, CudaScalar), CudaProgram>();
        foreach (var resource in typeof(CudaProgram).Assembly.GetManifestResourceNames().Order(StringComparer.Ordinal))
            if (resource.StartsWith(Prefix, StringComparison.Ordinal) && resource.EndsWith(".cu", StringComparison.Ordinal))
            {
                var (name, own) = (resource[Prefix.Length..^3], Read(resource));
                foreach (var element in Elements)
                    if (ReadKernels(own, element).Count > 0)
                        programs.Add((name, element), new(name, element, common, own));
            }
        return programs;
    }

    private static string Read(string resource)
    {
        using var reader = new StreamReader(typeof(CudaProgram).Assembly.GetManifestResourceStream(resource)
            ?? throw new InvalidOperationException($"the assembly has no resource {resource}"));
        return reader.ReadToEnd();
    }

    [GeneratedRegex(@"extern ""C"" __global__ void(?:\s+__launch_bounds__\([^)]*\))?\s+(?<name>\w+)\((?<list>[^)]*)\)")]
    private static partial Regex Declaration();

    [GeneratedRegex(@"^#ifdef ONCE\b.*?^#endif", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Once();
}
