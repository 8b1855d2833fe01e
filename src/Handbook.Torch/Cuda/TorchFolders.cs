namespace Handbook.Torch.Cuda;

/// <summary>Where the libtorch in use keeps libraries of NVIDIA: beside itself, or in the packages that its Python wheel depends on.</summary>
internal static class TorchFolders
{
    /// <summary>Folders that are there, nearest first.</summary>
    /// <param name="environment">Environment variables by name.</param>
    public static IEnumerable<string> Libraries(Func<string, string?> environment) => Libraries(environment("LIBTORCH"), Loaded());

    /// <param name="named">An unpacked libtorch, or the folder of a Python package <c>torch</c>; null where none is named.</param>
    /// <param name="loaded">Folder of the libtorch that this process has loaded; null where it has not.</param>
    public static IEnumerable<string> Libraries(string? named, string? loaded)
    {
        string?[] own = [string.IsNullOrEmpty(named) ? null : Path.Combine(named, "lib"), loaded];
        foreach (var folder in own.OfType<string>().Select(Path.GetFullPath).Distinct())
        {
            if (!Directory.Exists(folder))
                continue;
            yield return folder;
            // site-packages/torch/lib: NVIDIA's own packages are site-packages/nvidia/*/lib
            var nvidia = Path.Combine(folder, "..", "..", "nvidia");
            if (!Directory.Exists(nvidia))
                continue;
            foreach (var package in Directory.EnumerateDirectories(nvidia).Order(StringComparer.Ordinal))
                if (Directory.Exists(Path.Combine(package, "lib")))
                    yield return Path.GetFullPath(Path.Combine(package, "lib"));
        }
    }

    // What the loader mapped tells where the library came from, whichever way it was found.
    private static string? Loaded()
    {
        const string Library = "/libtorch_cpu.so";
        try
        {
            foreach (var line in File.ReadLines("/proc/self/maps"))
                if (line.Contains(Library, StringComparison.Ordinal))
                    return Path.GetDirectoryName(line[line.IndexOf('/')..]);
        }
        catch (IOException)
        {
            // no /proc: the loader's own search remains
        }
        return null;
    }
}
