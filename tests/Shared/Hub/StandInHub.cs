using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;

namespace Handbook.Testing.Hub;

/// <summary>A request that the stand-in got.</summary>
internal sealed record StandInRequest(string Method, string Host, string Path, string? Authorization, string? Range);

/// <summary>How the stand-in misbehaves towards the next requests that match.</summary>
/// <param name="Matches">Which requests.</param>
/// <param name="Answer">What happens instead; true where the request has been answered.</param>
internal sealed class StandInFault(Func<StandInRequest, bool> matches, Func<HttpListenerContext, bool> answer, int times)
{
    private int _left = times;

    public bool Takes(StandInRequest request) => matches(request) && Interlocked.Decrement(ref _left) >= 0;

    public bool Answer(HttpListenerContext context) => answer(context);
}

/// <summary>A hub of our own for tests: the documented protocol over repositories in memory, with the store of large files on another host
/// name, and with faults on demand.</summary>
internal sealed class StandInHub : IDisposable
{
    /// <summary>A token that may write, of the user <c>tester</c>.</summary>
    public const string Token = "hf_StandInTokenThatMayWrite0123456789";

    /// <summary>A token that the hub does not know.</summary>
    public const string WrongToken = "hf_TokenThatNobodyGaveOut0123456789";

    private readonly HttpListener _listener = null!;
    private readonly StandInStore _store;
    private readonly List<StandInFault> _faults = [];
    private readonly List<StandInRequest> _requests = [];
    private readonly int _port;

    public StandInHub()
    {
        _store = new(this);
        for (var attempt = 0; _port == 0; attempt++)
            try
            {
                (_listener, _port) = Begin();
            }
            catch (HttpListenerException) when (attempt < 20)
            {
                // somebody else has taken the port in between
            }
        _ = Task.Run(Listen);
    }

    private static (HttpListener Listener, int Port) Begin()
    {
        int port;
        using (var probe = new TcpListener(IPAddress.Loopback, 0))
        {
            probe.Start();
            port = ((IPEndPoint)probe.LocalEndpoint).Port;
        }
        var listener = new HttpListener { Prefixes = { $"http://127.0.0.1:{port}/", $"http://localhost:{port}/" } };
        listener.Start();
        return (listener, port);
    }

    /// <summary>The hub's address.</summary>
    public string Address => $"http://127.0.0.1:{_port}";

    /// <summary>The store's address, which is another host to whoever compares names.</summary>
    public string Store => $"http://localhost:{_port}";

    public ConcurrentDictionary<string, StandInRepository> Repositories { get; } = [];

    /// <summary>Entries of a list of files on one page.</summary>
    public int PageSize { get; set; } = 1000;

    /// <summary>Files longer than this are taken in parts of it.</summary>
    public int PartSize { get; set; } = 1 << 20;

    /// <summary>Whether the store answers with everything when it is asked for the rest.</summary>
    public bool RefusesRanges { get; set; }

    /// <summary>What the hub says instead of the true paths of files; null for those.</summary>
    public Func<string, string>? Rename { get; set; }

    /// <summary>Requests so far.</summary>
    public IReadOnlyList<StandInRequest> Requests
    {
        get
        {
            lock (_requests)
                return [.. _requests];
        }
    }

    /// <summary>What the token may do.</summary>
    public string Role { get; set; } = "write";

    /// <summary>Adds a repository with files of text.</summary>
    public StandInRepository Add(string kind, string id, params (string Path, string Text)[] files) =>
        Add(new(kind, id), [.. files.Select(file => (file.Path, Encoding.UTF8.GetBytes(file.Text)))]);

    public StandInRepository Add(StandInRepository repository, params (string Path, byte[] Bytes)[] files)
    {
        Repositories[$"{repository.Kind}/{repository.Id}"] = repository;
        repository.Change("main", files.ToDictionary(file => file.Path, file => file.Bytes), [], "first");
        return repository;
    }

    /// <summary>Adds a repository with the files of a folder.</summary>
    public StandInRepository AddFolder(string kind, string id, string folder) => Add(new(kind, id),
        [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Select(path => (Path.GetRelativePath(folder, path).Replace('\\', '/'), File.ReadAllBytes(path)))]);

    /// <summary>Misbehaves towards the next requests whose path contains a text.</summary>
    public void Fault(string method, string path, Func<HttpListenerContext, bool> answer, int times = 1)
    {
        lock (_faults)
            _faults.Add(new(request => request.Method == method && request.Path.Contains(path, StringComparison.Ordinal), answer, times));
    }

