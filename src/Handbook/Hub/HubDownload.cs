using System.Net;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Hub;

/// <summary>Brings one file to its place: goes on where it was cut off, and keeps nothing that is not what the hub announced.</summary>
/// <param name="client">Who asks.</param>
internal sealed class HubDownload(HubClient client)
{
    /// <summary>Attempts that bring not a single byte, one after the other.</summary>
    private const int MostInVain = 5;

    /// <summary>Attempts after bytes that were not the announced ones.</summary>
    private const int MostDamaged = 2;

    /// <summary>Downloads a file.</summary>
    /// <param name="target">Where it goes, once it is whole and right.</param>
    /// <param name="unfinished">Where what has arrived so far is kept.</param>
    /// <param name="arrived">Hears how many bytes are there, more or, where they were of no use, fewer.</param>
    /// <exception cref="InputException">It could not be had.</exception>
    public async Task To(HubRepository repository, string commit, HubFile file, string target, string unfinished, Action<long> arrived,
        CancellationToken cancel)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(unfinished)!);
        Directory.CreateDirectory(Path.GetDirectoryName(target)!);
        RequireRoom(file, unfinished);
        long told = 0;
        for (var damaged = 0; ; damaged++)
        {
            await Receive(repository, commit, file, unfinished, Tell, cancel).ConfigureAwait(false);
            if (await ContentHash.Difference(unfinished, file, cancel).ConfigureAwait(false) is not { } difference)
                break;
            WholeFile.Forget(unfinished);
            Tell(0);
            if (damaged + 1 == MostDamaged)
                throw new HubException(HubProblem.Damaged,
                    $"{HubClient.About(repository)}: {file.Path} is not what the hub announced: {difference}",
                    "it was damaged on its way, twice, or somebody has changed it there; nothing of it was kept",
                    "try again, over another network where that is possible");
        }
        WholeFile.Publish(unfinished, target);

        void Tell(long there)
        {
            arrived(there - told);
            told = there;
        }
    }

    private async Task Receive(HubRepository repository, string commit, HubFile file, string unfinished, Action<long> tell,
        CancellationToken cancel)
    {
        await using var stream = new FileStream(unfinished, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read, 1 << 20);
        if (stream.Length > file.Size)
            stream.SetLength(0);
        for (var inVain = 0; stream.Length < file.Size;)
        {
            var before = stream.Length;
            HubException failure;
            try
            {
                await Append(repository, commit, file, stream, tell, cancel).ConfigureAwait(false);
                failure = new(HubProblem.Unreachable,
                    $"{HubClient.About(repository)}: {file.Path} breaks off after {stream.Length:N0} of {file.Size:N0} bytes",
                    null, "start the same command again: it goes on from there");
            }
            catch (Exception error) when (HubHttp.IsConnection(error) && !cancel.IsCancellationRequested)
            {
                failure = HubErrors.Unreachable(client.Settings, error);
            }
            await stream.FlushAsync(cancel).ConfigureAwait(false);
            if (stream.Length >= file.Size)
                break;
            inVain = stream.Length > before ? 0 : inVain + 1;
            if (inVain == MostInVain)
                throw failure;
            await client.Settings.Wait(TimeSpan.FromSeconds(Math.Min(8, Math.Pow(2, inVain))), cancel).ConfigureAwait(false);
        }
        if (file.Size == 0)
            stream.SetLength(0);
        tell(stream.Length);
    }

    private async Task Append(HubRepository repository, string commit, HubFile file, FileStream stream, Action<long> tell,
        CancellationToken cancel)
    {
        using var response = await client.Bytes(repository, commit, file, stream.Length, cancel).ConfigureAwait(false);
        if (stream.Length > 0 && !BeginsAt(response, stream.Length, file.Size))
        {
            // It does not begin in the middle, or not where it was asked to: from the first byte, then.
            stream.SetLength(0);
            if (response.StatusCode != HttpStatusCode.OK)
                return;
        }
        stream.Position = stream.Length;
        tell(stream.Length);
        await using var body = await client.Http.Body(response, cancel).ConfigureAwait(false);
        var buffer = new byte[1 << 17];
        while (await body.Read(buffer, cancel).ConfigureAwait(false) is > 0 and var read)
        {
            if (stream.Length + read > file.Size)
            {
                stream.SetLength(0);
                throw new HubException(HubProblem.Damaged,
                    $"{HubClient.About(repository)}: {file.Path} has more than the {file.Size:N0} bytes that the hub announced",
                    "nothing of it was kept", "try again; look whether a proxy stands between");
            }
            await stream.WriteAsync(buffer.AsMemory(0, read), cancel).ConfigureAwait(false);
            tell(stream.Length);
        }
    }

    private static bool BeginsAt(HttpResponseMessage response, long from, long size) => response.StatusCode == HttpStatusCode.PartialContent
        && response.Content.Headers.ContentRange is { } range && range.From == from && (range.Length ?? size) == size;

    private static void RequireRoom(HubFile file, string place)
    {
        var there = File.Exists(place) ? new FileInfo(place).Length : 0;
        if (Disk.Real.FreeBytes(Path.GetDirectoryName(place)!) is { } free && free < file.Size - there)
            throw new InputException(
                $"{file.Path} has {Size.Of(file.Size)}, but only {Size.Of(free)} are free in {Path.GetDirectoryName(place)}",
                fix: "free some space, or name another place with HF_HUB_CACHE");
    }
}
