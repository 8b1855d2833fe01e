using System.Globalization;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;

namespace Handbook.Hub;

/// <summary>A folder that gets the files of a repository themselves, not links into the cache. What is known of each lies in its
/// <c>.cache/huggingface/download</c>, as the Python client keeps it, so that only what has changed is downloaded again.</summary>
/// <param name="folder">The folder.</param>
internal sealed class HubLocalFolder(string folder)
{
    private readonly string _folder = Path.GetFullPath(folder);

    /// <summary>Downloads what the folder does not hold yet.</summary>
    public async Task Fetch(HubClient client, HubRepository repository, string commit, IReadOnlyList<HubFile> files, IWorkObserver observer,
        CancellationToken cancel)
    {
        HubFile[] absent = [.. files.Where(file => !Has(file))];
        using var count = TransferCount.Begin(observer, $"downloading {repository}", absent.Sum(file => file.Size));
        await Parallel.ForEachAsync(absent, new ParallelOptions
        {
            MaxDegreeOfParallelism = client.Settings.Parallel,
            CancellationToken = cancel
        },
            async (file, stop) =>
            {
                var target = Path.Combine(_folder, file.Path);
                RequireInside(target);
                var known = Known(file, ".metadata");
                using (await FileGate.Enter(Known(file, ".lock"), stop).ConfigureAwait(false))
                    await new HubDownload(client).To(repository, commit, file, target, Known(file, $".{file.Etag}.incomplete"), count.Add,
                        stop)
                        .ConfigureAwait(false);
                WholeFile.WriteText(known, string.Create(CultureInfo.InvariantCulture,
                    $"{commit}\n{file.Etag}\n{DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0:0.000}\n"), durable: false);
            }).ConfigureAwait(false);
    }

    private bool Has(HubFile file)
    {
        var (place, known) = (new FileInfo(Path.Combine(_folder, file.Path)), Known(file, ".metadata"));
        return place.Exists && place.Length == file.Size && File.Exists(known) && File.ReadAllLines(known) is [_, var etag, ..]
            && etag == file.Etag
            // A file that was changed since is not the one that was downloaded.
            && place.LastWriteTimeUtc <= File.GetLastWriteTimeUtc(known).AddSeconds(1);
    }

    private string Known(HubFile file, string ending) => Path.Combine(_folder, ".cache", "huggingface", "download", file.Path + ending);

    /// <summary>A folder below may be a link to elsewhere, which a name that looks harmless would follow.</summary>
    private void RequireInside(string target)
    {
        var above = Path.GetDirectoryName(target)!;
        if (!RealPath.IsWithin(above, _folder))
            throw new InputException($"{above} leads out of {_folder}", "files are only ever written below the folder that was asked for",
                "remove the link, or name another folder");
    }
}
