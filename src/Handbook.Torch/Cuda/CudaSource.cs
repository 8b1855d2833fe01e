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

    /// <summary>A line as a message of the compiler names it, <c>#line</c> directives heeded; null where there is none.</summary>
    public string? Line(string file, int number)
    {
        foreach (var line in Lines())
            if (line.File == file && line.Number == number)
                return line.Text;
        var lines = Headers.GetValueOrDefault(file)?.Split('\n') ?? [];
        return number >= 1 && number <= lines.Length ? lines[number - 1] : null;
    }

    /// <summary>The kernel around a line of the text; null where it stands outside of one.</summary>
    public string? KernelAround(string file, int number)
    {
        var lines = Lines().Where(line => line.File == file && line.Number <= number).ToArray();
        for (var i = lines.Length - 1; i >= 0; i--)
        {
            if (lines[i].Text.Contains("__global__", StringComparison.Ordinal))
            {
                var rest = Lines().Where(line => line.File == file && line.Number >= lines[i].Number).Take(4);
                return NameOf(string.Join(' ', rest.Select(line => line.Text)));
            }
            if (i < lines.Length - 1 && lines[i].Text.StartsWith('}'))
                return null;
        }
        return null;
    }

    private IEnumerable<(string File, int Number, string Text)> Lines()
    {
        var (file, number) = (Name, 0);
        foreach (var text in Text.Split('\n'))
        {
            number++;
            if (text.StartsWith("#line ", StringComparison.Ordinal) && text.Split(' ', 3) is [_, var next, .. var named]
                && int.TryParse(next, out var parsed))
                (file, number) = (named.Length > 0 ? named[0].Trim().Trim('"') : file, parsed - 1);
            else
                yield return (file, number, text);
        }
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

    // "__global__ void __launch_bounds__(256) name(…": the first word before a parenthesis that is not an attribute's.
    private static string? NameOf(string declaration)
    {
        for (var open = declaration.IndexOf('(', declaration.IndexOf("__global__", StringComparison.Ordinal)); open > 0; open = declaration.IndexOf('(', open + 1))
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
