using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Hub;

/// <summary>A repository in the cache.</summary>
/// <param name="Kind">What it holds.</param>
/// <param name="Id">Its name.</param>
/// <param name="Folder">Where it lies.</param>
internal sealed record CachedRepository(HubKind Kind, string Id, string Folder)
{
    private const string Unfinished = ".incomplete";

    /// <summary>Contents, by their hashes, and what is half downloaded.</summary>
    private string Blobs => Path.Combine(Folder, "blobs");

    private string Snapshots => Path.Combine(Folder, "snapshots");

    private string Refs => Path.Combine(Folder, "refs");

    /// <summary>Every repository of the cache, models first, each kind in the order of their names.</summary>
    public static IReadOnlyList<CachedRepository> All() => !Directory.Exists(HubCache.Root) ? []
        : [.. Directory.EnumerateDirectories(HubCache.Root).Select(Of).OfType<CachedRepository>()
            .OrderBy(repository => repository.Kind).ThenBy(repository => repository.Id, StringComparer.Ordinal)];

    /// <summary>The one that a user names; a model before a data set of the same name.</summary>
    /// <param name="kind">null for either.</param>
    /// <exception cref="InputException">There is none.</exception>
    public static CachedRepository Find(string name, HubKind? kind)
    {
        var all = All();
        return all.FirstOrDefault(repository => repository.Id == name && (kind is null || repository.Kind == kind))
            ?? throw new InputException($"{name} is not in the cache {HubCache.Root}", fix: all.Count == 0 ? "there is nothing in it"
                : Spelling.Nearest(name, all.Select(repository => repository.Id)) is { } nearest ? $"did you mean {nearest}?"
                : "`handbook cache` lists what is");
    }

    /// <summary>Bytes on the disk.</summary>
    public long Bytes => Contents().Sum(file => file.Length);

    /// <summary>Contents that are half downloaded.</summary>
    public int UnfinishedFiles => Contents().Count(file => file.Name.EndsWith(Unfinished, StringComparison.Ordinal));

    /// <summary>When some of it was last read or written.</summary>
    public DateTime LastUsed => Contents().Select(file => file.LastAccessTimeUtc > file.LastWriteTimeUtc ? file.LastAccessTimeUtc
        : file.LastWriteTimeUtc)
        .DefaultIfEmpty(Directory.GetLastWriteTimeUtc(Folder)).Max();

    /// <summary>The commits that are there, each with the revisions that name it.</summary>
    public IReadOnlyList<(string Commit, IReadOnlyList<string> Names)> Commits()
    {
        var names = !Directory.Exists(Refs) ? []
            : Directory.EnumerateFiles(Refs, "*", SearchOption.AllDirectories)
                .Select(path => (Name: Path.GetRelativePath(Refs, path).Replace('\\', '/'),
                    Commit: File.ReadAllText(path).Trim())).ToArray();
        return !Directory.Exists(Snapshots) ? []
            : [.. Directory.EnumerateDirectories(Snapshots).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal)
                .Select(commit => (commit, (IReadOnlyList<string>)[.. names.Where(name => name.Commit == commit).Select(name =>
                    name.Name).Order(StringComparer.Ordinal)]))];
    }

    /// <summary>Contents whose bytes are not those that their names say, each with the files that lead to it.</summary>
    public async Task<IReadOnlyList<(string Files, string Difference)>> Damaged(CancellationToken cancel)
    {
        var damaged = new List<(string, string)>();
        foreach (var file in Contents().Where(file => ContentHash.IsKnown(file.Name)))
        {
            using var handle = File.OpenHandle(file.FullName, FileMode.Open, FileAccess.Read, FileShare.Read, FileOptions.SequentialScan);
            var hash = await ContentHash.Of(handle, ContentHash.IsLarge(file.Name), cancel).ConfigureAwait(false);
            if (hash != file.Name)
                damaged.Add((string.Join(", ", Links().Where(link => link.Content == file.FullName).Select(link => link.Name)),
                    $"its hash is {hash} instead of {file.Name}"));
        }
        foreach (var (name, content) in Links().Where(link => !File.Exists(link.Content)))
            damaged.Add((name, $"its content {Path.GetFileName(content)} is gone"));
        return damaged;
    }

    /// <summary>Removes all of it.</summary>
    /// <returns>Bytes that are free now.</returns>
    public long Delete()
    {
        var bytes = Bytes;
        Directory.Delete(Folder, recursive: true);
        var locks = Path.Combine(HubCache.Root, ".locks", Path.GetFileName(Folder));
        if (Directory.Exists(locks))
            Directory.Delete(locks, recursive: true);
        return bytes;
    }

    /// <summary>Removes one commit, and the contents that no other one has.</summary>
    /// <param name="revision">The commit, or a revision that names it.</param>
    /// <returns>Bytes that are free now.</returns>
    /// <exception cref="InputException">It is not there.</exception>
    public long Delete(string revision)
    {
        var commits = Commits();
        if (commits.FirstOrDefault(entry => entry.Names.Contains(revision) || entry.Commit.StartsWith(revision, StringComparison.Ordinal)
            && revision.Length >= 7)
            is not { Commit: { } commit, Names: var names })
            throw new InputException($"{Id}: the cache has no revision {revision}",
                fix: $"it has {string.Join(", ", commits.Select(entry => entry.Names is [var name, ..] ? name : entry.Commit[..8]))}");
        if (commits.Count == 1)
            return Delete();
        Directory.Delete(Path.Combine(Snapshots, commit), recursive: true);
        foreach (var name in names)
            File.Delete(Path.Combine(Refs, name));
        File.Delete(Path.Combine(Folder, "trees", commit + ".json"));
        var wanted = Links().Select(link => link.Content).ToHashSet();
        long bytes = 0;
        foreach (var file in Contents().Where(file => !wanted.Contains(file.FullName)).ToArray())
        {
            bytes += file.Length;
            file.Delete();
        }
        return bytes;
    }

    private static CachedRepository? Of(string folder) => Path.GetFileName(folder).Split("--") switch
    {
        ["models", .. var name] when name.Length > 0 => new(HubKind.Model, string.Join('/', name), folder),
        ["datasets", .. var name] when name.Length > 0 => new(HubKind.Dataset, string.Join('/', name), folder),
        _ => null,
    };

    private IEnumerable<FileInfo> Contents() => Directory.Exists(Blobs) ? new DirectoryInfo(Blobs).EnumerateFiles() : [];

    /// <summary>The names of all commits, each with the content that it leads to.</summary>
    private IEnumerable<(string Name, string Content)> Links() => !Directory.Exists(Snapshots) ? []
        : Directory.EnumerateFiles(Snapshots, "*", SearchOption.AllDirectories).Select(path => new FileInfo(path))
            .Where(file => file.LinkTarget is not null)
            .Select(file => (Path.GetRelativePath(Snapshots, file.FullName), Path.GetFullPath(Path.Combine(file.DirectoryName!,
                file.LinkTarget!))));
}
