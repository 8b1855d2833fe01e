namespace Handbook.Base.Files;

/// <summary>The folder in which the Python libraries keep what they download: <c>models--owner--name</c> and <c>datasets--owner--name</c>,
/// each with snapshots of revisions.</summary>
internal static class HubCache
{
    private const string Main = "main";

    /// <summary><c>HF_HUB_CACHE</c>, else <c>hub</c> in <c>HF_HOME</c>, else <c>.cache/huggingface/hub</c> in the user's home.</summary>
    public static string Root => Variable("HF_HUB_CACHE") is { } named ? named
        : Path.Combine(Variable("HF_HOME") ?? Path.Combine(Variable("XDG_CACHE_HOME") ?? Path.Combine(UserFolder.Path, ".cache"),
            "huggingface"), "hub");

    /// <summary>The folder of a downloaded model or data set; null where it was not downloaded.</summary>
    /// <param name="kind"><c>models</c> or <c>datasets</c>.</param>
    /// <param name="name"><c>owner/name</c> or <c>name</c>, with <c>@revision</c> behind it for another revision than the main one.</param>
    public static string? Find(string kind, string name)
    {
        if (FolderOf(kind, name) is not { } folder)
            return null;
        var revision = name.Split('@') is [_, { Length: > 0 } named] ? named : Main;
        var snapshots = Path.Combine(folder, "snapshots");
        var reference = Path.Combine(folder, "refs", revision);
        var wanted = Path.Combine(snapshots, File.Exists(reference) ? File.ReadAllText(reference).Trim() : revision);
        if (Directory.Exists(wanted))
            return wanted;
        // Without a reference the newest snapshot is what was wanted last.
        return revision == Main && !File.Exists(reference) && Directory.Exists(snapshots)
            ? Directory.GetDirectories(snapshots).MaxBy(Directory.GetLastWriteTimeUtc) : null;
    }

    /// <summary>Where a model or data set of this name would lie; null for what is no name of one.</summary>
    public static string? FolderOf(string kind, string name) =>
        IsName(name) ? Path.Combine(Root, $"{kind}--{name.Split('@')[0].Replace("/", "--", StringComparison.Ordinal)}") : null;

    /// <summary>Whether a word may be the name of something published: <c>owner/name</c> or <c>name</c>.</summary>
    public static bool IsName(string name) => name.Length > 0 && name[0] is not ('.' or '/' or '~') && name.Count(c => c == '/') <= 1
        && name.Count(c => c == '@') <= 1 && !name.EndsWith('/') && !name.Contains("..", StringComparison.Ordinal);

    private static string? Variable(string name) => Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;
}
