namespace Handbook.Bench;

/// <summary>Where this program was built.</summary>
internal static class Repository
{
    /// <summary>The folder of the solution.</summary>
    public static string Root { get; } = Find();

    private static string Find()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "Handbook.slnx")))
                return folder.FullName;
        throw new InvalidOperationException("run inside the repository");
    }

    /// <summary>The folder of golden values: <c>HANDBOOK_SHARED</c>, or <c>shared</c> within or beside the repository; null where there is
    /// none.</summary>
    public static string? Shared => ((string?[])[Environment.GetEnvironmentVariable("HANDBOOK_SHARED"), Path.Combine(Root, "shared"),
        Path.Combine(Root, "..", "shared")]).FirstOrDefault(folder => folder is { Length: > 0 } && Directory.Exists(Path.Combine(folder, "golden")));
}
