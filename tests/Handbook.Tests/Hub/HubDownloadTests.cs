using System.Text;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Hub;
using Handbook.Testing.Hub;
using Handbook.Training.Progress;

namespace Handbook.Tests.Hub;

/// <summary>Downloads, and everything that may happen to them on their way.</summary>
[Collection("hub")]
public sealed class HubDownloadTests : IDisposable
{
    private static readonly byte[] s_weights = [.. Enumerable.Range(0, 300_000).Select(i => (byte)(i * 31 >> 3))];

    private readonly HubCase _case = new();
    private readonly StandInRepository _model;

    public HubDownloadTests() => _model = _case.Hub.Add(new("models", "org/tiny"), ("config.json", "{}"u8.ToArray()),
        ("model.safetensors", s_weights), ("deep/er/notes.md", "words"u8.ToArray()));

    public void Dispose() => _case.Dispose();

    private string Store => $"/store/{StandInRepository.LargeHash(s_weights)}";

    private async Task<string> Fetch(string name = "org/tiny", HubSettings? settings = null, Func<HubFile, bool>? takes = null)
    {
        using var client = new HubClient(settings ?? _case.Settings);
        var snapshot = await HubSnapshot.Open(client, HubRepository.Parse(HubKind.Model, name), TestContext.Current.CancellationToken);
        var files = await snapshot.Files(TestContext.Current.CancellationToken);
        return await snapshot.Fetch([.. files.Where(takes ?? (_ => true))], RunObservers.None, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task The_cache_is_laid_out_as_the_Python_client_has_it()
    {
        var folder = await Fetch();
        var commit = _model.Refs["main"];
        Assert.Equal(_case.Cached("models--org--tiny", "snapshots", commit), folder);
        Assert.Equal(commit, await File.ReadAllTextAsync(_case.Cached("models--org--tiny", "refs", "main"),
            TestContext.Current.CancellationToken));
        Assert.Equal(s_weights, await File.ReadAllBytesAsync(Path.Combine(folder, "model.safetensors"),
            TestContext.Current.CancellationToken));
        Assert.Equal("words", await File.ReadAllTextAsync(Path.Combine(folder, "deep/er/notes.md"), TestContext.Current.CancellationToken));
        Assert.Equal($"../../blobs/{StandInRepository.LargeHash(s_weights)}", new FileInfo(Path.Combine(folder,
            "model.safetensors")).LinkTarget);
        Assert.Equal($"../../../../blobs/{StandInRepository.GitHash("words"u8.ToArray())}",
            new FileInfo(Path.Combine(folder, "deep/er/notes.md")).LinkTarget);
        Assert.Equal(3, Directory.GetFiles(_case.Cached("models--org--tiny", "blobs")).Length);
        Assert.True(File.Exists(_case.Cached("CACHEDIR.TAG")));
        Assert.Equal(3, HubSnapshot.Listed(new(HubKind.Model, "org/tiny"), commit)!.Count);
    }

    [Fact]
    public async Task What_is_there_is_not_asked_for_again()
    {
        await Fetch();
        var before = _case.Hub.Requests.Count;
        await Fetch();
        Assert.Equal(["/api/models/org/tiny/revision/main"], _case.Hub.Requests.Skip(before).Select(request => request.Path));
    }

    [Fact]
    public async Task A_list_of_files_on_several_pages_is_read_to_its_end()
    {
        _case.Hub.PageSize = 1;
        Assert.Equal(3, Directory.GetFiles(await Fetch(), "*", SearchOption.AllDirectories).Length);
        Assert.Equal(3, _case.Hub.Requests.Count(request => request.Path.Contains("/tree/", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Branches_tags_commits_and_requests_are_revisions()
    {
        var old = _model.Refs["main"];
        _model.Change("main", new Dictionary<string, byte[]> { ["config.json"] = "{\"new\": 1}"u8.ToArray() }, [], "second");
        (_model.Refs["refs/pr/3"], _model.Refs["v1.0"]) = (old, old);
        foreach (var revision in (string[])["refs/pr/3", "v1.0", old])
            Assert.Equal("{}", await File.ReadAllTextAsync(Path.Combine(await Fetch($"org/tiny@{revision}"), "config.json"),
                TestContext.Current.CancellationToken));
        Assert.Equal(old, await File.ReadAllTextAsync(_case.Cached("models--org--tiny", "refs", "refs", "pr", "3"),
            TestContext.Current.CancellationToken));
        Assert.Equal("{\"new\": 1}", await File.ReadAllTextAsync(Path.Combine(await Fetch(), "config.json"),
            TestContext.Current.CancellationToken));
        Assert.Equal(HubProblem.NoRevision, (await Assert.ThrowsAsync<HubException>(() => Fetch("org/tiny@v9"))).Problem);
    }

    [Fact]
    public async Task A_download_that_is_cut_goes_on_where_it_stopped()
    {
        _case.Hub.Fault("GET", Store, context => StandInHub.CutOff(context, s_weights, 100_000));
        _case.Hub.Fault("GET", Store, context => StandInHub.CutOff(context, s_weights[100_000..], 50_000, 206,
            $"bytes 100000-{s_weights.Length - 1}/{s_weights.Length}"));
        Assert.Equal(s_weights, File.ReadAllBytes(Path.Combine(await Fetch(), "model.safetensors")));
        Assert.Equal([null, "bytes=100000-", "bytes=150000-"], _case.Hub.Requests.Where(request => request.Path.StartsWith(Store,
            StringComparison.Ordinal))
            .Select(request => request.Range));
    }

    [Fact]
    public async Task Another_start_goes_on_too_and_begins_anew_where_ranges_are_refused()
    {
        var unfinished = _case.Cached("models--org--tiny", "blobs", StandInRepository.LargeHash(s_weights) + ".incomplete");
        Directory.CreateDirectory(Path.GetDirectoryName(unfinished)!);
        await File.WriteAllBytesAsync(unfinished, s_weights[..70_000], TestContext.Current.CancellationToken);
        _case.Hub.RefusesRanges = true;
        Assert.Equal(s_weights, File.ReadAllBytes(Path.Combine(await Fetch(), "model.safetensors")));
        Assert.False(File.Exists(unfinished));
        Assert.Equal("bytes=70000-", Assert.Single(_case.Hub.Requests, request => request.Path.StartsWith(Store,
            StringComparison.Ordinal)).Range);
    }

    [Fact]
    public async Task A_connection_that_says_nothing_is_given_up_and_tried_again()
    {
        _case.Settings = _case.Settings with { StallTime = TimeSpan.FromMilliseconds(200) };
        _case.Hub.Fault("GET", Store, context =>
        {
            context.Response.ContentLength64 = s_weights.Length;
            context.Response.OutputStream.Write(s_weights.AsSpan(0, 1000));
            context.Response.OutputStream.Flush();
            Thread.Sleep(1500);
            context.Response.Abort();
            return true;
        });
        Assert.Equal(s_weights, File.ReadAllBytes(Path.Combine(await Fetch(), "model.safetensors")));
    }

    [Fact]
    public async Task Bytes_that_are_not_the_announced_ones_are_not_kept()
    {
        var wrong = s_weights.ToArray();
        wrong[5] ^= 1;
        _case.Hub.Fault("GET", Store, context => StandInHub.Answer(context, 200, wrong), times: 1);
        Assert.Equal(s_weights, File.ReadAllBytes(Path.Combine(await Fetch(), "model.safetensors")));

        _case.Hub.Fault("GET", "/resolve/", context => StandInHub.Answer(context, 200, "{}!"u8.ToArray()), times: 9);
        _model.Change("main", new Dictionary<string, byte[]> { ["config.json"] = "[1]"u8.ToArray() }, [], "second");
        var error = await Assert.ThrowsAsync<HubException>(() => Fetch());
        Assert.Equal(HubProblem.Damaged, error.Problem);
        Assert.Contains("org/tiny: config.json is not what the hub announced: its hash is", error.What);
        Assert.Empty(Directory.GetFiles(_case.Cached("models--org--tiny", "blobs"), "*.incomplete"));
    }

    [Fact]
    public async Task More_bytes_than_announced_are_refused()
    {
        _case.Hub.Fault("GET", Store, context => StandInHub.Answer(context, 200, [.. s_weights, 1]), times: 9);
        Assert.Contains("more than the 300,000 bytes", (await Assert.ThrowsAsync<HubException>(() => Fetch())).What);
    }

    [Theory]
    [InlineData(500)]
    [InlineData(503)]
    [InlineData(429)]
    public async Task A_hub_that_fails_for_a_while_is_asked_again_with_growing_pauses(int status)
    {
        _case.Hub.Fail("GET", "/revision/main", status, times: 3);
        await Fetch();
        Assert.Equal(3, _case.Waits.Count);
        Assert.InRange(_case.Waits[0].TotalSeconds, 0.7, 1.3);
        Assert.InRange(_case.Waits[2].TotalSeconds, 2.9, 5.1);
    }

    [Fact]
    public async Task The_hub_s_own_word_on_how_long_to_wait_is_kept()
    {
        _case.Hub.Fail("GET", "/revision/main", 429, 1, ("Retry-After", "7"));
        _case.Hub.Fail("GET", "/revision/main", 429, 1, ("RateLimit", "\"api\";r=0;t=55"));
        await Fetch();
        Assert.Equal([7, 55], _case.Waits.Select(wait => wait.TotalSeconds));

        _case.Hub.Fail("GET", "/revision/main", 429, 1, ("Retry-After", "86400"));
        var error = await Assert.ThrowsAsync<HubException>(() => Fetch());
        Assert.Equal(HubProblem.Busy, error.Problem);
        Assert.Equal(2, _case.Waits.Count);
    }

    [Fact]
    public async Task A_hub_that_fails_for_good_is_told_of()
    {
        _case.Hub.Fail("GET", "/revision/main", 502, times: 99);
        var error = await Assert.ThrowsAsync<HubException>(() => Fetch());
        Assert.Equal((HubProblem.Server, 4), (error.Problem, _case.Waits.Count));
        Assert.Contains("127.0.0.1 fails (502)", error.What);
    }

    [Fact]
    public async Task Nobody_at_the_address_is_told_of_without_long_waits()
    {
        var settings = _case.Settings with { Endpoint = new("http://127.0.0.1:9/") };
        var error = await Assert.ThrowsAsync<HubException>(() => Fetch(settings: settings));
        Assert.Equal(HubProblem.Unreachable, error.Problem);
        Assert.Single(_case.Waits);
        Assert.Contains("HF_ENDPOINT names another hub", error.Fix);
    }

    [Fact]
    public async Task The_token_goes_to_the_hub_and_not_to_the_store()
    {
        await Fetch(settings: _case.Writing);
        Assert.All(_case.Hub.Requests, request => Assert.Equal(request.Host.StartsWith("127.", StringComparison.Ordinal)
            ? $"Bearer {StandInHub.Token}" : null,
            request.Authorization));
        Assert.Contains(_case.Hub.Requests, request => request.Host.StartsWith("localhost", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Renamed_repositories_are_found_and_endless_redirects_are_not_followed()
    {
        _case.Hub.Fail("GET", "/api/models/org/old/revision", 307, 1, ("Location", "/api/models/org/tiny/revision/main"));
        using var client = new HubClient(_case.Writing);
        Assert.Equal(_model.Refs["main"], await client.Commit(HubRepository.Parse(HubKind.Model, "org/old"),
            TestContext.Current.CancellationToken));
        Assert.All(_case.Hub.Requests, request => Assert.NotNull(request.Authorization));
        _case.Hub.Fail("GET", "/api/models/org/loop/", 307, 99, ("Location", "/api/models/org/loop/revision/main"));
        var error = await Assert.ThrowsAsync<HubException>(() => client.Commit(HubRepository.Parse(HubKind.Model, "org/loop"),
            TestContext.Current.CancellationToken));
        Assert.Contains("without an end", error.What);
    }

    [Theory]
    [InlineData("https://hub.example/", "http://169.254.169.254/latest", "address inside this network")]
    [InlineData("https://hub.example/", "https://10.0.0.3/x", "address inside this network")]
    [InlineData("https://hub.example/", "https://[::1]/x", "address inside this network")]
    [InlineData("https://hub.example/", "http://cdn.example/x", "not encrypted")]
    [InlineData("https://hub.example/", "file:///etc/passwd", "not encrypted")]
    [InlineData("https://hub.example/", "https://cdn.example/x", null)]
    [InlineData("http://127.0.0.1:8080/", "http://localhost:8080/x", null)]
    public void Redirects_lead_neither_inside_nor_to_what_is_not_encrypted(string hub, string target, string? refusal)
    {
        using var http = new HubHttp(_case.Settings with { Endpoint = new(hub) });
        if (refusal is null)
            http.Require(new(hub), new(target));
        else if (!target.StartsWith("http://169", StringComparison.Ordinal))
            Assert.Contains(refusal, Assert.Throws<HubException>(() => http.Require(new(hub), new(target))).What);
        else
            Assert.Throws<HubException>(() => http.Require(new(hub), new(target)));
    }

    [Theory]
    [InlineData("../../outside")]
    [InlineData("/etc/outside")]
    [InlineData("a/../../outside")]
    [InlineData("a\\..\\outside")]
    [InlineData("C:/outside")]
    [InlineData("a//b")]
    [InlineData("a\nb")]
    public async Task Names_that_lead_out_of_the_folder_are_refused(string path)
    {
        _case.Hub.Rename = _ => path;
        var error = await Assert.ThrowsAsync<HubException>(() => Fetch());
        Assert.Contains("org/tiny names a file", error.What);
        Assert.False(Directory.Exists(_case.Cached("models--org--tiny", "snapshots")));
    }

    [Fact]
    public async Task Repositories_files_and_conditions_that_are_not_there_are_told_each_with_its_cure()
    {
        _case.Hub.Add(new("models", "org/gated") { IsGated = true }, ("config.json", "{}"u8.ToArray()));
        _case.Hub.Add(new("models", "org/private") { IsPrivate = true }, ("config.json", "{}"u8.ToArray()));
        var absent = await Assert.ThrowsAsync<HubException>(() => Fetch("org/absent"));
        Assert.Equal(HubProblem.NoRepository, absent.Problem);
        Assert.Contains("has no repository org/absent", absent.What);
        Assert.Contains("handbook login", absent.Fix);
        Assert.Equal(HubProblem.NoRepository, (await Assert.ThrowsAsync<HubException>(() => Fetch("org/private"))).Problem);
        await Fetch("org/private", _case.Writing);
        var gated = await Assert.ThrowsAsync<HubException>(() => Fetch("org/gated"));
        Assert.Equal(HubProblem.Gated, gated.Problem);
        Assert.Contains($"accept them at {_case.Hub.Address}/org/gated, then `handbook login`", gated.Fix);
        gated = await Assert.ThrowsAsync<HubException>(() => Fetch("org/gated", _case.Writing));
        Assert.Contains("which `handbook whoami` names", gated.Fix);
        var unknown = await Assert.ThrowsAsync<HubException>(() => Fetch(settings: _case.Settings with
        {
            Token = HubToken.Of(StandInHub.WrongToken, "HF_TOKEN")
        }));
        Assert.Equal(HubProblem.Unauthorized, unknown.Problem);
        Assert.StartsWith("127.0.0.1 does not know the token of HF_TOKEN", unknown.What);
        Assert.DoesNotContain(StandInHub.WrongToken, unknown.ToString());
        using var client = new HubClient(_case.Settings);
        var repository = HubRepository.Parse(HubKind.Model, "org/tiny");
        var file = await Assert.ThrowsAsync<HubException>(() => client.Look(repository, "none.txt", TestContext.Current.CancellationToken));
        Assert.Equal(HubProblem.NoFile, file.Problem);
        var (commit, found) = await client.Look(repository, "model.safetensors", TestContext.Current.CancellationToken);
        Assert.Equal((_model.Refs["main"], s_weights.Length, StandInRepository.LargeHash(s_weights)), (commit, found.Size, found.Sha256));
        Assert.Equal(StandInRepository.GitHash("{}"u8.ToArray()), (await client.Look(repository, "config.json",
            TestContext.Current.CancellationToken)).File.BlobId);
    }

    [Fact]
    public async Task An_answer_that_is_no_hub_s_is_told_of()
    {
        _case.Hub.Fault("GET", "/revision/main", context => StandInHub.Answer(context, 200,
            "<html>log in to this network</html>"u8.ToArray()), 2);
        Assert.Contains("answers with what is no JSON", (await Assert.ThrowsAsync<HubException>(() => Fetch())).What);
        _case.Hub.Fault("GET", "/revision/main", context => StandInHub.Answer(context, 200, "{\"sha\": \"../../x\"}"u8.ToArray()));
        await Assert.ThrowsAsync<HubException>(() => Fetch());
        _case.Hub.Fault("GET", "/revision/main", context => StandInHub.Answer(context, 200, "{\"sha\": \"../../x\"}"u8.ToArray()));
        Assert.Contains("does not say which commit main is", (await Assert.ThrowsAsync<HubException>(() => Fetch())).What);
    }

    [Fact]
    public async Task A_message_of_the_hub_that_repeats_the_token_is_shown_without_it()
    {
        _case.Hub.Fail("GET", "/revision/main", 403, 1, ("X-Error-Message", $"no rights for {StandInHub.Token} here"));
        var error = await Assert.ThrowsAsync<HubException>(() => Fetch(settings: _case.Writing));
        Assert.Contains("no rights for (the token) here", error.What);
        Assert.DoesNotContain(StandInHub.Token, error.ToString());
        Assert.DoesNotContain(StandInHub.Token, _case.Writing.ToString());
    }

    [Fact]
    public async Task A_cache_that_has_everything_need_not_be_writable()
    {
        var folder = await Fetch();
        var written = Directory.GetFiles(_case.Cached(), "*", SearchOption.AllDirectories).Where(file => !file.EndsWith(".lock", StringComparison.Ordinal))
            .ToDictionary(file => file, File.GetLastWriteTimeUtc);
        Assert.Equal(folder, await Fetch());
        Assert.Equal(written, Directory.GetFiles(_case.Cached(), "*", SearchOption.AllDirectories)
            .Where(file => !file.EndsWith(".lock", StringComparison.Ordinal)).ToDictionary(file => file, File.GetLastWriteTimeUtc));
    }

    [Fact]
    public async Task Whoever_watches_hears_how_many_of_all_bytes_are_there()
    {
        var large = new byte[5_400_000];
        _case.Hub.Add(new("models", "org/large"), ("model.safetensors", large));
        _case.Hub.Fault("GET", $"/store/{StandInRepository.LargeHash(large)}", context => StandInHub.CutOff(context, large, 2_000_000));
        using var client = new HubClient(_case.Settings);
        var snapshot = await HubSnapshot.Open(client, HubRepository.Parse(HubKind.Model, "org/large"), TestContext.Current.CancellationToken);
        var watcher = new Watcher();
        await snapshot.Fetch(await snapshot.Files(TestContext.Current.CancellationToken), watcher, TestContext.Current.CancellationToken);
        Assert.Equal("downloading org/large: 5 of 6 MB, over", watcher.ToString());
    }

    private sealed class Watcher : IWorkObserver, IWorkCount
    {
        private (string What, long? Total, string Unit) _begun;
        private long _done;
        private bool _isOver;

        public IWorkCount Began(string what, long? total, string unit)
        {
            _begun = (what, total, unit);
            return this;
        }

        public void Advance(long count = 1) => _done += count;

        public void Report(long done) => _done = done;

        public void Dispose() => _isOver = true;

        public override string ToString() => $"{_begun.What}: {_done} of {_begun.Total} {_begun.Unit}{(_isOver ? ", over" : "")}";
    }

    [Fact]
    public async Task Two_that_want_the_same_file_download_it_once()
    {
        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() => Fetch())));
        Assert.Single(_case.Hub.Requests, request => request.Path.StartsWith(Store, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_folder_of_one_s_own_gets_the_files_themselves_and_of_another_commit_what_has_changed()
    {
        using var client = new HubClient(_case.Settings);
        var repository = HubRepository.Parse(HubKind.Model, "org/tiny");
        await Bring();
        Assert.Null(new FileInfo(_case["mine", "model.safetensors"]).LinkTarget);
        Assert.StartsWith(_model.Refs["main"], File.ReadAllText(_case["mine", ".cache", "huggingface", "download",
            "config.json.metadata"]));
        _model.Change("main", new Dictionary<string, byte[]> { ["config.json"] = "[1]"u8.ToArray() }, [], "second");
        var before = _case.Hub.Requests.Count;
        await Bring();
        Assert.Equal("[1]", File.ReadAllText(_case["mine", "config.json"]));
        Assert.Single(_case.Hub.Requests.Skip(before), request => request.Path.Contains("/resolve/", StringComparison.Ordinal));
        Directory.Delete(_case["mine", "deep"], recursive: true);
        Directory.CreateDirectory(_case["elsewhere"]);
        Directory.CreateSymbolicLink(_case["mine", "deep"], _case["elsewhere"]);
        Assert.Contains("leads out of", (await Assert.ThrowsAsync<InputException>(Bring)).What);
        Assert.Empty(Directory.GetFileSystemEntries(_case["elsewhere"]));

        async Task Bring()
        {
            var snapshot = await HubSnapshot.Open(client, repository, TestContext.Current.CancellationToken);
            await new HubLocalFolder(_case["mine"]).Fetch(client, repository, snapshot.Commit,
                await snapshot.Files(TestContext.Current.CancellationToken),
                RunObservers.None, TestContext.Current.CancellationToken);
        }
    }
}
