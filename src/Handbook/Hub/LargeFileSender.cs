using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;

namespace Handbook.Hub;

/// <summary>Sends the content of one large file where the hub says: whole, or in parts, each again where it failed.</summary>
/// <param name="http">Who sends.</param>
internal sealed class LargeFileSender(HubHttp http)
{
    private const long SmallestPart = 1 << 10;

    /// <summary>Attempts to send what the hub then says it has not.</summary>
    private const int MostDamaged = 2;

    /// <summary>Sends a file.</summary>
    /// <param name="actions">What the hub said to do for it.</param>
    /// <param name="went">Hears how many bytes have gone.</param>
    public async Task Send(UploadItem item, JsonNode actions, string repository, Action<long> went, CancellationToken cancel)
    {
        var about = $"{repository}: {item.Path}";
        if (HubClient.Part(actions, "upload") is not { } upload)
            return;
        var address = Address(upload, about);
        var header = HubClient.Part(upload, "header") as JsonObject ?? [];
        for (var attempt = 1; ; attempt++)
        {
            if (HubClient.Part(header, "chunk_size") is { } chunk)
                await InParts(item, address, header, Number(chunk, about), about, went, cancel).ConfigureAwait(false);
            else
                using (await Put(item, address, 0, item.File.Size, header, about, went, cancel).ConfigureAwait(false)) { }
            if (HubClient.Part(actions, "verify") is not { } verify
                || await Arrived(item, Address(verify, about), about, cancel).ConfigureAwait(false))
                return;
            if (attempt == MostDamaged)
                throw new HubException(HubProblem.Damaged, $"{about}: it was sent, and the hub has not received it whole", null,
                    "start the same command again: what has arrived is not sent again");
            went(-item.File.Size);
        }
    }

    private async Task<bool> Arrived(UploadItem item, string address, string about, CancellationToken cancel)
    {
        var content = new JsonObject { ["oid"] = item.Hash, ["size"] = item.File.Size };
        using var response = await http.Send(() => HubWriter.Post(address, content), about, cancel,
            answer => answer.StatusCode is HttpStatusCode.NotFound or HttpStatusCode.BadRequest or HttpStatusCode.UnprocessableEntity)
            .ConfigureAwait(false);
        return response.IsSuccessStatusCode;
    }

    private async Task InParts(UploadItem item, string completion, JsonObject header, long size, string about, Action<long> went,
        CancellationToken cancel)
    {
        string[] addresses = [.. header.Where(entry => int.TryParse(entry.Key, NumberStyles.None, CultureInfo.InvariantCulture, out _))
            .OrderBy(entry => int.Parse(entry.Key, CultureInfo.InvariantCulture))
            .Select(entry => Checked(HubClient.MaybeText(header, entry.Key), about))];
        if (size < SmallestPart || addresses.Length != (item.File.Size + size - 1) / size)
            throw new HubException(HubProblem.Protocol,
                $"{about}: the hub names {addresses.Length} parts of {size:N0} bytes for {item.File.Size:N0}", null, null);
        var parts = new JsonArray();
        for (var i = 0; i < addresses.Length; i++)
        {
            using var response = await Put(item, addresses[i], i * size, Math.Min(size, item.File.Size - i * size), [], about, went, cancel)
                .ConfigureAwait(false);
            parts.Add(new JsonObject
            {
                ["partNumber"] = i + 1,
                ["etag"] = HubErrors.Header(response, "ETag")
                    ?? throw new HubException(HubProblem.Protocol, $"{about}: the store does not say what it took", null, null),
            });
        }
        var whole = new JsonObject { ["oid"] = item.Hash, ["parts"] = parts };
        using var done = await http.Send(() => HubWriter.Post(completion, whole, "application/vnd.git-lfs+json"), about, cancel)
            .ConfigureAwait(false);
    }

    private Task<HttpResponseMessage> Put(UploadItem item, string address, long offset, long length, JsonObject header, string about,
        Action<long> went, CancellationToken cancel)
    {
        long told = 0;
        return http.Send(() =>
        {
            went(-told);        // of an attempt that failed
            told = 0;
            var request = new HttpRequestMessage(HttpMethod.Put, address)
            {
                Content = new FilePart(item.File.Handle, offset, length, sent =>
                {
                    told += sent;
                    went(sent);
                }),
            };
            foreach (var (name, _) in header)
                if (HubClient.MaybeText(header, name) is { } text && !request.Headers.TryAddWithoutValidation(name, text))
                    request.Content.Headers.TryAddWithoutValidation(name, text);
            return request;
        }, about, cancel);
    }

    private string Address(JsonNode action, string about) => Checked(HubClient.MaybeText(action, "href"), about);

    private string Checked(string? address, string about)
    {
        if (!Uri.TryCreate(http.Settings.Endpoint, address, out var uri))
            throw new HubException(HubProblem.Protocol, $"{about}: the hub does not say where it goes", null, null);
        http.Require(http.Settings.Endpoint, uri);
        return uri.AbsoluteUri;
    }

    private static long Number(JsonNode value, string about) =>
        long.TryParse(value.ToString(), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number
            : throw new HubException(HubProblem.Protocol, $"{about}: the size of a part is \"{value}\"", null, null);
}
