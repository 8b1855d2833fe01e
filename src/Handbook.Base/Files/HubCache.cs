using System.Text.RegularExpressions;

namespace Handbook.Base.Files;

/// <summary>The folder that the hub's clients share: <c>models--owner--name</c> and <c>datasets--owner--name</c>, each with snapshots of
/// revisions.</summary>
internal static partial class HubCache
{
    /// <summary>The revision that is meant where none is named.</summary>
    public const string Main = "main";

    private const int CommitLength = 40;

    /// <summary><c>HF_HOME</c>, else <c>huggingface</c> in <c>XDG_CACHE_HOME</c> or in <c>.cache</c> of the user's home.</summary>
    public static string Home => Variable("HF_HOME") is { } named ? UserFolder.Expand(named)
        : Path.Combine(Variable("XDG_CACHE_HOME") ?? Path.Combine(UserFolder.Path, ".cache"), "huggingface");

    /// <summary><c>HF_HUB_CACHE</c> (older: <c>HUGGINGFACE_HUB_CACHE</c>), else <c>hub</c> in <see cref="Home"/>.</summary>
    public static string Root => (Variable("HF_HUB_CACHE") ?? Variable("HUGGINGFACE_HUB_CACHE")) is { } named
        ? Path.GetFullPath(UserFolder.Expand(named)) : Path.GetFullPath(Path.Combine(Home, "hub"));

    /// <summary>Whether the user wants nothing to be asked for over the network: <c>HF_HUB_OFFLINE</c>.</summary>
    public static bool IsOffline => (Variable("HF_HUB_OFFLINE")
        ?? Variable("TRANSFORMERS_OFFLINE"))?.ToUpperInvariant() is "1" or "ON" or "YES" or "TRUE";

    /// <summary>The folder of a downloaded model or data set; null where it was not downloaded.</summary>
    /// <param name="kind"><c>models</c> or <c>datasets</c>.</param>
    /// <param name="name"><c>owner/name</c> or <c>name</c>, with <c>@revision</c> behind it for another revision than the main one.</param>
    public static string? Find(string kind, string name)
    {
        if (FolderOf(kind, name) is not { } folder)
            return null;
        var revision = Split(name).Revision ?? Main;
        var snapshots = Path.Combine(folder, "snapshots");
        var commit = CommitOf(folder, revision);
        var wanted = Path.Combine(snapshots, commit ?? revision);
        if (Directory.Exists(wanted))
            return wanted;
        // Without any reference the newest snapshot is what was wanted last.
        return revision == Main && commit is null && Directory.Exists(snapshots) && !HasReferences(folder)
            ? Directory.GetDirectories(snapshots).MaxBy(Directory.GetLastWriteTimeUtc) : null;
    }

    /// <summary>The commit that a revision was when something of it was downloaded; null where nothing was.</summary>
    /// <param name="folder">From <see cref="FolderOf"/>.</param>
    public static string? CommitOf(string folder, string revision) => Path.Combine(folder, "refs", revision) is var reference
        && File.Exists(reference) ? File.ReadAllText(reference).Trim() : IsCommit(revision) ? revision : null;

    private static bool HasReferences(string folder) => Path.Combine(folder, "refs") is var refs && Directory.Exists(refs)
        && Directory.EnumerateFileSystemEntries(refs).Any();

    /// <summary>Where a model or data set of this name would lie; null for what is no name of one.</summary>
    public static string? FolderOf(string kind, string name) =>
        IsName(name) ? Path.Combine(Root, $"{kind}--{Split(name).Id.Replace("/", "--", StringComparison.Ordinal)}") : null;

    /// <summary>A name and the revision behind it; null where none is.</summary>
    public static (string Id, string? Revision) Split(string name) =>
        name.IndexOf('@') is > 0 and var at ? (name[..at], name[(at + 1)..]) : (name, null);

    /// <summary>Whether a word may be the name of something published: <c>owner/name</c> or <c>name</c>, perhaps with
    /// <c>@revision</c>.</summary>
    public static bool IsName(string name) => Split(name) is var (id, revision) && id.Length > 0 && id[0] is not ('.' or '/' or '~')
        && id.Count(c => c == '/') <= 1 && !id.Contains('@') && !id.EndsWith('/') && !id.Contains("..", StringComparison.Ordinal)
        && (revision is null || IsRevision(revision));

    /// <summary>Whether a word may be the name of a repository, by the characters that the hub takes: <c>owner/name</c> or
    /// <c>name</c>.</summary>
    public static bool IsRepository(string name) => IsName(name) && RepositoryName().IsMatch(name);

    /// <summary>The name that an address of the hub's page means, such as <c>https://huggingface.co/datasets/owner/name/tree/main</c>; null
    /// where it is no such address.</summary>
    public static string? NameIn(string address) => Address().Match(address) is { Success: true } match
        && IsRepository(match.Groups["id"].Value) ? match.Groups["id"].Value
            + (match.Groups["revision"] is { Success: true, Value: not Main and var revision } ? $"@{Uri.UnescapeDataString(revision)}" : "")
        : null;

    [GeneratedRegex(@"\A(?:hf://|(?:https?://[^/]+|(?:www\.)?huggingface\.co|hf\.co)/|(?=datasets/))(?:(?:datasets|models)/)?"
        + @"(?<id>[^/?#@]+/[^/?#@]+)(?:/(?:tree|blob|resolve|raw)/(?<revision>[^/?#]+)[^?#]*)?/?(?:[?#].*)?\z")]
    private static partial Regex Address();

    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9._-]{0,95}(?:/[A-Za-z0-9_][A-Za-z0-9._-]{0,95})?\z")]
    private static partial Regex RepositoryName();

    /// <summary>Whether a word may be a revision: a branch, a tag, a commit, or <c>refs/pr/N</c>. It is a path below the cache,
    /// too.</summary>
    public static bool IsRevision(string revision) => revision.Length is > 0 and <= 250 && !revision.Any(c => char.IsControl(c)
        || c is '\\' or ':' or '@')
        && revision.Split('/').All(part => part.Length > 0 && part[0] != '.' && !part.Contains("..", StringComparison.Ordinal));

    /// <summary>Whether a revision is a commit, by its full name.</summary>
    public static bool IsCommit(string revision) => revision.Length == CommitLength && revision.All(char.IsAsciiHexDigitLower);

    /// <summary>A variable of the environment; null where it is not set, or empty.</summary>
    public static string? Variable(string name) => Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;
}
