using System.Text;
using Handbook.Hub;
using Handbook.Testing.Hub;
using Handbook.Training.Progress;

namespace Handbook.Tests.Hub;

/// <summary>Uploads: what is sent, what is not, and what happens when something goes wrong on the way.</summary>
[Collection("hub")]
public sealed class HubUploadTests : IDisposable
{
    private static readonly byte[] s_weights = [.. Enumerable.Range(0, 5_000).Select(i => (byte)(i * 7))];

    private readonly HubCase _case = new();
    private readonly HubRepository _target = HubRepository.Parse(HubKind.Model, "org/mine");

    public HubUploadTests()
    {
        Write("config.json", "{}"u8.ToArray());
        Write("model.safetensors", s_weights);
        Write("empty.txt", []);
        Write("sub/notes.md", "words"u8.ToArray());
    }

    public void Dispose() => _case.Dispose();

    private StandInRepository There => _case.Hub.Repositories["models/org/mine"];

    private void Write(string path, byte[] bytes)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_case["run", path])!);
        File.WriteAllBytes(_case["run", path], bytes);
    }

    private async Task<UploadResult> Upload(string summary = "a test", Func<string, bool>? deletes = null, HubRepository? target = null)
    {
        using var client = new HubClient(_case.Writing);
        var writer = new HubWriter(client);
        target ??= _target;
        await writer.Create(target, null, TestContext.Current.CancellationToken);
        if (target.Revision != "main")
            await writer.Branch(target, TestContext.Current.CancellationToken);
        var files = UploadFolder.Open(_case["run"], "", _ => true);
        try
        {
            return await new HubUpload(client, RunObservers.None).Run(target, files, summary, deletes,
                TestContext.Current.CancellationToken);
        }
        finally
        {
            foreach (var file in files)
                file.Dispose();
        }
    }

    private int Sent(string method, string path) => _case.Hub.Requests.Count(request => request.Method == method
        && request.Path.Contains(path, StringComparison.Ordinal));

    [Fact]
    public async Task A_folder_becomes_a_new_repository_and_the_same_folder_again_nothing()
    {
        var result = await Upload("one");
        Assert.Equal((4, 0, 0), (result.Sent, result.Known, result.Deleted));
        Assert.Equal(["config.json", "empty.txt", "model.safetensors", "sub/notes.md"], There.Files().Keys);
        Assert.Equal(s_weights, There.Files()["model.safetensors"]);
        Assert.Equal((result.Commit, "main", "one"), Assert.Single(There.Log));
        var (puts, commits) = (Sent("PUT", "/put/"), Sent("POST", "/commit/"));
        Assert.Equal((0, 4, result.Commit), ((await Upload("two")) is var second ? (second.Sent, second.Known, second.Commit) : default));
        Assert.Equal((puts, commits), (Sent("PUT", "/put/"), Sent("POST", "/commit/")));
    }

    [Fact]
    public async Task Large_files_go_in_parts_to_the_store_without_the_token()
    {
        _case.Hub.PartSize = 2048;
        await Upload();
        Assert.Equal(s_weights, There.Files()["model.safetensors"]);
        Assert.Equal(3, Sent("PUT", "/put/"));
        Assert.All(_case.Hub.Requests, request => Assert.Equal(request.Host.StartsWith("127.", StringComparison.Ordinal),
            request.Authorization is not null));
        Assert.Equal(1, Sent("POST", "/api/verify/"));
    }

    [Fact]
    public async Task Content_that_the_store_has_is_not_sent_again_wherever_it_lies()
    {
        await Upload();
        File.Move(_case["run", "model.safetensors"], _case["run", "other.safetensors"]);
        var result = await Upload(deletes: path => path.EndsWith(".safetensors", StringComparison.Ordinal));
        Assert.Equal((1, 1), (result.Sent, result.Deleted));
        Assert.Equal(1, Sent("PUT", "/put/"));
        Assert.Equal(["config.json", "empty.txt", "other.safetensors", "sub/notes.md"], There.Files().Keys);
    }

    [Fact]
    public async Task An_upload_that_broke_off_goes_on_where_it_was()
    {
        Write("second.safetensors", [.. s_weights.Reverse()]);
        _case.Settings = _case.Settings with { Attempts = 1, Parallel = 1 };
        _case.Hub.Fail("PUT", StandInRepository.LargeHash([.. s_weights.Reverse()]), 503);
        await Assert.ThrowsAsync<HubException>(() => Upload());
        Assert.Empty(There.Log);
        await Upload();
        Assert.Equal(3, Sent("PUT", "/put/"));
        Assert.Single(There.Log);
    }

    [Theory]
    [InlineData(500)]
    [InlineData(403)]       // an address of the store that is too old
    public async Task A_store_that_fails_once_is_asked_again(int status)
    {
        _case.Hub.Fail("PUT", "/put/", status);
        await Upload();
        Assert.Equal(s_weights, There.Files()["model.safetensors"]);
        Assert.Single(_case.Waits);
    }

    [Fact]
    public async Task A_transfer_that_is_cut_midway_is_made_again()
    {
        Write("large.safetensors", [.. Enumerable.Range(0, 3_000_000).Select(i => (byte)(i >> 3))]);
        _case.Hub.PartSize = 1 << 30;
        _case.Hub.Fault("PUT", "/put/", context =>
        {
            context.Request.InputStream.ReadAtLeast(new byte[1000], 1000, throwOnEndOfStream: false);
            context.Response.Abort();
            return true;
        });
        await Upload();
        Assert.Equal(3_000_000, There.Files()["large.safetensors"].Length);
        Assert.Equal(s_weights, There.Files()["model.safetensors"]);
        Assert.Equal(3, Sent("PUT", "/put/"));
    }

    [Fact]
    public async Task What_the_store_says_it_took_and_has_not_is_sent_once_more()
    {
        _case.Hub.Fault("PUT", "/put/", context => StandInHub.Answer(context, 200, []));
        await Upload();
        Assert.Equal(2, Sent("PUT", "/put/"));
        Write("model.safetensors", [.. s_weights.Reverse()]);
        _case.Hub.Fault("PUT", "/put/", context => StandInHub.Answer(context, 200, []), times: 9);
        var error = await Assert.ThrowsAsync<HubException>(() => Upload());
        Assert.Equal("org/mine: model.safetensors: it was sent, and the hub has not received it whole", error.What);
        Assert.Equal(s_weights, There.Files()["model.safetensors"]);
    }

    [Fact]
    public async Task Answers_that_no_hub_gives_are_told_of()
    {
        _case.Hub.Fault("POST", "/preupload/", context => StandInHub.Answer(context, 200, "[1, {\"files\": 3}]"u8.ToArray()));
        Assert.Equal(HubProblem.Protocol, (await Assert.ThrowsAsync<HubException>(() => Upload())).Problem);
        _case.Hub.Fault("POST", "/objects/batch", context => StandInHub.Answer(context, 200, "{\"objects\": []}"u8.ToArray()));
        Assert.Contains("does not say what to do with model.safetensors", (await Assert.ThrowsAsync<HubException>(() => Upload())).What);
        _case.Hub.Fault("GET", "/tree/", context => StandInHub.Answer(context, 200, "[{\"type\": 1}, 7, null, {\"type\": \"file\"}]"u8.ToArray()));
        Assert.Contains("the hub's answer has no path", (await Assert.ThrowsAsync<HubException>(() => Upload())).What);
    }

    [Fact]
    public async Task Somebody_else_s_commit_meanwhile_is_followed_by_ours()
    {
        await Upload();
        Write("config.json", "{\"new\": 1}"u8.ToArray());
        _case.Hub.Fault("POST", "/commit/", _ =>
        {
            There.Change("main", new Dictionary<string, byte[]> { ["theirs.txt"] = "theirs"u8.ToArray() }, [], "theirs");
            return false;
        });
        await Upload("ours");
        Assert.Equal(["a test", "theirs", "ours"], There.Log.Select(entry => entry.Summary));
        Assert.Equal("{\"new\": 1}", Encoding.UTF8.GetString(There.Files()["config.json"]));
        Assert.Contains("theirs.txt", There.Files().Keys);
    }

    [Theory]
    [InlineData(409)]
    [InlineData(412)]
    public async Task A_commit_that_is_refused_again_and_again_is_told_of(int status)
    {
        await Upload();
        Write("config.json", "[]"u8.ToArray());
        _case.Hub.Fail("POST", "/commit/", status, times: 99);
        Assert.Equal(HubProblem.Conflict, (await Assert.ThrowsAsync<HubException>(() => Upload())).Problem);
        Assert.Equal(1 + 4, Sent("POST", "/commit/"));
    }

    [Fact]
    public async Task A_commit_whose_answer_was_lost_is_not_made_twice()
    {
        await Upload();
        Write("config.json", "[]"u8.ToArray());
        // The hub has done it, and says that it failed.
        _case.Hub.Fault("POST", "/commit/", context =>
        {
            There.Change("main", new Dictionary<string, byte[]> { ["config.json"] = "[]"u8.ToArray() }, [], "lost");
            return StandInHub.Answer(context, 502, []);
        });
        var result = await Upload("again");
        Assert.Equal(There.Refs["main"], result.Commit);
        Assert.Equal(["a test", "lost"], There.Log.Select(entry => entry.Summary));
    }

    [Fact]
    public async Task A_branch_is_made_where_it_is_missing_and_the_main_one_stays()
    {
        await Upload();
        Write("config.json", "[]"u8.ToArray());
        await Upload("on a branch", target: _target with { Revision = "exp/one" });
        Assert.Equal("[]", Encoding.UTF8.GetString(There.Files("exp/one")["config.json"]));
        Assert.Equal("{}", Encoding.UTF8.GetString(There.Files()["config.json"]));
    }

    [Fact]
    public async Task Many_small_files_go_in_several_commits()
    {
        for (var i = 0; i < 130; i++)
            Write($"many/{i}.txt", Encoding.UTF8.GetBytes($"file {i}"));
        var result = await Upload();
        Assert.Equal((134, 2), (result.Sent, There.Log.Count));
        Assert.Equal(134, There.Files().Count);
    }

    [Fact]
    public async Task What_may_not_be_written_is_told_of()
    {
        using var client = new HubClient(_case.Writing);
        var other = await Assert.ThrowsAsync<HubException>(() =>
            new HubWriter(client).Create(HubRepository.Parse(HubKind.Model, "others/x"), null, TestContext.Current.CancellationToken));
        Assert.Equal(HubProblem.Forbidden, other.Problem);
        await Upload();
        _case.Hub.Role = "read";
        Write("config.json", "[]"u8.ToArray());
        Assert.Equal(HubProblem.Forbidden, (await Assert.ThrowsAsync<HubException>(() => Upload())).Problem);
    }

    [Fact]
    public void What_programs_keep_for_themselves_and_what_gitignore_names_stays_here()
    {
        foreach (var path in (string[])[".git/HEAD", ".cache/huggingface/download/x.metadata", "checkpoint-5/model.safetensors",
            "_private", "run.lock",
            "run.json", ".tmp-checkpoint-5-1/x", "logs/a.log", "logs/keep.log", "sub/secret.key", "build/x", "src/build/x"])
            Write(path, "x"u8.ToArray());
        Write(".gitignore", "*.log\n!keep.log\n# a remark\n*.key\n/build/\n\nsub/no*\n"u8.ToArray());
        Assert.Equal([".gitignore", "config.json", "empty.txt", "logs/keep.log", "model.safetensors", "run.json", "src/build/x"],
            UploadFolder.Paths(_case["run"]));
    }

    [Fact]
    public void Files_that_are_open_are_sent_though_their_names_are_gone()
    {
        var files = UploadFolder.Open(_case["run"], "", path => path == "config.json");
        File.Delete(_case["run", "config.json"]);
        Assert.Equal(Convert.ToBase64String("{}"u8.ToArray()), Assert.Single(files).Base64());
        files[0].Dispose();
    }
}
