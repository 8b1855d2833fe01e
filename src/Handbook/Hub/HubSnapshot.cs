using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;

namespace Handbook.Hub;

/// <summary>A commit of a repository in the cache that the Python client shares: contents by their hashes in <c>blobs</c>, names as links
/// to them in <c>snapshots/COMMIT</c>, branches in <c>refs</c>, lists of files in <c>trees</c>.</summary>
/// <param name="client">Who asks.</param>
/// <param name="repository">Which one, at which revision.</param>
/// <param name="commit">The commit that the revision is.</param>
internal sealed class HubSnapshot(HubClient client, HubRepository repository, string commit)
{
    private const int TreeFormat = 1;

    public string Commit { get; } = commit;

    public HubRepository Repository { get; } = repository;

    /// <summary>Where its names are.</summary>
    public string Folder { get; } = Path.Combine(repository.Folder, "snapshots", commit);

    /// <summary>Asks which commit a revision is.</summary>
    public static async Task<HubSnapshot> Open(HubClient client, HubRepository repository, CancellationToken cancel) =>
        new(client, repository, await client.Commit(repository, cancel).ConfigureAwait(false));

    /// <summary>Every file that the commit has: as it was once listed, else as the hub lists it now. It is kept, because a commit never
    /// changes.</summary>
    public async Task<IReadOnlyList<HubFile>> Files(CancellationToken cancel)
    {
        if (Listed(Repository, Commit) is { } known)
            return known;
        var files = await client.Files(Repository, Commit, cancel).ConfigureAwait(false);
        var json = new JsonObject();
        foreach (var file in files)
        {
            var entry = new JsonObject { ["size"] = file.Size, ["blob_id"] = file.BlobId };
            if (file.Sha256 is not null)
                (entry["lfs_sha256"], entry["lfs_size"]) = (file.Sha256, file.Size);
            json[file.Path] = entry;
        }
        WholeFile.WriteText(ListOf(Repository, Commit), new JsonObject { ["format_version"] = TreeFormat, ["files"] = json }.ToJsonString(),
            durable: false);
        return files;
    }

    /// <summary>The files of a commit that was listed before; null where it was not.</summary>
    public static IReadOnlyList<HubFile>? Listed(HubRepository repository, string commit)
    {
        var path = ListOf(repository, commit);
        if (!File.Exists(path))
            return null;
        try
        {
            if (JsonNode.Parse(File.ReadAllText(path)) is not JsonObject json || (int?)json["format_version"] != TreeFormat
                || json["files"] is not JsonObject files)
                return null;
            return [.. files.Select(entry => new HubFile(entry.Key, (long?)entry.Value!["lfs_size"] ?? (long)entry.Value["size"]!,
                (string)entry.Value["blob_id"]!, (string?)entry.Value["lfs_sha256"]).Checked(HubClient.About(repository)))
                .OrderBy(file => file.Path, StringComparer.Ordinal)];
        }
        catch (Exception damaged) when (damaged is System.Text.Json.JsonException or InvalidOperationException or FormatException
            or NullReferenceException or ArgumentNullException)
        {
            return null;        // it is asked for again
        }
    }

    /// <summary>Whether a file is there.</summary>
    public bool Has(HubFile file) => File.Exists(Path.Combine(Folder, file.Path));

    /// <summary>Downloads files that are not there yet, several at once.</summary>
    /// <returns>The folder with their names.</returns>
    public async Task<string> Fetch(IReadOnlyList<HubFile> files, IWorkObserver observer, CancellationToken cancel)
    {
        HubFile[] absent = [.. files.Where(file => !Has(file))];
        // A cache that has everything may belong to somebody else, and be there to read alone.
        if (absent.Length > 0)
        {
            RequireLinks();
            var tag = Path.Combine(HubCache.Root, "CACHEDIR.TAG");      // tells backups that all of it can be had again
            if (!File.Exists(tag))
                WholeFile.WriteText(tag,
                    "Signature: 8a477f597d28d172789f06886806bc55\n# What is here was downloaded, and can be downloaded again.\n",
                    durable: false);
            using var count = TransferCount.Begin(observer, $"downloading {Repository}", absent.Sum(file => file.Size));
            await Parallel.ForEachAsync(absent, new ParallelOptions
            {
                MaxDegreeOfParallelism = client.Settings.Parallel,
                CancellationToken = cancel
            },
                async (file, stop) => await Fetch(file, count, stop).ConfigureAwait(false)).ConfigureAwait(false);
        }
        Remember();
        return Folder;
    }

    private async Task Fetch(HubFile file, TransferCount count, CancellationToken cancel)
    {
        var blob = Path.Combine(Repository.Folder, "blobs", file.Etag);
        // Two processes that want the same content: the second waits, and finds it there.
        using (await FileGate.Enter(Path.Combine(HubCache.Root, ".locks", Path.GetFileName(Repository.Folder), file.Etag + ".lock"),
            cancel).ConfigureAwait(false))
        {
            if (File.Exists(blob))
                count.Add(file.Size);
            else
                await new HubDownload(client).To(Repository, Commit, file, blob, blob + ".incomplete", count.Add,
                    cancel).ConfigureAwait(false);
            Link(Path.Combine(Folder, file.Path), blob);
        }
    }

    /// <summary>Writes which commit the revision is, so that it is found by it without the hub.</summary>
    public void Remember()
    {
        if (!Repository.IsPinned && HubCache.CommitOf(Repository.Folder, Repository.Revision) != Commit)
            WholeFile.WriteText(Path.Combine(Repository.Folder, "refs", Repository.Revision), Commit, durable: false);
    }

    /// <summary>Notes that the commit has no such file, which the Python client then need not ask again.</summary>
    public void RememberAbsent(string path)
    {
        if (HubFile.IsSafe(path))
            WholeFile.WriteText(Path.Combine(Repository.Folder, ".no_exist", Commit, path), "", durable: false);
    }

    private static string ListOf(HubRepository repository, string commit) => Path.Combine(repository.Folder, "trees", commit + ".json");

    private static void Link(string name, string blob)
    {
        if (File.Exists(name))
            return;
        Directory.CreateDirectory(Path.GetDirectoryName(name)!);
        if (new FileInfo(name).LinkTarget is not null)
            File.Delete(name);          // to a content that was removed
        File.CreateSymbolicLink(name, Path.GetRelativePath(Path.GetDirectoryName(name)!, blob));
    }

    /// <summary>The cache is names that lead to contents; a file system without such links cannot hold it.</summary>
    private void RequireLinks()
    {
        Directory.CreateDirectory(Folder);
        var attempt = Path.Combine(Folder, $".link-{Guid.NewGuid():N}");
        try
        {
            File.CreateSymbolicLink(attempt, "nowhere");
            File.Delete(attempt);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{HubCache.Root} takes no symbolic links: {error.Message}",
                "the cache keeps each content once, and links to it",
                "name a folder of another file system with HF_HUB_CACHE, or download with --local-dir", error);
        }
    }
}