    /// <summary>Answers the next requests with a status.</summary>
    public void Fail(string method, string path, int status, int times = 1, params (string Name, string Value)[] headers) =>
        Fault(method, path, context =>
        {
            foreach (var (name, value) in headers)
                context.Response.Headers[name] = value;
            return Answer(context, status, "{\"error\": \"out of order\"}"u8.ToArray());
        }, times);

    private async Task Listen()
    {
        while (_listener.IsListening)
        {
            HttpListenerContext context;
            try
            {
                context = await _listener.GetContextAsync();
            }
            catch (Exception over) when (over is HttpListenerException or ObjectDisposedException or InvalidOperationException)
            {
                return;
            }
            _ = Task.Run(() => Take(context));
        }
    }

    private void Take(HttpListenerContext context)
    {
        try
        {
            var http = context.Request;
            var request = new StandInRequest(http.HttpMethod, http.UserHostName ?? "", http.RawUrl!, http.Headers["Authorization"],
                http.Headers["Range"]);
            lock (_requests)
                _requests.Add(request);
            StandInFault? fault;
            lock (_faults)
                fault = _faults.Find(fault => fault.Takes(request));
            if (fault?.Answer(context) == true)
                return;
            if (!Route(context, request))
                Answer(context, 404, "{\"error\": \"nothing here\"}"u8.ToArray());
        }
        catch (Exception error) when (error is HttpListenerException or IOException or ObjectDisposedException)
        {
            // whoever asked has gone
        }
        catch (Exception error)
        {
            Answer(context, 500, Encoding.UTF8.GetBytes(new JsonObject { ["error"] = error.Message }.ToJsonString()));
        }
    }

    private bool Route(HttpListenerContext context, StandInRequest request)
    {
        var path = request.Path.Split('?')[0].TrimStart('/');
        string[] parts = [.. path.Split('/').Select(Uri.UnescapeDataString)];
        if (parts[0] is "store" or "put")
            return _store.Take(context, request, parts);
        if (request.Authorization is { } sent && sent != $"Bearer {Token}")
            return Refuse(context, 401, null, "Invalid credentials in Authorization header");
        switch (parts)
        {
            case ["api", "whoami-v2"]:
                return request.Authorization is null ? Refuse(context, 401, null, "Invalid username or password.") : Json(context,
                    new JsonObject
                    {
                        ["name"] = "tester",
                        ["orgs"] = new JsonArray(new JsonObject { ["name"] = "org" }),
                        ["auth"] = new JsonObject { ["accessToken"] = new JsonObject { ["displayName"] = "laptop", ["role"] = Role } },
                    });
            case ["api", "repos", "create"]:
                return Create(context, request);
            case ["api", "complete", var oid]:
                return _store.Complete(context, oid);
            case ["api", "verify", var oid]:
                return _store.Verify(context, oid);
            case ["api", "models" or "datasets", ..]:
                var (id, rest) = Split(parts[1], parts[2..]);
                return Find(context, request, parts[1], id) is not { } repository || Api(context, request, repository, rest);
        }
        var kind = parts[0] == "datasets" ? "datasets" : "models";
        var (name, below) = Split(kind, kind == "datasets" ? parts[1..] : parts);
        if (below is ["info", "lfs", "objects", "batch"])
            return Find(context, request, kind, name[..^4]) is not { } repository || _store.Batch(context, request);
        return below is ["resolve", var revision, .. var file] && (Find(context, request, kind, name) is not { } found
            || Resolve(context, request, found, revision, string.Join('/', file)));
    }

    private (string Id, string[] Below) Split(string kind, string[] parts) => parts.Length > 1
        && !Repositories.ContainsKey($"{kind}/{parts[0]}")
        ? ($"{parts[0]}/{parts[1]}", parts[2..]) : (parts[0], parts[1..]);

    private StandInRepository? Find(HttpListenerContext context, StandInRequest request, string kind, string id)
    {
        var found = Repositories.GetValueOrDefault($"{kind}/{id}");
        if (found is not null && (!found.IsPrivate || request.Authorization is not null))
            return found;
        Refuse(context, request.Authorization is null ? 401 : 404, "RepoNotFound", request.Authorization is null
            ? "Invalid username or password."
            : "Repository not found");
        return null;
    }

