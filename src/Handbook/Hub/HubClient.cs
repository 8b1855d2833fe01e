using System.Net;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Handbook.Base.Files;

namespace Handbook.Hub;

/// <summary>Whose token it is.</summary>
/// <param name="Name">The user.</param>
/// <param name="Organizations">Where the user may publish, too.</param>
/// <param name="TokenName">What the token is called; null where the hub does not say.</param>
/// <param name="Role">What it may do: <c>read</c>, <c>write</c>, <c>fineGrained</c>; null where the hub does not say.</param>
internal sealed record HubIdentity(string Name, IReadOnlyList<string> Organizations, string? TokenName, string? Role);

/// <summary>Asks the hub: who somebody is, what a revision is, which files it has, and for their bytes.</summary>
internal sealed partial class HubClient : IDisposable
{
    private const int MostPages = 10_000;

    /// <param name="settings">Where the hub is; null takes what the environment says.</param>
    public HubClient(HubSettings? settings = null) => Http = new(settings ?? HubSettings.FromEnvironment());

    public HubHttp Http { get; }

    public HubSettings Settings => Http.Settings;

    /// <summary>Whose the token is.</summary>
    public async Task<HubIdentity> WhoAmI(CancellationToken cancel)
    {
        using var response = await Http.Send(() => new(HttpMethod.Get, "api/whoami-v2"), "the token", cancel).ConfigureAwait(false);
        var json = await Http.Json(response, "whoami", cancel).ConfigureAwait(false);
        var token = Part(Part(json, "auth"), "accessToken");
        var organizations = (Part(json, "orgs") as JsonArray ?? []).Select(entry => MaybeText(entry, "name")).OfType<string>();
        return new(Text(json, "name", "whoami"), [.. organizations], MaybeText(token, "displayName"), MaybeText(token, "role"));
    }

    /// <summary>The commit that a revision is.</summary>
    public async Task<string> Commit(HubRepository repository, CancellationToken cancel)
    {
        if (repository.IsPinned)
            return repository.Revision;
        var json = await Info(repository, cancel).ConfigureAwait(false);
        return RequireCommit(MaybeText(json, "sha"), repository);
    }

    /// <summary>What the hub tells about a revision of a repository.</summary>
    public async Task<JsonNode> Info(HubRepository repository, CancellationToken cancel)
    {
        using var response = await Http.Send(() => new(HttpMethod.Get, $"{repository.Api}/revision/{repository.EscapedRevision}"),
            About(repository), cancel).ConfigureAwait(false);
        return await Http.Json(response, About(repository), cancel).ConfigureAwait(false);
    }

    /// <summary>Every file of a commit, in the order of their paths.</summary>
    public async Task<IReadOnlyList<HubFile>> Files(HubRepository repository, string commit, CancellationToken cancel)
    {
        var files = new List<HubFile>();
        string? page = $"{repository.Api}/tree/{commit}?recursive=true";
        for (var pages = 0; page is not null; pages++)
        {
            if (pages == MostPages)
                throw new HubException(HubProblem.Protocol, $"{About(repository)}: its list of files has no end", null, null);
            var address = page;
            using var response = await Http.Send(() => new(HttpMethod.Get, address), About(repository), cancel).ConfigureAwait(false);
            if (await Http.Json(response, About(repository), cancel).ConfigureAwait(false) is not JsonArray list)
                throw new HubException(HubProblem.Protocol, $"{About(repository)}: its list of files is none", null, null);
            foreach (var entry in list)
                if (MaybeText(entry, "type") == "file")
                    files.Add(File(entry!, repository));
            page = Next(response);
        }
        return [.. files.DistinctBy(file => file.Path).OrderBy(file => file.Path, StringComparer.Ordinal)];
    }

