using System.Globalization;
using System.Net;
using System.Text.Json;

namespace Handbook.Hub;

/// <summary>From an answer that is a refusal to what a user can do about it.</summary>
internal static class HubErrors
{
    private const int MostOfMessage = 300;

    /// <summary>What an answer means.</summary>
    /// <param name="response">An answer without success.</param>
    /// <param name="body">The first of its bytes, as text.</param>
    /// <param name="about">What was asked about: a repository, or nothing but the hub.</param>
    public static HubException Of(HttpResponseMessage response, string body, HubSettings settings, string about)
    {
        var status = (int)response.StatusCode;
        var code = Header(response, "X-Error-Code");
        var said = Said(response, body, settings);
        var page = new Uri(settings.Endpoint, about.Split('@', ':')[0]);
        var login = settings.Token is null ? "if it is private, `handbook login` and try again"
            : $"if it is private, {settings.Token} must be allowed to read it: `handbook whoami` tells whose it is";
        // Addresses of stores are good for a while: another attempt asks for new ones.
        if (response.RequestMessage?.RequestUri is { } store && store.Host != settings.Endpoint.Host)
            return New(HubProblem.Server, $"{about}: the store {store.Host} answers {status}", null,
                "start the same command again: it goes on from there");
        return (status, code) switch
        {
            (_, "RevisionNotFound") => New(HubProblem.NoRevision, $"{about}: there is no such revision", null,
                $"choose a branch, a tag or a commit that {page}/tree/main lists"),
            (_, "EntryNotFound") => New(HubProblem.NoFile, $"{about}: there is no such file{said}", null, $"look at {page}/tree/main"),
            (_, "GatedRepo") => New(HubProblem.Gated, $"{about.Split('@', ':')[0]} is gated{said}",
                "whoever wants its files accepts its conditions first",
                settings.Token is null ? $"accept them at {page}, then `handbook login` with a token of that account"
                    : $"accept them at {page} with the account of {settings.Token}, which `handbook whoami` names"),
            (401, _) when settings.Token is not null && (code is null || said.Contains("credentials",
                StringComparison.OrdinalIgnoreCase)) => New(HubProblem.Unauthorized,
                $"{settings.Endpoint.Host} does not know {settings.Token}{said}",
                "it is mistyped, has expired or was withdrawn", "make one at https://huggingface.co/settings/tokens, and `handbook login`"),
            (401 or 404, "RepoNotFound") or (404, null) or (401, null) => New(HubProblem.NoRepository,
                $"{settings.Endpoint.Host} has no repository {about}",
                    "it is not there, or it is private and shows itself only to those who may read it",
                $"check the name; {login}"),
            (403, _) => New(HubProblem.Forbidden, $"{about}: {Shown(settings.Token)} may not do this{said}",
                "a token may be for reading alone, or for other repositories", "make one that may, and `handbook login`"),
            (409 or 412, _) => New(HubProblem.Conflict, $"{about}: it has changed meanwhile, or is there already{said}", null, "try again"),
            (429, _) => New(HubProblem.Busy, $"{settings.Endpoint.Host} takes no more requests for a while{said}", null,
                settings.Token is null ? "wait; with a token (`handbook login`) more are allowed" : "wait, then the same command goes on"),
            ( >= 500, _) => New(HubProblem.Server, $"{settings.Endpoint.Host} fails ({status}){said}", null,
                "wait, then the same command goes on from where it stopped"),
            _ => New(HubProblem.Protocol, $"{about}: {settings.Endpoint.Host} answers {status}{said}", null,
                "look whether HF_ENDPOINT is the address of a hub"),
        };

        HubException New(HubProblem problem, string what, string? why, string? fix) => new(problem, what, why, fix);
    }

    /// <summary>Nobody answered.</summary>
    public static HubException Unreachable(HubSettings settings, Exception inner)
    {
        var reason = inner is OperationCanceledException or TimeoutException ? "no answer in time" : inner.Message;
        return new(HubProblem.Unreachable, $"{settings.Endpoint.Host} cannot be reached: {reason}", null,
            "look at the network and the proxy; HF_ENDPOINT names another hub, and HF_HUB_OFFLINE=1 keeps to what is on this machine",
            inner);
    }

    /// <summary>How long the hub asks to wait; null where it does not say.</summary>
    public static TimeSpan? RetryAfter(HttpResponseMessage response, DateTimeOffset now)
    {
        if (response.Headers.RetryAfter is { } after)
            return after.Delta ?? (after.Date - now is { } until && until > TimeSpan.Zero ? until : TimeSpan.Zero);
        // The hub's own form: ratelimit: "api";r=0;t=55
        foreach (var part in (Header(response, "RateLimit") ?? "").Split(';', StringSplitOptions.TrimEntries))
            if (response.StatusCode == HttpStatusCode.TooManyRequests && part.StartsWith("t=", StringComparison.Ordinal)
                && int.TryParse(part[2..], NumberStyles.None, CultureInfo.InvariantCulture, out var seconds))
                return TimeSpan.FromSeconds(seconds);
        return null;
    }

    /// <summary>A header's only value; null where it is absent.</summary>
    public static string? Header(HttpResponseMessage response, string name) =>
        response.Headers.TryGetValues(name, out var values) ? values.First()
            : response.Content.Headers.TryGetValues(name, out values) ? values.First() : null;

    private static string Shown(HubToken? token) => token is null ? "nobody (there is no token)" : token.ToString();

    /// <summary>The hub's own sentence, behind a colon.</summary>
    private static string Said(HttpResponseMessage response, string body, HubSettings settings)
    {
        var text = Header(response, "X-Error-Message") ?? "";
        if (text.Length == 0 && body.StartsWith('{'))
            try
            {
                using var json = JsonDocument.Parse(body);
                if (json.RootElement.TryGetProperty("error", out var error) && error.ValueKind == JsonValueKind.String)
                    text = error.GetString()!;
            }
            catch (JsonException)
            {
                // no JSON after all
            }
        text = new([.. text.Where(c => !char.IsControl(c)).Take(MostOfMessage)]);
        text = settings.Token?.RemovedFrom(text) ?? text;
        return text.Length == 0 ? "" : $": {text}";
    }
}