    private bool Api(HttpListenerContext context, StandInRequest request, StandInRepository repository, string[] rest)
    {
        if (rest is [] or ["revision", _])
        {
            return repository.Commit(rest.Length == 0 ? "main" : rest[1]) is not { } sha ? Refuse(context, 404, "RevisionNotFound",
                "Invalid rev id")
                : Json(context, new JsonObject { ["id"] = repository.Id, ["sha"] = sha, ["private"] = repository.IsPrivate });
        }
        if (rest is ["tree", var at, ..])
            return Tree(context, request, repository, at);
        if (request.Authorization is null)
            return Refuse(context, 401, null, "Invalid username or password.");
        if (Role == "read")
            return Refuse(context, 403, null, "Forbidden: this token is for reading alone");
        return rest switch
        {
            ["branch", var branch] => Branch(context, repository, branch),
            ["preupload", _] => Preupload(context),
            ["commit", var branch] => Commit(context, repository, branch),
            _ => false,
        };
    }

    private bool Tree(HttpListenerContext context, StandInRequest request, StandInRepository repository, string at)
    {
        if (repository.Commit(at) is not { } commit)
            return Refuse(context, 404, "RevisionNotFound", "Invalid rev id");
        var from = context.Request.QueryString["cursor"] is { } cursor ? int.Parse(cursor, CultureInfo.InvariantCulture) : 0;
        var files = repository.Files(commit);
        var page = new JsonArray();
        foreach (var (path, bytes) in files.Skip(from).Take(PageSize))
        {
            var entry = new JsonObject
            {
                ["type"] = "file",
                ["path"] = Rename?.Invoke(path) ?? path,
                ["size"] = bytes.Length,
                ["oid"] = StandInRepository.GitHash(bytes),
            };
            if (StandInRepository.IsLarge(path, bytes.Length))
                entry["lfs"] = new JsonObject
                {
                    ["oid"] = StandInRepository.LargeHash(bytes),
                    ["size"] = bytes.Length,
                    ["pointerSize"] = 130
                };
            page.Add(entry);
        }
        if (from + PageSize < files.Count)
            context.Response.Headers["Link"] =
                $"<{Address}{request.Path.Split('?')[0]}?recursive=true&cursor={from + PageSize}>; rel=\"next\"";
        return Json(context, page);
    }

    private bool Resolve(HttpListenerContext context, StandInRequest request, StandInRepository repository, string revision, string path)
    {
        if (repository.IsGated && request.Authorization is null)
            return Refuse(context, 401, "GatedRepo", "Access to this repository is restricted");
        if (repository.IsGated)
            return Refuse(context, 403, "GatedRepo", "You are not on the list of those who may");
        if (repository.Commit(revision) is not { } commit)
            return Refuse(context, 404, "RevisionNotFound", "Invalid rev id");
        context.Response.Headers["X-Repo-Commit"] = commit;
        if (!repository.Files(commit).TryGetValue(path, out var bytes))
            return Refuse(context, 404, "EntryNotFound", "Entry not found");
        if (!StandInRepository.IsLarge(path, bytes.Length))
        {
            context.Response.Headers["ETag"] = $"\"{StandInRepository.GitHash(bytes)}\"";
            return Bytes(context, request, bytes);
        }
        var hash = StandInRepository.LargeHash(bytes);
        _store.Keep(hash, bytes);
        context.Response.Headers["X-Linked-Etag"] = $"\"{hash}\"";
        context.Response.Headers["X-Linked-Size"] = bytes.Length.ToString(CultureInfo.InvariantCulture);
        context.Response.Headers["Location"] = $"{Store}/store/{hash}?signature=secret-of-the-address";
        return Answer(context, 302, []);
    }

    private bool Create(HttpListenerContext context, StandInRequest request)
    {
        if (request.Authorization is null)
            return Refuse(context, 401, null, "Invalid username or password.");
        var body = JsonNode.Parse(Body(context))!;
        var id = $"{(string?)body["organization"] ?? "tester"}/{(string)body["name"]!}";
        if (!id.StartsWith("tester/", StringComparison.Ordinal) && !id.StartsWith("org/", StringComparison.Ordinal))
            return Refuse(context, 403, null, "You don't have the rights to create a model under this namespace");
        var key = $"{(string)body["type"]!}s/{id}";
        if (Repositories.ContainsKey(key))
            return Refuse(context, 409, null, "You already created this model repo");
        Repositories[key] = new(key.Split('/')[0], id) { IsPrivate = (bool?)body["private"] == true };
        return Json(context, new JsonObject { ["url"] = $"{Address}/{id}", ["name"] = id });
    }

    private bool Branch(HttpListenerContext context, StandInRepository repository, string branch) =>
        repository.Refs.TryAdd(branch, repository.Refs["main"]) ? Json(context, new JsonObject()) : Refuse(context, 409, null,
            "Reference already exists");

