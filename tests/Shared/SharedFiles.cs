namespace Handbook.Testing;

/// <summary>Finds the real tokenizers, templates, data, models and golden values outside the project.</summary>
/// <remarks>The folder is <c>HANDBOOK_SHARED</c>, or <c>../shared</c> beside the repository. Tests skip with a reason where it is
/// absent.</remarks>
internal static class SharedFiles
{
    /// <summary>The repository's root: the nearest folder above the test binary that holds <c>Handbook.slnx</c>.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>The shared folder, or null where it is absent.</summary>
    public static string? Root { get; } = FindRoot();

    /// <summary>Full path of a file or folder in the shared folder; skips the calling test where it is absent.</summary>
    public static string Need(params string[] parts)
    {
        Assert.SkipWhen(Root is null, "no shared folder: set HANDBOOK_SHARED to the folder with golden/, tokenizers/, data/ and models/");
        var path = Path.Combine([Root!, .. parts]);
        Assert.SkipUnless(File.Exists(path) || Directory.Exists(path), $"{path} is absent");
        return path;
    }

    /// <summary>Sub-folders (full paths, sorted) of a folder in the shared folder; empty where it is absent.</summary>
    public static IEnumerable<string> Folders(params string[] parts)
    {
        if (Root is null)
            return [];
        var path = Path.Combine([Root, .. parts]);
        return Directory.Exists(path) ? Directory.GetDirectories(path).Order(StringComparer.Ordinal) : [];
    }

    private static string FindRepository()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "Handbook.slnx")))
                return folder.FullName;
        throw new InvalidOperationException($"no Handbook.slnx above {AppContext.BaseDirectory}");
    }

    private static string? FindRoot()
    {
        var named = Environment.GetEnvironmentVariable("HANDBOOK_SHARED");
        var path = string.IsNullOrEmpty(named) ? Path.Combine(Repository, "..", "shared") : named;
        return Directory.Exists(path) ? Path.GetFullPath(path) : null;
    }
}
