using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;

namespace Handbook.Testing.Hub;

/// <summary>The stand-in's store of large files, by the hash of their bytes.</summary>
/// <param name="hub">Whose it is.</param>
internal sealed class StandInStore(StandInHub hub)
{
    private readonly ConcurrentDictionary<string, byte[]> _contents = [];
    private readonly ConcurrentDictionary<string, SortedDictionary<int, byte[]>> _parts = [];

    public void Keep(string hash, byte[] bytes) => _contents[hash] = bytes;

    public byte[]? Find(string hash) => _contents.GetValueOrDefault(hash);

    /// <summary>The store of large files: it knows nobody, and wants no token.</summary>
    public bool Take(HttpListenerContext context, StandInRequest request, string[] parts)
    {
        if (request.Authorization is not null)
            return StandInHub.Answer(context, 400, "a token that is none of the store's business"u8.ToArray());
        if (parts is ["store", var hash] && _contents.TryGetValue(hash, out var bytes))
            return hub.Bytes(context, request, bytes);
        if (parts[0] != "put" || request.Method != "PUT")
            return false;
        var body = StandInHub.Body(context);
        if (body.Length != context.Request.ContentLength64)
            return StandInHub.Answer(context, 400, "cut"u8.ToArray());
        if (parts.Length == 3)
        {
            lock (_parts)
                (_parts.TryGetValue(parts[1], out var known) ? known : _parts[parts[1]] = [])[int.Parse(parts[2],
                    CultureInfo.InvariantCulture)] = body;
            context.Response.Headers["ETag"] = $"\"part-{parts[2]}\"";
        }
        else if (StandInRepository.LargeHash(body) == parts[1])
            _contents[parts[1]] = body;
        else
            return StandInHub.Answer(context, 400, "other bytes than announced"u8.ToArray());
        return StandInHub.Answer(context, 200, []);
    }

    public bool Batch(HttpListenerContext context, StandInRequest request)
    {
        if (request.Authorization is null || hub.Role == "read")
            return StandInHub.Refuse(context, 403, null, "Forbidden");
        var objects = new JsonArray();
        foreach (var entry in JsonNode.Parse(StandInHub.Body(context))!["objects"]!.AsArray())
        {
            var (oid, size) = ((string)entry!["oid"]!, (long)entry["size"]!);
            var answer = new JsonObject { ["oid"] = oid, ["size"] = size };
            if (!_contents.ContainsKey(oid))
            {
                var upload = new JsonObject { ["href"] = $"{hub.Store}/put/{oid}?signature=secret-of-the-address" };
                if (size > hub.PartSize)
                {
                    var header = new JsonObject { ["chunk_size"] = hub.PartSize.ToString(CultureInfo.InvariantCulture) };
                    for (var part = 1; part <= (size + hub.PartSize - 1) / hub.PartSize; part++)
                        header[part.ToString("00000", CultureInfo.InvariantCulture)] =
                            $"{hub.Store}/put/{oid}/{part}?signature=secret-of-the-address";
                    (upload["href"], upload["header"]) = ($"{hub.Address}/api/complete/{oid}", header);
                }
                answer["actions"] = new JsonObject
                {
                    ["upload"] = upload,
                    ["verify"] = new JsonObject
                    {
                        ["href"] = $"{hub.Address}/api/verify/{oid}"
                    }
                };
            }
            objects.Add(answer);
        }
        return StandInHub.Json(context, new JsonObject { ["transfer"] = "basic", ["objects"] = objects });
    }

    public bool Complete(HttpListenerContext context, string oid)
    {
        var told = JsonNode.Parse(StandInHub.Body(context))!["parts"]!.AsArray();
        var parts = _parts[oid];
        if (told.Count != parts.Count || told.Any(part => (string)part!["etag"]! != $"\"part-{(int)part["partNumber"]!}\""))
            return StandInHub.Answer(context, 400, "other parts than those that came"u8.ToArray());
        var bytes = parts.SelectMany(part => part.Value).ToArray();
        if (StandInRepository.LargeHash(bytes) != oid)
            return StandInHub.Answer(context, 400, "other bytes than announced"u8.ToArray());
        _contents[oid] = bytes;
        return StandInHub.Json(context, new JsonObject());
    }

    public bool Verify(HttpListenerContext context, string oid) => _contents.TryGetValue(oid, out var bytes)
        && bytes.Length == (long)JsonNode.Parse(StandInHub.Body(context))!["size"]! ? StandInHub.Json(context, new JsonObject()) : StandInHub.Answer(context, 404, []);

}