    private bool Preupload(HttpListenerContext context)
    {
        var files = JsonNode.Parse(Body(context))!["files"]!.AsArray();
        return Json(context, new JsonObject
        {
            ["files"] = new JsonArray([.. files.Select(file => new JsonObject
            {
                ["path"] = (string)file!["path"]!,
                ["uploadMode"] = StandInRepository.IsLarge((string)file["path"]!, (long)file["size"]!) ? "lfs" : "regular",
                ["shouldIgnore"] = false,
            })]),
        });
    }

    private bool Commit(HttpListenerContext context, StandInRepository repository, string branch)
    {
        if (repository.Commit(branch) is not { } head)
            return Refuse(context, 404, "RevisionNotFound", "Invalid rev id");
        string? summary = null;
        var (files, removed) = (new Dictionary<string, byte[]>(), new List<string>());
        foreach (var line in Encoding.UTF8.GetString(Body(context)).Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var json = JsonNode.Parse(line)!;
            var value = json["value"]!;
            switch ((string)json["key"]!)
            {
                case "header":
                    summary = (string)value["summary"]!;
                    if ((string?)value["parentCommit"] is { } parent && parent != head)
                        return Refuse(context, 412, null, "A commit has happened since. Please refresh and try again.");
                    break;
                case "file":
                    files[(string)value["path"]!] = Convert.FromBase64String((string)value["content"]!);
                    break;
                case "lfsFile":
                    if (_store.Find((string)value["oid"]!) is not { } bytes)
                        return Answer(context, 400, "{\"error\": \"a large file is not with us\"}"u8.ToArray());
                    files[(string)value["path"]!] = bytes;
                    break;
                case "deletedFile":
                    removed.Add((string)value["path"]!);
                    break;
            }
        }
        var commit = repository.Change(branch, files, removed, summary!);
        return Json(context, new JsonObject { ["commitOid"] = commit, ["commitUrl"] = $"{Address}/{repository.Id}/commit/{commit}" });
    }

    public bool Bytes(HttpListenerContext context, StandInRequest request, byte[] bytes)
    {
        if (request.Range is not { } range || RefusesRanges)
            return Answer(context, 200, bytes);
        var from = int.Parse(range["bytes=".Length..].Split('-')[0], CultureInfo.InvariantCulture);
        if (from >= bytes.Length)
            return Answer(context, 416, []);
        context.Response.Headers["Content-Range"] = $"bytes {from}-{bytes.Length - 1}/{bytes.Length}";
        return Answer(context, 206, bytes[from..]);
    }

    public static bool Refuse(HttpListenerContext context, int status, string? code, string message)
    {
        if (code is not null)
            context.Response.Headers["X-Error-Code"] = code;
        context.Response.Headers["X-Error-Message"] = message;
        return Answer(context, status, Encoding.UTF8.GetBytes(new JsonObject { ["error"] = message }.ToJsonString()));
    }

    public static bool Json(HttpListenerContext context, JsonNode json)
    {
        context.Response.ContentType = "application/json";
        return Answer(context, 200, Encoding.UTF8.GetBytes(json.ToJsonString()));
    }

    /// <summary>Ends a request; of a question about the head, without the body.</summary>
    public static bool Answer(HttpListenerContext context, int status, byte[] body)
    {
        var response = context.Response;
        response.StatusCode = status;
        response.ContentLength64 = body.Length;
        if (context.Request.HttpMethod != "HEAD")
            response.OutputStream.Write(body);
        response.Close();
        return true;
    }

    /// <summary>Begins an answer of so many bytes, and goes away after some of them.</summary>
    public static bool CutOff(HttpListenerContext context, byte[] body, int after, int status = 200, string? range = null)
    {
        context.Response.StatusCode = status;
        if (range is not null)
            context.Response.Headers["Content-Range"] = range;
        context.Response.ContentLength64 = body.Length;
        context.Response.OutputStream.Write(body.AsSpan(0, after));
        context.Response.OutputStream.Flush();
        Thread.Sleep(50);       // what was written is on its way before the connection goes
        context.Response.Abort();
        return true;
    }

    public static byte[] Body(HttpListenerContext context)
    {
        using var memory = new MemoryStream();
        context.Request.InputStream.CopyTo(memory);
        return memory.ToArray();
    }

    public void Dispose()
    {
        try
        {
            _listener.Stop();
            _listener.Close();
        }
        catch (HttpListenerException)
        {
            // Its second name is taken off a port that somebody else has by now.
        }
    }
}
