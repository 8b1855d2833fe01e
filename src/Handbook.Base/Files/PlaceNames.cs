namespace Handbook.Base.Files;

/// <summary>Names files so that they are found again where a project, a home or the hub's cache lies elsewhere: with <c>$HF_HUB_CACHE</c>
/// before them where they lie in that cache, else from the working folder, else with <c>~</c>, else by their whole path.</summary>
/// <param name="workingFolder">The folder that names of a recipe are seen from.</param>
internal sealed class PlaceNames(string workingFolder)
{
    private const string Cache = "$HF_HUB_CACHE";

    private readonly string _folder = Path.GetFullPath(workingFolder);

    /// <summary>The name of a file or folder, with forward slashes.</summary>
    public string Of(string path)
    {
        path = Path.GetFullPath(path);
        return Below(HubCache.Root, path, Cache) ?? Below(_folder, path) ?? Below(UserFolder.Path, path, "~") ?? path;
    }

    /// <summary>The path that a name means: in the working folder, or else in that of the process.</summary>
    public string Find(string name)
    {
        if (name.StartsWith(Cache + "/", StringComparison.Ordinal))
            return Path.Combine(HubCache.Root, name[(Cache.Length + 1)..]);
        var path = Path.GetFullPath(UserFolder.Expand(name), _folder);
        return Path.Exists(path) || Path.IsPathRooted(name) || !Path.Exists(name) ? path : Path.GetFullPath(name);
    }

    /// <summary>Whether a name is one below the working folder.</summary>
    public static bool IsFromWorkingFolder(string name) => !Path.IsPathRooted(name) && !name.StartsWith('~')
        && !name.StartsWith(Cache + "/", StringComparison.Ordinal);

    /// <summary>The commit of the hub whose snapshot a file lies in; null where it lies elsewhere.</summary>
    public static string? CommitOf(string path) => Below(HubCache.Root, Path.GetFullPath(path))?.Split('/') is [_, "snapshots", var commit, ..]
        && HubCache.IsCommit(commit) ? commit : null;

    private static string? Below(string folder, string path, string? before = null)
    {
        if (Path.GetRelativePath(folder, path) is var name && (name == "." || name.StartsWith("..", StringComparison.Ordinal)
            || Path.IsPathRooted(name)))
            return null;
        return before is null ? name.Replace('\\', '/') : $"{before}/{name.Replace('\\', '/')}";
    }
}
