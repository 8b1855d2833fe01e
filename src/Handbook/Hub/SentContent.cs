using System.Net;
using System.Text.Json.Nodes;
using Microsoft.Win32.SafeHandles;

namespace Handbook.Hub;

/// <summary>A body that is written as it is sent, and says so.</summary>
internal abstract class SentContent : HttpContent
{
    /// <summary>Hears of each piece that went out.</summary>
    public Action? Went { get; set; }
}

/// <summary>A part of an open file: it stays what it is, whoever removes the file's name meanwhile.</summary>
/// <param name="file">The file.</param>
/// <param name="offset">Where the part begins.</param>
/// <param name="length">Its bytes.</param>
/// <param name="sent">Hears how many bytes went out; null for nobody.</param>
internal sealed class FilePart(SafeFileHandle file, long offset, long length, Action<long>? sent = null) : SentContent
{
    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
        SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        var buffer = new byte[1 << 18];
        for (long done = 0; done < length;)
        {
            var read = await RandomAccess.ReadAsync(file, buffer.AsMemory(0, (int)Math.Min(buffer.Length, length - done)), offset + done,
                cancellationToken).ConfigureAwait(false);
            if (read == 0)
                throw new InvalidDataException("the file was cut while it was being sent");
            await stream.WriteAsync(buffer.AsMemory(0, read), cancellationToken).ConfigureAwait(false);
            done += read;
            Went?.Invoke();
            sent?.Invoke(read);
        }
    }

    protected override bool TryComputeLength(out long computed)
    {
        computed = length;
        return true;
    }
}

/// <summary>The lines of a commit, each an object, with the content of small files in them. One file is in memory at a time.</summary>
/// <param name="header">What the commit says of itself.</param>
/// <param name="files">What it adds or replaces.</param>
/// <param name="deleted">What it removes.</param>
internal sealed class CommitLines(JsonObject header, IReadOnlyList<UploadItem> files, IReadOnlyList<string> deleted) : SentContent
{
    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
        SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        await Write("header", header.DeepClone()).ConfigureAwait(false);
        foreach (var item in files)
            await (item.IsLarge
                ? Write("lfsFile", new JsonObject
                {
                    ["path"] = item.Path,
                    ["algo"] = "sha256",
                    ["oid"] = item.Hash,
                    ["size"] = item.File.Size
                })
                : Write("file", new JsonObject { ["path"] = item.Path, ["encoding"] = "base64", ["content"] = item.File.Base64() }))
                .ConfigureAwait(false);
        foreach (var path in deleted)
            await Write("deletedFile", new JsonObject { ["path"] = path }).ConfigureAwait(false);

        async Task Write(string key, JsonNode value)
        {
            var line = new JsonObject { ["key"] = key, ["value"] = value }.ToJsonString() + "\n";
            await stream.WriteAsync(System.Text.Encoding.UTF8.GetBytes(line), cancellationToken).ConfigureAwait(false);
            Went?.Invoke();
        }
    }

    protected override bool TryComputeLength(out long length)
    {
        length = 0;
        return false;
    }
}
