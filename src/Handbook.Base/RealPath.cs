namespace Handbook.Base;

/// <summary>The one name of a place, with every link followed: two paths are the same place where their names are equal.</summary>
internal static class RealPath
{
    /// <param name="path">A file or folder; what does not exist yet lies below what does.</param>
    public static string Of(string path)
    {
        path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        if (Path.GetDirectoryName(path) is not { } parent)
            return path;
        var here = Path.Combine(Of(parent), Path.GetFileName(path));
        return Path.Exists(here) && File.ResolveLinkTarget(here, returnFinalTarget: true) is { } target ? Of(target.FullName) : here;
    }

    /// <summary>The last part of a folder's name, however it is written: that of <c>runs/a/</c> is <c>a</c>, that of <c>.</c> the working
    /// folder's.</summary>
    public static string NameOf(string folder) => Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));

    /// <summary>Whether a place is a folder or lies in it, at any depth.</summary>
    public static bool IsWithin(string path, string folder)
    {
        var (inner, outer) = (Of(path), Of(folder));
        return inner == outer || inner.StartsWith(Path.EndsInDirectorySeparator(outer) ? outer : outer + Path.DirectorySeparatorChar,
            StringComparison.Ordinal);
    }
}
