using System.Runtime.InteropServices;
using Handbook.Base;

namespace Handbook.Torch.Cuda;

/// <summary>A shared library that is looked for when it is first needed: nothing is linked against it, and no machine must have it.</summary>
internal sealed class FoundLibrary
{
    private readonly nint _handle;

    private FoundLibrary(string path, nint handle)
    {
        Path = path;
        _handle = handle;
    }

    /// <summary>The file that was loaded; a name alone where the system's loader found it.</summary>
    public string Path { get; }

    /// <summary>Loads the first that is there: a named file or folder, then the folders, then whatever the system's loader finds.</summary>
    /// <param name="names">File names, best first; a folder's files that begin with one serve too, since wheels add a hash to them.</param>
    /// <param name="variable">Environment variable with a file or a folder that is used and nothing else; null where it is unset.</param>
    /// <param name="folders">Where to look before the system's loader does.</param>
    /// <param name="companion">Beginning of the name of a library that the found one opens by name, and that lies beside it.</param>
    /// <param name="problem">What was tried, where nothing was found.</param>
    public static FoundLibrary? Find(string[] names, (string Name, string? Value) variable, IEnumerable<string> folders,
        string? companion, out string problem)
    {
        var tried = new List<string>();
        FoundLibrary? found;
        if (!string.IsNullOrEmpty(variable.Value))
        {
            found = File.Exists(variable.Value) ? Open(variable.Value, companion, tried) : In(variable.Value, names, companion, tried);
            problem = found is null ? $"{variable.Name} is {variable.Value}, but {string.Join("; ", tried)}" : "";
            return found;
        }
        foreach (var folder in folders)
        {
            if ((found = In(folder, names, companion, tried)) is not null)
            {
                problem = "";
                return found;
            }
        }
        foreach (var name in names)
        {
            if (NativeLibrary.TryLoad(name, out var handle))
            {
                problem = "";
                return new(name, handle);
            }
        }
        tried.Add($"the system's loader finds no {string.Join(" or ", names)}");
        problem = string.Join("; ", tried);
        return null;
    }

    /// <summary>An exported function.</summary>
    /// <exception cref="InputException">The library has none of that name: it is too old.</exception>
    public nint Export(string name) => NativeLibrary.TryGetExport(_handle, name, out var address) ? address
        : throw new InputException($"{Path} has no function {name}", why: "it is older than what this program needs",
            fix: "install a newer release of it");

    private static FoundLibrary? In(string folder, string[] names, string? companion, List<string> tried)
    {
        if (!Directory.Exists(folder))
        {
            tried.Add($"{folder} is not there");
            return null;
        }
        foreach (var name in names)
        {
            var stem = name[..name.IndexOf(".so", StringComparison.Ordinal)];
            var exact = System.IO.Path.Combine(folder, name);
            var file = File.Exists(exact) ? exact
                : Directory.EnumerateFiles(folder, $"{stem}-*{name[stem.Length..]}").Order(StringComparer.Ordinal)
                    .FirstOrDefault(other => companion is null
                        || !System.IO.Path.GetFileName(other).StartsWith(companion, StringComparison.Ordinal));
            if (file is not null && Open(file, companion, tried) is { } found)
                return found;
        }
        tried.Add($"{folder} has no {string.Join(" or ", names)} that loads");
        return null;
    }

    private static FoundLibrary? Open(string file, string? companion, List<string> tried)
    {
        file = System.IO.Path.GetFullPath(file);
        // Opened by name from inside: a library that is loaded already is found under its name, wherever it lies.
        if (companion is not null)
            foreach (var beside in Directory.EnumerateFiles(System.IO.Path.GetDirectoryName(file)!, companion + "*.so*"))
                NativeLibrary.TryLoad(beside, out _);
        try
        {
            return new(file, NativeLibrary.Load(file));
        }
        catch (Exception error) when (error is DllNotFoundException or BadImageFormatException)
        {
            tried.Add($"{file} does not load: {error.Message.Split('\n', 2)[0]}");
            return null;
        }
    }
}
