using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text.Json.Nodes;

namespace Handbook.Hub;

/// <summary>Sends requests: again where that may help, and with the token to the hub alone.</summary>
internal sealed class HubHttp : IDisposable
{
    private const int MostRedirects = 5;
    private const int MostOfError = 1 << 14;
    private const int MostOfJson = 64 << 20;

    private readonly HttpClient _client;

    /// <param name="settings">Where the hub is.</param>
    public HubHttp(HubSettings settings)
    {
        Settings = settings;
        _client = new(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,      // the token would follow
            AutomaticDecompression = DecompressionMethods.None,     // ranges are of what lies there
            ConnectTimeout = settings.ConnectTime,
            PooledConnectionLifetime = TimeSpan.FromMinutes(10),
            UseCookies = false,
        })
        { Timeout = Timeout.InfiniteTimeSpan };
        _client.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("handbook", "0.1.0"));
    }

    /// <summary>Where the hub is, and who asks.</summary>
    public HubSettings Settings { get; }

    /// <summary>Sends a request until it succeeds; whoever calls disposes the answer.</summary>
    /// <param name="make">Makes the request: each attempt needs a new one.</param>
    /// <param name="about">What it is about, for messages.</param>
    /// <param name="accept">Answers without success that the caller wants to see; null for none.</param>
    /// <param name="leavesHub">Whether redirects away from the hub are followed.</param>
    /// <exception cref="HubException">It did not, for good.</exception>
    public async Task<HttpResponseMessage> Send(Func<HttpRequestMessage> make, string about, CancellationToken cancel,
        Func<HttpResponseMessage, bool>? accept = null, bool leavesHub = true)
    {
        for (var attempt = 1; ; attempt++)
        {
            HubException failure;
            TimeSpan? asked = null;
            var attempts = Settings.Attempts;
            try
            {
                var response = await Follow(make, leavesHub, cancel).ConfigureAwait(false);
                if (response.IsSuccessStatusCode || accept?.Invoke(response) == true)
                    return response;
                using (response)
                {
                    asked = HubErrors.RetryAfter(response, DateTimeOffset.UtcNow);
                    failure = HubErrors.Of(response, await Beginning(response, cancel).ConfigureAwait(false), Settings, about);
                }
            }
            catch (Exception error) when (IsConnection(error) && !cancel.IsCancellationRequested)
            {
                failure = HubErrors.Unreachable(Settings, error);
                // Who was never there will not be there in a moment; who went away may be.
                if (error is HttpRequestException
                    { HttpRequestError: HttpRequestError.NameResolutionError or HttpRequestError.ConnectionError })
                    attempts = Math.Min(2, attempts);
            }
            var wait = asked ?? TimeSpan.FromSeconds(Math.Min(8, Math.Pow(2, attempt - 1)) * (0.75 + Random.Shared.NextDouble() / 2));
            if (!failure.MayPass || attempt >= attempts || wait > Settings.LongestWait)
                throw failure;
            await Settings.Wait(wait, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Reads an answer of JSON.</summary>
    /// <exception cref="HubException">It is none, or one of no size that a hub sends.</exception>
    public async Task<JsonNode> Json(HttpResponseMessage response, string about, CancellationToken cancel)
    {
        try
        {
            using var memory = new MemoryStream();
            await using var body = await Body(response, cancel).ConfigureAwait(false);
            await body.CopyUpTo(memory, MostOfJson, cancel).ConfigureAwait(false);
            memory.Position = 0;
            return await JsonNode.ParseAsync(memory, cancellationToken: cancel).ConfigureAwait(false)
                ?? throw new HubException(HubProblem.Protocol, $"{about}: the answer is null", null, null);
        }
        catch (Exception error) when (error is System.Text.Json.JsonException or InvalidDataException)
        {
            throw new HubException(HubProblem.Protocol, $"{about}: {Settings.Endpoint.Host} answers with what is no JSON", null,
                "look whether HF_ENDPOINT is the address of a hub, and whether a proxy stands between", error);
        }
        catch (Exception error) when (IsConnection(error) && !cancel.IsCancellationRequested)
        {
            throw HubErrors.Unreachable(Settings, error);
        }
    }

    /// <summary>The bytes of an answer, which ends with an exception where none come for a while.</summary>
    public async Task<StallingStream> Body(HttpResponseMessage response, CancellationToken cancel) =>
        new(await response.Content.ReadAsStreamAsync(cancel).ConfigureAwait(false), Settings.StallTime);

    /// <summary>Whether a failure is one of the connection, so that another attempt may succeed.</summary>
    public static bool IsConnection(Exception error) =>
        error is HttpRequestException or HttpIOException or SocketException or TimeoutException
        or OperationCanceledException or IOException { InnerException: SocketException };

    private async Task<HttpResponseMessage> Follow(Func<HttpRequestMessage> make, bool leavesHub, CancellationToken cancel)
    {
        Uri? target = null;
        for (var hops = 0; ; hops++)
        {
            using var request = make();
            request.RequestUri = target ?? new Uri(Settings.Endpoint, request.RequestUri!);
            if (IsHub(request.RequestUri) && Settings.Token is { } token)
                request.Headers.TryAddWithoutValidation("Authorization", token.Authorization);
            using var time = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            time.CancelAfter(Settings.AnswerTime);
            // What is sent takes as long as it takes, while it goes on.
            if (request.Content is SentContent sent)
                sent.Went = () => time.CancelAfter(Settings.AnswerTime);
            var response = await _client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, time.Token).ConfigureAwait(false);
            if (response.StatusCode is not (HttpStatusCode.Moved or HttpStatusCode.Found or HttpStatusCode.SeeOther
                or HttpStatusCode.TemporaryRedirect or HttpStatusCode.PermanentRedirect) || response.Headers.Location is not { } location)
                return response;
            target = new Uri(request.RequestUri, location);
            if (!leavesHub && !IsHub(target))
                return response;
            response.Dispose();
            Require(request.RequestUri, target);
            if (hops == MostRedirects)
                throw new HubException(HubProblem.Protocol, $"{Settings.Endpoint.Host} sends from one address to the next without an end",
                    null,
                    "look whether HF_ENDPOINT is the address of a hub");
        }
    }

    /// <summary>Whether an address is the hub's own: scheme, host and port.</summary>
    public bool IsHub(Uri address) => address.Scheme == Settings.Endpoint.Scheme && address.Port == Settings.Endpoint.Port
        && string.Equals(address.Host, Settings.Endpoint.Host, StringComparison.OrdinalIgnoreCase);

    /// <summary>Refuses to go where no hub would send anybody: to what is not encrypted, or into the user's own network.</summary>
    public void Require(Uri from, Uri to)
    {
        if (to.Scheme is not ("https" or "http") || from.Scheme == "https" && to.Scheme == "http")
            throw new HubException(HubProblem.Protocol, $"{from.Host} sends on to {to.Scheme}://{to.Host}, which is not encrypted", null,
                "look whether HF_ENDPOINT is the address of a hub, and whether a proxy stands between");
        if (IsInside(to.Host) && !IsInside(Settings.Endpoint.Host))
            throw new HubException(HubProblem.Protocol, $"{from.Host} sends on to {to.Host}, which is an address inside this network",
                "a hub elsewhere has no business there", "look whether HF_ENDPOINT is the address of a hub");
    }

    private static bool IsInside(string host)
    {
        if (host.Equals("localhost", StringComparison.OrdinalIgnoreCase) || host.EndsWith(".localhost", StringComparison.OrdinalIgnoreCase))
            return true;
        if (!IPAddress.TryParse(host.Trim('[', ']'), out var address))
            return false;
        if (address.IsIPv4MappedToIPv6)
            address = address.MapToIPv4();
        if (IPAddress.IsLoopback(address) || address.IsIPv6LinkLocal || address.IsIPv6UniqueLocal || address.IsIPv6SiteLocal)
            return true;
        return address.AddressFamily == AddressFamily.InterNetwork && address.GetAddressBytes() is var b
            && (b[0] is 0 or 10 or 127 || b[0] == 172 && b[1] is >= 16 and < 32 || b[0] == 192 && b[1] == 168 || b[0] == 169 && b[1] == 254
                || b[0] == 100 && b[1] is >= 64 and < 128);
    }

    private async Task<string> Beginning(HttpResponseMessage response, CancellationToken cancel)
    {
        try
        {
            using var memory = new MemoryStream();
            await using var body = await Body(response, cancel).ConfigureAwait(false);
            await body.CopyUpTo(memory, MostOfError, cancel, cuts: true).ConfigureAwait(false);
            return System.Text.Encoding.UTF8.GetString(memory.ToArray());
        }
        catch (Exception error) when (IsConnection(error) && !cancel.IsCancellationRequested)
        {
            return "";
        }
    }

    public void Dispose() => _client.Dispose();
}
