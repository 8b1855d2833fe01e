using System.Net;
using System.Reflection;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models;
using Handbook.Watching;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Handbook.Server.Dashboard;

/// <summary>A web page of runs: one bundle that asks this server alone, and shows what the runs write while they write it.</summary>
/// <remarks>Of runs it only reads; it writes one file, of what somebody prefers in the playground. It answers nobody but a browser that came
/// to its own address, and lets the page load nothing from elsewhere.</remarks>
internal sealed class DashboardServer : IAsyncDisposable
{
    private const long MostBytes = 1_000_000;

    private const string Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    private static readonly Dictionary<string, (string Resource, string Type)> s_page = new()
    {
        ["/"] = ("index.html", "text/html; charset=utf-8"),
        ["/app.js"] = ("app.js", "text/javascript; charset=utf-8"),
        ["/charts.js"] = ("charts.js", "text/javascript; charset=utf-8"),
        ["/playground.js"] = ("playground.js", "text/javascript; charset=utf-8"),
        ["/samples.js"] = ("samples.js", "text/javascript; charset=utf-8"),
        ["/app.css"] = ("app.css", "text/css; charset=utf-8"),
    };

    private static readonly string?[] s_taken = ["/api/answers", "/api/preferences"];

    private readonly WebApplication _app;
    private readonly DashboardOptions _options;
    private readonly OpenModels _models;
    private readonly RunPages _runs;
    private readonly Playground _playground;

    private DashboardServer(DashboardOptions options)
    {
        (_options, _models) = (options, new(options.Compute));
        _runs = new(options.Folder, _models);
        foreach (var name in options.Models)
            ModelFolder.FindAny(name, "--model");       // now, not when the page asks for it
        var beside = RunView.IsRun(options.Folder) ? Path.GetDirectoryName(Path.GetFullPath(options.Folder)) ?? options.Folder
            : options.Folder;
        _playground = new(() => [.. options.Models.Select(name => (name, ModelFolder.FindAny(name, "--model"))).Concat(_runs.Models())
            .DistinctBy(model => model.Item1)], _models, new(options.Preferences ?? Path.Combine(beside, "playground.jsonl")));
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = 2 * MostBytes;
            kestrel.Listen(options.Host, options.Port, listen => listen.Protocols = HttpProtocols.Http1);
        });
        _app = builder.Build();
        _app.Run(Handle);
    }

    /// <summary>Where it listens.</summary>
    public Uri Address { get; private set; } = null!;

    /// <summary>Begins to listen.</summary>
    /// <exception cref="InputException">There is no run, the port is taken, or the address is none of this machine.</exception>
    public static async Task<DashboardServer> Start(DashboardOptions options)
    {
        var server = new DashboardServer(options);
        server.Address = await Listening.Start(server._app, options.Host, options.Port);
        return server;
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _runs.Dispose();
        _models.Dispose();
    }

    private async Task Handle(HttpContext context)
    {
        var (request, response) = (context.Request, context.Response);
        response.Headers.ContentSecurityPolicy = Policy;
        response.Headers.XContentTypeOptions = "nosniff";
        response.Headers["Referrer-Policy"] = "no-referrer";
        response.Headers.CacheControl = "no-store";
        try
        {
            if (HttpMethods.IsPost(request.Method) && s_taken.Contains(request.Path.Value))
            {
                await Take(request, response, context.RequestAborted);
                return;
            }
            var (status, type, body) = Answer(request);
            (response.StatusCode, response.ContentType, response.ContentLength) = (status, type, body.Length);
            if (!HttpMethods.IsHead(request.Method))
                await response.Body.WriteAsync(body, context.RequestAborted);
        }
        catch (OperationCanceledException)
        {
            // The browser has left.
        }
        catch (Exception failure) when (!response.HasStarted)       // the border of the server: everything becomes an answer
        {
            _options.Say?.Invoke($"internal error: {failure}");
            response.StatusCode = StatusCodes.Status500InternalServerError;
        }
    }

    /// <summary>Answers with models, or keeps a choice; a page of another site can send neither.</summary>
    private async Task Take(HttpRequest request, HttpResponse response, CancellationToken cancel)
    {
        try
        {
            if (!IsOwn(request.Host.Host) || request.Headers.Origin.ToString() is { Length: > 0 } origin
                && (!Uri.TryCreate(origin, UriKind.Absolute, out var from) || from.Authority != request.Host.Value))
                throw new ApiException(403, "a page of another site may not ask models or write rows");
            var body = await RequestBody.Read(request, MostBytes, "", cancel);
            if (request.Path == "/api/answers")
                await _playground.Answer(body, response, cancel);
            else
                await ApiServer.Send(response, Bytes(_playground.Keep(body)), cancel);
        }
        catch (Exception failure) when (failure is not OperationCanceledException && !response.HasStarted)
        {
            var told = ApiException.Of(failure);
            if (told.Status == 500)
                _options.Say?.Invoke($"internal error: {failure}");
            response.StatusCode = told.Status;
            await ApiServer.Send(response, Error(told.Status, told.Message).Item3, cancel);
        }
    }

    private (int Status, string Type, byte[] Body) Answer(HttpRequest request)
    {
        if (!HttpMethods.IsGet(request.Method) && !HttpMethods.IsHead(request.Method))
            return Error(405, "only GET is answered here");
        if (!IsOwn(request.Host.Host))
            return Error(403, $"asked for as {request.Host.Host}: a page of another site may not read runs");
        var path = request.Path.Value ?? "";
        if (s_page.TryGetValue(path, out var part))
            return (200, part.Type, Resource(part.Resource));
        try
        {
            return (path == "/api/playground" ? _playground.Describe() : _runs.Answer(path, request.Query)) is { } json
                ? (200, "application/json; charset=utf-8", Bytes(json))
                : Error(404, $"there is nothing at {(path.Length > 80 ? path[..80] + "…" : path)}");
        }
        catch (InputException failure)
        {
            return Error(422, failure.Fix is null ? failure.Message : $"{failure.Message} ({failure.Fix})");
        }
    }

    // A server that listens to other machines is known by names that it cannot know.
    private bool IsOwn(string host) => !IPAddress.IsLoopback(_options.Host) || Listening.IsLocal(host);

    private static (int, string, byte[]) Error(int status, string message) =>
        (status, "application/json; charset=utf-8", Bytes(new JsonObject { ["error"] = message }));

    private static byte[] Bytes(JsonNode json) => System.Text.Encoding.UTF8.GetBytes(json.ToJsonString());

    private static byte[] Resource(string name)
    {
        using var stream = Assembly.GetExecutingAssembly().GetManifestResourceStream($"Handbook.Server.Dashboard.Page.{name}")!;
        var bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }
}