    /// <summary>One file of a revision, with the commit that the revision is.</summary>
    /// <exception cref="HubException">There is no such file.</exception>
    public async Task<(string Commit, HubFile File)> Look(HubRepository repository, string path, CancellationToken cancel)
    {
        var about = $"{About(repository)}: {path}";
        using var response = await Http.Send(() => new(HttpMethod.Head, Address(repository, repository.Revision, path)), about, cancel,
            answer => (int)answer.StatusCode is >= 300 and < 400, leavesHub: false).ConfigureAwait(false);
        var etag = (HubErrors.Header(response, "X-Linked-Etag") ?? HubErrors.Header(response, "ETag") ?? "").Trim();
        if (etag.StartsWith("W/", StringComparison.Ordinal))
            etag = etag[2..];
        etag = etag.Trim('"');
        var size = long.TryParse(HubErrors.Header(response, "X-Linked-Size"), out var linked)
            ? linked : response.Content.Headers.ContentLength ?? -1;
        var isLarge = etag.Length == 64;
        return (RequireCommit(HubErrors.Header(response, "X-Repo-Commit"), repository),
            new HubFile(path, size, isLarge ? "" : etag, isLarge ? etag : null).Checked(About(repository)));
    }

    /// <summary>The bytes of a file, from one of them on.</summary>
    /// <returns>The answer; where the hub does not begin in the middle, its status says so.</returns>
    public Task<HttpResponseMessage> Bytes(HubRepository repository, string commit, HubFile file, long from, CancellationToken cancel) =>
        Http.Send(() =>
        {
            var request = new HttpRequestMessage(HttpMethod.Get, Address(repository, commit, file.Path));
            if (from > 0)
                request.Headers.Range = new RangeHeaderValue(from, null);
            return request;
        }, $"{About(repository)}: {file.Path}", cancel, answer => answer.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable);

    /// <summary>What messages call a repository.</summary>
    public static string About(HubRepository repository) => repository.Kind == HubKind.Model ? repository.ToString()
        : $"datasets/{repository}";

    /// <summary>A text of an answer that must be there.</summary>
    public static string Text(JsonNode? json, string name, string about) => MaybeText(json, name)
        ?? throw new HubException(HubProblem.Protocol, $"{about}: the hub's answer has no {name}", null,
            "look whether HF_ENDPOINT is the address of a hub");

    /// <summary>A text of an answer; null where it is not there, or is none.</summary>
    public static string? MaybeText(JsonNode? json, string name) =>
        Part(json, name) is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;

    /// <summary>A part of an answer; null where it is not there.</summary>
    public static JsonNode? Part(JsonNode? json, string name) => (json as JsonObject)?[name];

    private static string Address(HubRepository repository, string revision, string path) =>
        $"{repository.Page}/resolve/{Uri.EscapeDataString(revision)}/{string.Join('/', path.Split('/').Select(Uri.EscapeDataString))}";

    private static HubFile File(JsonNode entry, HubRepository repository)
    {
        var (about, large) = (About(repository), Part(entry, "lfs"));
        var size = (Part(large, "size") ?? Part(entry, "size")) is JsonValue value && value.TryGetValue<long>(out var bytes) ? bytes : -1;
        var sha256 = large is null ? null : Text(large, "oid", about);
        return new HubFile(Text(entry, "path", about), size, Text(entry, "oid", about), sha256).Checked(about);
    }

    private static string RequireCommit(string? commit, HubRepository repository) => commit is not null && HubCache.IsCommit(commit)
        ? commit
        : throw new HubException(HubProblem.Protocol,
            $"{About(repository)}: the hub does not say which commit {repository.Revision} is", null,
            "look whether HF_ENDPOINT is the address of a hub, and whether a proxy stands between");

    /// <summary>The next page of a list, which the hub names in a header; null after the last. It is asked from the hub, whatever host it
    /// names.</summary>
    private string? Next(HttpResponseMessage response)
    {
        var match = NextPage().Match(HubErrors.Header(response, "Link") ?? "");
        if (!match.Success)
            return null;
        var next = new Uri(Settings.Endpoint, match.Groups[1].Value);
        Http.Require(Settings.Endpoint, next);
        return Http.IsHub(next) ? next.AbsoluteUri : next.PathAndQuery.TrimStart('/');
    }

    public void Dispose() => Http.Dispose();

    [GeneratedRegex("""<([^>]+)>\s*;\s*rel="?next"?""")]
    private static partial Regex NextPage();
}
