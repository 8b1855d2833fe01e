using System.Net;
using System.Text;
using System.Text.Json;
using Handbook.Base;
using Handbook.Serving;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Handbook.Server;

/// <summary>The models over HTTP, in the form of OpenAI's interface.</summary>
internal sealed class ApiServer : IAsyncDisposable
{
    private const int Beyond = 1_000_000;

    private readonly WebApplication _app;
    private readonly ServedModels _models;
    private readonly ServerOptions _options;
    private readonly ApiKey? _key;
    private readonly ServerMetrics _metrics;
    private readonly ServedChats _chat;
    private readonly ServedCompletions _completions;
    private readonly ServedEmbeddings _embeddings;

    private ApiServer(ServedModels models, ServerOptions options)
    {
        (_models, _options, _key) = (models, options, options.ApiKey is { } key ? new(key) : null);
        _metrics = new(models.Engine.Statistics);
        (_chat, _completions, _embeddings) = (new(models, options), new(models, options), new(models, options));
        // Empty: no settings from files or the environment, no log.
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            // The bound is ours, with an answer; what goes on beyond it all the same is cut off.
            kestrel.Limits.MaxRequestBodySize = options.MaxBody + Beyond;
            kestrel.Limits.RequestHeadersTimeout = options.HeadTimeout;
            kestrel.Limits.MinRequestBodyDataRate = new(options.SlowestSender, options.SenderPatience);
            kestrel.Limits.MaxConcurrentConnections = options.MaxConnections;
            kestrel.Listen(options.Host, options.Port, listen => listen.Protocols = HttpProtocols.Http1);
        });
        builder.Services.Configure<Microsoft.Extensions.Hosting.HostOptions>(host => host.ShutdownTimeout = options.Grace);
        _app = builder.Build();
        _app.Run(Handle);
    }

    /// <summary>Where it listens.</summary>
    public Uri Address { get; private set; } = null!;

    /// <summary>Begins to listen.</summary>
    /// <exception cref="InputException">The port is taken, or the address is none of this machine.</exception>
    public static async Task<ApiServer> Start(ServedModels models, ServerOptions options)
    {
        var server = new ApiServer(models, options);
        server.Address = await Listening.Start(server._app, options.Host, options.Port);
        return server;
    }

    /// <summary>Takes no more requests, and ends when the running ones are answered or the time for it is over.</summary>
    public async Task Stop()
    {
        using var grace = new CancellationTokenSource(_options.Grace);
        await _app.StopAsync(grace.Token);
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _metrics.Dispose();
    }

    private async Task Handle(HttpContext context)
    {
        var (request, response, clock) = (context.Request, context.Response, new RequestClock(_metrics, context.Request));
        var endpoint = "other";
        using var timer = new CancellationTokenSource(_options.Timeout);
        using var cancel = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, context.RequestAborted);
        try
        {
            RequireHost(request);
            AllowOrigin(request, response);
            if (HttpMethods.IsOptions(request.Method))
            {
                response.StatusCode = StatusCodes.Status204NoContent;
                return;
            }
            var path = request.Path.Value ?? "";
            if (path == "/health")
            {
                endpoint = path;
                Require(request, HttpMethods.Get);
                await Send(response, """{"status":"ok"}"""u8.ToArray(), cancel.Token);
                return;
            }
            _key?.Require(request);
            switch (path)
            {
                case "/v1/chat/completions":
                    endpoint = path;
                    await _chat.Answer(await Body(request, cancel.Token), response, clock, cancel.Token);
                    break;
                case "/v1/completions":
                    endpoint = path;
                    await _completions.Answer(await Body(request, cancel.Token), response, clock, cancel.Token);
                    break;
                case "/v1/embeddings":
                    endpoint = path;
                    await _embeddings.Answer(await Body(request, cancel.Token), response, clock, cancel.Token);
                    break;
                case "/v1/models":
                    endpoint = path;
                    Require(request, HttpMethods.Get);
                    await Send(response, ResponseJson.Write(ModelList), cancel.Token);
                    break;
                case "/metrics":
                    endpoint = path;
                    Require(request, HttpMethods.Get);
                    response.ContentType = "text/plain; version=0.0.4; charset=utf-8";
                    await response.WriteAsync(_metrics.Write(), cancel.Token);
                    break;
                case var other when other.StartsWith("/v1/models/", StringComparison.Ordinal):
                    endpoint = "/v1/models";
                    Require(request, HttpMethods.Get);
                    var name = other["/v1/models/".Length..];
                    var model = _models.Find(name) ?? throw SamplingRequest.NotFound(name, _models);
                    await Send(response, ResponseJson.Write(json => Model(json, model)), cancel.Token);
                    break;
                default:
                    throw new ApiException(404, $"there is nothing at {(path.Length > 80 ? path[..80] + "…" : path)}; there are: "
                        + "/v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models, /health, /metrics", code: "not_found");
            }
        }
        catch (Exception) when (context.RequestAborted.IsCancellationRequested)
        {
            response.StatusCode = StatusCodes.Status499ClientClosedRequest;       // nobody hears it, but it is counted
        }
        catch (Exception failure)           // the border of the server: everything becomes an answer
        {
            var error = ApiException.Of(failure, timer.IsCancellationRequested);
            if (error.Status == 500)
                _options.Say?.Invoke($"internal error: {failure}");
            if (response.HasStarted)
                context.Abort();
            else
                await Send(response, error);
        }
        finally
        {
            clock.Done(endpoint, response.StatusCode);
        }
    }

    /// <summary>Sends events, and in the place of those that cannot come any more why.</summary>
    public static async Task Streaming(EventStream events, Func<Task> send)
    {
        try
        {
            await send();
            await events.Done();
        }
        catch (Exception failure) when (events.HasBegun && !events.IsAbandoned)
        {
            await events.Send(ResponseJson.Error(ApiException.Of(failure, hasTimedOut: failure is OperationCanceledException)));
        }
    }

    /// <summary>Answers with JSON.</summary>
    public static async Task Send(HttpResponse response, ReadOnlyMemory<byte> json, CancellationToken cancel)
    {
        response.ContentType = "application/json";
        response.ContentLength = json.Length;
        await response.BodyWriter.WriteAsync(json, cancel);
    }

    private static async Task Send(HttpResponse response, ApiException error)
    {
        response.StatusCode = error.Status;
        if (error.RetryAfter is { } wait)
            response.Headers.RetryAfter = Math.Ceiling(wait.TotalSeconds).ToString(System.Globalization.CultureInfo.InvariantCulture);
        if (error.Status == 401)
            response.Headers.WWWAuthenticate = "Bearer";
        try
        {
            await Send(response, ResponseJson.Error(error), CancellationToken.None);
        }
        catch (IOException)
        {
            // the client has left
        }
    }

    private static void Require(HttpRequest request, string method)
    {
        if (!HttpMethods.Equals(request.Method, method))
            throw new ApiException(405, $"{request.Path} is asked with {method}, not with "
                + (request.Method.Length > 20 ? "that" : request.Method), code: "method_not_allowed");
    }

    private Task<RequestBody> Body(HttpRequest request, CancellationToken cancel)
    {
        Require(request, HttpMethods.Post);
        return RequestBody.Read(request, _options.MaxBody, " (--max-body)", cancel);
    }

    /// <summary>A page of somebody else's may give its own name this machine's address: without a key, only this machine's names
    /// count.</summary>
    private void RequireHost(HttpRequest request)
    {
        if (_key is null && IPAddress.IsLoopback(_options.Host) && !Listening.IsLocal(request.Host.Host))
            throw new ApiException(421, "this server answers to localhost alone; start it with an API key to ask it by other names",
                code: "misdirected");
    }

    private void AllowOrigin(HttpRequest request, HttpResponse response)
    {
        if (request.Headers.Origin.ToString() is not { Length: > 0 } origin || !_options.AllowedOrigins.Contains(origin))
            return;
        response.Headers.AccessControlAllowOrigin = origin;
        response.Headers.Vary = "Origin";
        response.Headers.AccessControlAllowHeaders = "authorization, content-type";
        response.Headers.AccessControlAllowMethods = "GET, POST";
        response.Headers.AccessControlMaxAge = "600";
    }

    private void ModelList(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("object", "list");
        json.WriteStartArray("data");
        foreach (var model in _models.All)
            Model(json, model);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void Model(Utf8JsonWriter json, ServedModel model)
    {
        json.WriteStartObject();
        json.WriteString("id", model.Name);
        json.WriteString("object", "model");
        json.WriteNumber("created", model.Since.ToUnixTimeSeconds());
        json.WriteString("owned_by", "handbook");
        json.WriteString("parent", model.Base);
        json.WriteNumber("max_model_len", model.Window);
        json.WriteEndObject();
    }
}
