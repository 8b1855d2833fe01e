using System.Text.Json.Nodes;
using Handbook.Base.Progress;

namespace Handbook.Hub;

/// <summary>What came of publishing some files.</summary>
/// <param name="Commit">The commit that has them all.</param>
/// <param name="Sent">Files whose content went over the network.</param>
/// <param name="Known">Files that the repository had already, as they are.</param>
/// <param name="Deleted">Files that were removed.</param>
internal sealed record UploadResult(string Commit, int Sent, int Known, int Deleted);

/// <summary>Publishes files: what the hub has by its hash is not sent again, so that an upload that broke off goes on where it
/// was.</summary>
/// <param name="client">Who publishes.</param>
/// <param name="observer">Hears how far it is.</param>
internal sealed class HubUpload(HubClient client, IWorkObserver observer)
{
    /// <summary>A commit holds small files themselves: so many, or so many bytes of them, go together.</summary>
    private const int FilesAtOnce = 100;
    private const long BytesAtOnce = 32 << 20;

    /// <summary>Attempts when somebody else commits at the same time.</summary>
    private const int MostConflicts = 4;

    private readonly HubWriter _writer = new(client);

    /// <summary>Publishes files as one commit, or, of very many small ones, as a few.</summary>
    /// <param name="summary">What the commit is called.</param>
    /// <param name="deletes">Which files of the repository that are not among these are removed; null for none.</param>
    public async Task<UploadResult> Run(HubRepository repository, IReadOnlyList<UploadFile> files, string summary,
        Func<string, bool>? deletes, CancellationToken cancel)
    {
        var kinds = await _writer.Kinds(repository, files, cancel).ConfigureAwait(false);
        var items = new UploadItem[kinds.Count];
        var two = new ParallelOptions { MaxDegreeOfParallelism = 2, CancellationToken = cancel };
        await Parallel.ForAsync(0, items.Length, two, async (i, stop) =>
        {
            var (file, isLarge) = kinds[i];
            items[i] = new(file, file.Path, isLarge, await file.Hash(isLarge, stop).ConfigureAwait(false));
        }).ConfigureAwait(false);
        for (var conflicts = 1; ; conflicts++)
        {
            var head = await client.Commit(repository, cancel).ConfigureAwait(false);
            var there = (await client.Files(repository, head, cancel).ConfigureAwait(false)).ToDictionary(file => file.Path);
            UploadItem[] changed = [.. items.Where(item => !there.TryGetValue(item.Path, out var file)
                || (item.IsLarge ? file.Sha256 : file.Sha256 is null ? file.BlobId : null) != item.Hash)];
            string[] stale = deletes is null ? []
                : [.. there.Keys.Where(deletes).Except(items.Select(item => item.Path)).Order(StringComparer.Ordinal)];
            if (changed.Length == 0 && stale.Length == 0)
                return new(head, 0, items.Length, 0);
            await SendLarge(repository, [.. changed.Where(item => item.IsLarge)], cancel).ConfigureAwait(false);
            try
            {
                foreach (var (some, last) in Portions(changed))
                    head = await _writer.Commit(repository, head, summary, some, last ? stale : [], cancel).ConfigureAwait(false);
                return new(head, changed.Length, items.Length - changed.Length, stale.Length);
            }
            // The branch has moved on: by somebody else, or by an attempt of ours whose answer was lost.
            catch (HubException other) when (other.Problem == HubProblem.Conflict && conflicts < MostConflicts)
            {
                await client.Settings.Wait(TimeSpan.FromSeconds(conflicts), cancel).ConfigureAwait(false);
            }
        }
    }

    private async Task SendLarge(HubRepository repository, UploadItem[] items, CancellationToken cancel)
    {
        if (items.Length == 0)
            return;
        var actions = await _writer.Actions(repository, items, cancel).ConfigureAwait(false);
        (UploadItem Item, JsonNode Actions)[] absent = [.. items.DistinctBy(item => item.Hash)
            .Select(item => (item, actions.TryGetValue(item.Hash, out var action) ? action : throw new HubException(HubProblem.Protocol,
                $"{HubClient.About(repository)}: the hub does not say what to do with {item.Path}", null, null)))
            .Where(entry => entry.Item2 is not null)!];
        using var count = TransferCount.Begin(observer, $"uploading {repository}", absent.Sum(entry => entry.Item.File.Size));
        var sender = new LargeFileSender(client.Http);
        var several = new ParallelOptions { MaxDegreeOfParallelism = client.Settings.Parallel, CancellationToken = cancel };
        await Parallel.ForEachAsync(absent, several, async (entry, stop) =>
            await sender.Send(entry.Item, entry.Actions, HubClient.About(repository), count.Add, stop).ConfigureAwait(false))
            .ConfigureAwait(false);
    }

    private static IEnumerable<(IReadOnlyList<UploadItem> Items, bool IsLast)> Portions(UploadItem[] items)
    {
        var portion = new List<UploadItem>();
        long bytes = 0;
        foreach (var item in items)
        {
            var size = item.IsLarge ? 0 : item.File.Size;
            if (portion.Count == FilesAtOnce || portion.Count > 0 && bytes + size > BytesAtOnce)
            {
                yield return (portion, false);
                (portion, bytes) = ([], 0);
            }
            portion.Add(item);
            bytes += size;
        }
        yield return (portion, true);
    }
}
