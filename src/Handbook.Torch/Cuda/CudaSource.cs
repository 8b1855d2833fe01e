using System.Security.Cryptography;
using System.Text;

namespace Handbook.Torch.Cuda;

/// <summary>The text of one <c>.cu</c> file with what it needs to be compiled.</summary>
/// <param name="Name">File name, which messages give, e.g. <c>rms_norm.cu</c>.</param>
/// <param name="Text">CUDA C++.</param>
internal sealed record CudaSource(string Name, string Text)
{
    /// <summary>What the text includes, by the name in its <c>#include</c>.</summary>
    public IReadOnlyDictionary<string, string> Headers { get; init; } = new Dictionary<string, string>();

    /// <summary>Options of NVRTC beside the architecture, e.g. <c>--fmad=false</c> or <c>-DTILE=64</c>.</summary>
    public IReadOnlyList<string> Options { get; init; } = ["--std=c++17"];

    /// <summary>A line of the text or of a header, from 1; null where there is none.</summary>
    public string? Line(string file, int number)
    {
        var text = file == Name ? Text : Headers.GetValueOrDefault(file);
        var lines = text?.Split('\n') ?? [];
        return number >= 1 && number <= lines.Length ? lines[number - 1].TrimEnd('\r') : null;
    }

    /// <summary>The kernel around a line of <see cref="Text"/>; null where it stands outside of one.</summary>
    public string? KernelAround(int number)
    {
        var lines = Text.Split('\n');
        for (var i = Math.Min(number, lines.Length) - 1; i >= 0; i--)
        {
            var at = lines[i].IndexOf("__global__", StringComparison.Ordinal);
            if (at >= 0)
                return NameOf(string.Join(' ', lines[i..Math.Min(i + 4, lines.Length)])[at..]);
            if (i < number - 1 && lines[i].StartsWith('}'))
                return null;
        }
        return null;
    }

    /// <summary>A hash of all that decides what comes out of the compiler.</summary>
    /// <param name="compiler">Name and version of the compiler.</param>
    public string Hash(CudaArchitecture architecture, string compiler)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Add(compiler);
        Add(architecture.ToString());
        Add(Name);
        Add(Text);
        foreach (var option in Options)
            Add(option);
        foreach (var (name, text) in Headers.OrderBy(header => header.Key, StringComparer.Ordinal))
        {
            Add(name);
            Add(text);
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());

        // each with its length, so that no two lists run into the same bytes
        void Add(string part)
        {
            var bytes = Encoding.UTF8.GetBytes(part);
            hash.AppendData(BitConverter.GetBytes(bytes.Length));
            hash.AppendData(bytes);
        }
    }

    // "__global__ void __launch_bounds__(256) name(…": the last word before a parenthesis that is not an attribute's.
    private static string? NameOf(string declaration)
    {
        for (var open = declaration.IndexOf('('); open > 0; open = declaration.IndexOf('(', open + 1))
        {
            var start = open;
            while (start > 0 && (char.IsAsciiLetterOrDigit(declaration[start - 1]) || declaration[start - 1] == '_'))
                start--;
            var word = declaration[start..open];
            if (word.Length > 0 && !word.StartsWith("__", StringComparison.Ordinal))
                return word;
        }
        return null;
    }
}
