using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace Handbook.Server;

/// <summary>Server-sent events: each a line of JSON, flushed at once. The head is sent with the first one, so that a request that fails
/// before has a status of its own.</summary>
internal sealed class EventStream(HttpResponse response)
{
    /// <summary>A request that takes too long is still told so.</summary>
    private CancellationToken Left => response.HttpContext.RequestAborted;

    /// <summary>Whether the client has left.</summary>
    public bool IsAbandoned => Left.IsCancellationRequested;

    /// <summary>Whether anything was sent.</summary>
    public bool HasBegun { get; private set; }

    public Task Send(Action<Utf8JsonWriter> write) => Send(ResponseJson.Write(json =>
    {
        json.WriteStartObject();
        write(json);
        json.WriteEndObject();
    }));

    public async Task Send(ReadOnlyMemory<byte> json)
    {
        if (!HasBegun)
        {
            HasBegun = true;
            response.ContentType = "text/event-stream; charset=utf-8";
            response.Headers.CacheControl = "no-cache";
            response.Headers["X-Accel-Buffering"] = "no";      // nginx would hold it back
        }
        var body = response.BodyWriter;
        await body.WriteAsync("data: "u8.ToArray(), Left);
        await body.WriteAsync(json, Left);
        await body.WriteAsync("\n\n"u8.ToArray(), Left);
        await body.FlushAsync(Left);
    }

    /// <summary>Says that all is sent.</summary>
    public Task Done() => Send("[DONE]"u8.ToArray());
}
