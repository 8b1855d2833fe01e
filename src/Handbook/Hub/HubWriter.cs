using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using Handbook.Base.Files;

namespace Handbook.Hub;

/// <summary>Changes repositories: makes them and their branches, asks how files are kept, and commits.</summary>
/// <param name="client">Who asks.</param>
internal sealed class HubWriter(HubClient client)
{
    /// <summary>Files that the hub is asked about at once.</summary>
    private const int AskedAtOnce = 256;

    private const long MostOfSmall = 32 << 20;

    private const string LargeFiles = "application/vnd.git-lfs+json";

    /// <summary>Makes a repository, unless it is there.</summary>
    /// <param name="isPrivate">Who sees a new one; null for as its owner has it.</param>
    /// <returns>Whether it is new.</returns>
    public async Task<bool> Create(HubRepository repository, bool? isPrivate, CancellationToken cancel)
    {
        if (await Exists(repository, cancel).ConfigureAwait(false))
            return false;
        var (owner, name) = repository.Id.Split('/') is [var first, var second] ? (first, second) : (null, repository.Id);
        var body = new JsonObject { ["name"] = name, ["type"] = repository.Type };
        if (owner is not null)
            body["organization"] = owner;
        if (isPrivate is { } hidden)
            (body["private"], body["visibility"]) = (hidden, hidden ? "private" : "public");
        using var response = await client.Http.Send(() => Post("api/repos/create", body), HubClient.About(repository), cancel,
            answer => answer.StatusCode == HttpStatusCode.Conflict).ConfigureAwait(false);
        return response.StatusCode != HttpStatusCode.Conflict;      // somebody was quicker
    }

    /// <summary>Makes the branch that a revision names, from the main one, unless it is there.</summary>
    /// <returns>Whether it is new.</returns>
    public async Task<bool> Branch(HubRepository repository, CancellationToken cancel)
    {
        try
        {
            await client.Info(repository, cancel).ConfigureAwait(false);
            return false;
        }
        catch (HubException absent) when (absent.Problem == HubProblem.NoRevision)
        {
            using var response = await client.Http.Send(() => Post($"{repository.Api}/branch/{repository.EscapedRevision}", []),
                HubClient.About(repository), cancel, answer => answer.StatusCode == HttpStatusCode.Conflict).ConfigureAwait(false);
            return true;
        }
    }

    /// <summary>Asks of files whether the hub keeps each as a large one, or leaves it out.</summary>
    /// <returns>The files that take part, and whether each is large.</returns>
    public async Task<IReadOnlyList<(UploadFile File, bool IsLarge)>> Kinds(HubRepository repository, IReadOnlyList<UploadFile> files,
        CancellationToken cancel)
    {
        var kinds = new List<(UploadFile, bool)>();
        foreach (var some in files.Chunk(AskedAtOnce))
        {
            var asked = new JsonArray([.. some.Select(file =>
                new JsonObject { ["path"] = file.Path, ["sample"] = file.Beginning(), ["size"] = file.Size })]);
            var about = HubClient.About(repository);
            using var response = await client.Http.Send(() => Post($"{repository.Api}/preupload/{repository.EscapedRevision}",
                new JsonObject { ["files"] = asked.DeepClone() }), about, cancel).ConfigureAwait(false);
            var answer = await client.Http.Json(response, about, cancel).ConfigureAwait(false);
            var byPath = (HubClient.Part(answer, "files") as JsonArray ?? []).DistinctBy(entry => HubClient.Text(entry, "path", about))
                .ToDictionary(entry => HubClient.Text(entry, "path", about), entry => entry!);
            foreach (var file in some)
            {
                if (!byPath.TryGetValue(file.Path, out var entry))
                    throw new HubException(HubProblem.Protocol, $"{about}: the hub does not say how {file.Path} is kept", null, null);
                // The store of large files takes no empty ones, and the repository itself no large ones, whatever is said.
                if (entry["shouldIgnore"]?.ToJsonString() != "true")
                    kinds.Add((file, file.Size > 0 && (HubClient.Text(entry, "uploadMode", about) == "lfs" || file.Size > MostOfSmall)));
            }
        }
        return kinds;
    }

    /// <summary>Asks how large files are sent.</summary>
    /// <returns>By their hash; those that the hub has already have no action.</returns>
    public async Task<IReadOnlyDictionary<string, JsonNode?>> Actions(HubRepository repository, IReadOnlyList<UploadItem> items,
        CancellationToken cancel)
    {
        var (actions, about) = (new Dictionary<string, JsonNode?>(), HubClient.About(repository));
        foreach (var some in items.DistinctBy(item => item.Hash).Chunk(AskedAtOnce))
        {
            var body = new JsonObject
            {
                ["operation"] = "upload",
                ["transfers"] = new JsonArray("basic", "multipart"),
                ["objects"] = new JsonArray([.. some.Select(item => new JsonObject { ["oid"] = item.Hash, ["size"] = item.File.Size })]),
                ["hash_algo"] = "sha256",
                ["ref"] = new JsonObject { ["name"] = repository.Revision },
            };
            using var response = await client.Http.Send(() => Post($"{repository.Page}.git/info/lfs/objects/batch", body, LargeFiles),
                about, cancel).ConfigureAwait(false);
            var answer = await client.Http.Json(response, about, cancel).ConfigureAwait(false);
            foreach (var entry in HubClient.Part(answer, "objects") as JsonArray ?? [])
                actions[HubClient.Text(entry, "oid", about)] = HubClient.MaybeText(HubClient.Part(entry, "error"), "message") is { } refused
                    ? throw new HubException(HubProblem.Forbidden, $"{about}: the hub takes no file of this content: {refused}", null, null)
                    : HubClient.Part(entry, "actions")?.DeepClone();
        }
        return actions;
    }

    /// <summary>Commits files whose large ones are with the hub.</summary>
    /// <param name="parent">The commit that it follows: where the branch has moved on meanwhile, it is refused.</param>
    /// <returns>The new commit.</returns>
    public async Task<string> Commit(HubRepository repository, string parent, string summary, IReadOnlyList<UploadItem> files,
        IReadOnlyList<string> deleted, CancellationToken cancel)
    {
        var header = new JsonObject { ["summary"] = summary, ["description"] = "", ["parentCommit"] = parent };
        var about = HubClient.About(repository);
        using var response = await client.Http.Send(() => new(HttpMethod.Post, $"{repository.Api}/commit/{repository.EscapedRevision}")
        {
            Content = new CommitLines(header, files, deleted) { Headers = { ContentType = new("application/x-ndjson") } },
        }, about, cancel).ConfigureAwait(false);
        return HubClient.Text(await client.Http.Json(response, about, cancel).ConfigureAwait(false), "commitOid", about);
    }

    /// <summary>A request with an object as its body.</summary>
    public static HttpRequestMessage Post(string address, JsonObject body, string type = "application/json")
    {
        var content = new ByteArrayContent(Encoding.UTF8.GetBytes(body.ToJsonString())) { Headers = { ContentType = new(type) } };
        var request = new HttpRequestMessage(HttpMethod.Post, address) { Content = content };
        if (type == LargeFiles)
            request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(type));
        return request;
    }

    private async Task<bool> Exists(HubRepository repository, CancellationToken cancel)
    {
        try
        {
            await client.Info(repository with { Revision = HubCache.Main }, cancel).ConfigureAwait(false);
            return true;
        }
        catch (HubException absent) when (absent.Problem is HubProblem.NoRepository or HubProblem.NoRevision)
        {
            return absent.Problem == HubProblem.NoRevision;
        }
    }
}
