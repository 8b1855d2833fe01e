using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Handbook.Training.Tests.Sampling;

/// <summary>An OpenAI-compatible endpoint on this machine that answers as the test says.</summary>
internal sealed class FakeEndpoint : IDisposable
{
    private readonly HttpListener _listener = new();
    private int _running;

    private readonly Func<JsonElement, IReadOnlyDictionary<string, double>?> _firstTokens;

    /// <param name="reply">From the request's body to status, text (of the reply, or of the error) and Retry-After.</param>
    /// <param name="firstTokens">From the request's body to log p of the likeliest first tokens; null sends none.</param>
    public FakeEndpoint(Func<JsonElement, (int Status, string Text, string? RetryAfter)> reply,
        Func<JsonElement, IReadOnlyDictionary<string, double>?>? firstTokens = null)
    {
        _firstTokens = firstTokens ?? (_ => null);
        var socket = new TcpListener(IPAddress.Loopback, 0);
        socket.Start();
        var port = ((IPEndPoint)socket.LocalEndpoint).Port;
        socket.Stop();
        Address = $"http://127.0.0.1:{port}/v1";
        _listener.Prefixes.Add($"http://127.0.0.1:{port}/");
        _listener.Start();
        _ = Task.Run(async () =>
        {
            while (_listener.IsListening)
            {
                var context = await _listener.GetContextAsync();
                _ = Task.Run(() => Answer(context, reply));
            }
        });
    }

    public string Address { get; }

    /// <summary>Bodies of all requests.</summary>
    public ConcurrentQueue<JsonElement> Requests { get; } = [];

    public ConcurrentQueue<string?> Keys { get; } = [];

    /// <summary>Most requests that were there at the same time.</summary>
    public int MostAtOnce { get; private set; }

    private void Answer(HttpListenerContext context, Func<JsonElement, (int, string, string?)> reply)
    {
        lock (_listener)
            MostAtOnce = Math.Max(MostAtOnce, ++_running);
        var body = JsonSerializer.Deserialize<JsonElement>(context.Request.InputStream);
        Requests.Enqueue(body);
        Keys.Enqueue(context.Request.Headers["Authorization"]);
        var (status, text, retryAfter) = reply(body);
        context.Response.StatusCode = status;
        if (retryAfter is not null)
            context.Response.Headers["Retry-After"] = retryAfter;
        context.Response.ContentType = "application/json";
        var json = status != 200 ? new JsonObject { ["error"] = new JsonObject { ["message"] = text } } : new JsonObject
        {
            ["id"] = "1",
            ["object"] = "chat.completion",
            ["created"] = 1,
            ["model"] = "fake",
            ["choices"] = new JsonArray(new JsonObject
            {
                ["index"] = 0,
                ["finish_reason"] = "stop",
                ["message"] = new JsonObject { ["role"] = "assistant", ["content"] = text },
                ["logprobs"] = LogProbs(_firstTokens(body)),
            }),
            ["usage"] = new JsonObject { ["prompt_tokens"] = 3, ["completion_tokens"] = 5, ["total_tokens"] = 8 },
        };
        Thread.Sleep(10);
        lock (_listener)
            _running--;
        context.Response.OutputStream.Write(Encoding.UTF8.GetBytes(json.ToJsonString()));
        context.Response.Close();
    }

    private static JsonObject? LogProbs(IReadOnlyDictionary<string, double>? tokens) => tokens is null ? null : new()
    {
        ["content"] = new JsonArray(Token(tokens.First(), [.. tokens.Select(token => Token(token, null))])),
    };

    private static JsonObject Token(KeyValuePair<string, double> token, JsonArray? top)
    {
        var json = new JsonObject { ["token"] = token.Key, ["logprob"] = token.Value, ["bytes"] = null };
        if (top is not null)
            json["top_logprobs"] = top;
        return json;
    }

    public void Dispose() => _listener.Close();
}
