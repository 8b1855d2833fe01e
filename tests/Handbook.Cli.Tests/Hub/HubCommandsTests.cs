using System.Diagnostics;
using System.Text;
using Handbook.Testing.Hub;

namespace Handbook.Cli.Tests.Hub;

/// <summary>The commands that ask the hub, as users type them.</summary>
public sealed class HubCommandsTests : IDisposable
{
    private readonly HubFolder _at = new();

    public void Dispose() => _at.Dispose();

    private string Stored => _at.Run.At("home", "token");

    private Outcome Login(string input, params string[] words)
    {
        using var process = _at.Run.Handbook.Start(["login", .. words], _at.Environment, input: true);
        var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        process.WaitForExit();
        return new(process.ExitCode, output.GetAwaiter().GetResult(), error.GetAwaiter().GetResult());
    }

    [Fact]
    public void A_token_is_tried_kept_for_its_owner_alone_and_known_to_the_next_command()
    {
        var outcome = Login(StandInHub.Token + "\n");
        Assert.Equal(0, outcome.Code);
        Assert.Equal($"logged in as tester with a token of the role write; it is kept in {Stored}\n", outcome.Output);
        Assert.Equal(StandInHub.Token, File.ReadAllText(Stored));
        if (!OperatingSystem.IsWindows())
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Stored));
        Assert.Equal($"tester\norganizations: org\ntoken: laptop, role write, from {Stored}\n", _at.Succeed("whoami").Output);
        Assert.Equal(["home/token"], _at.Holding(StandInHub.Token));

        _at.Run.Refused(Login(StandInHub.WrongToken), "does not know the token of login", "https://huggingface.co/settings/tokens");
        _at.Run.Refused(Login("two words\n"), "the token of login is none");
        _at.Run.Refused(Login(""), "the token of login is none");
        Assert.Equal(StandInHub.Token, File.ReadAllText(Stored));
        _at.Run.Write("secret.txt", $"  {StandInHub.Token}\n");
        Assert.Equal(0, _at.Handbook("login", "--token-file", "secret.txt").Code);
        _at.Run.Refused(_at.Handbook("login", "--token-file", "none.txt"), "none.txt does not exist");
        _at.Variables["HF_TOKEN"] = StandInHub.WrongToken;
        _at.Run.Refused(_at.Handbook("whoami"), "does not know the token of HF_TOKEN");
        Assert.Contains("note: HF_TOKEN is set, and goes before", Login(StandInHub.Token).Error);
    }

    [Fact]
    public void Without_a_token_or_a_network_commands_say_so()
    {
        _at.Run.Refused(_at.Handbook("whoami"), "there is no token", "handbook login");
        _at.Run.Refused(_at.Handbook("upload", "model", "org/x"), "there is no token", "handbook login");
        _at.Variables["HF_HUB_OFFLINE"] = "1";
        foreach (var words in (string[])["whoami", "download org/model", "upload model org/x"])
            _at.Run.Refused(_at.Handbook(words.Split(' ')), "HF_HUB_OFFLINE keeps to what is on this machine");
        Assert.Empty(_at.Hub.Requests);
    }

    [Fact]
    public void A_repository_is_downloaded_whole_or_in_part_into_the_cache_or_a_folder()
    {
        var outcome = _at.Succeed("download", "org/model");
        var folder = outcome.Output.Trim();
        Assert.Equal(_at.Run.At("home", "hub", "models--org--model", "snapshots", _at.Hub.Repositories["models/org/model"].Refs["main"]),
            folder);
        Assert.Equal(_at.Hub.Repositories["models/org/model"].Files().Keys,
            Directory.GetFiles(folder).Select(Path.GetFileName).Order(StringComparer.Ordinal)!);
        Assert.Matches(@"org/model, commit [0-9a-f]{8}: \d+ files, ", outcome.Error);

        folder = _at.Succeed("download", "org/rows", "--repo-type", "dataset", "--include", "data/*", "--exclude", "*test*").Output.Trim();
        Assert.Equal(["data/train_sft-00000-of-00001.jsonl"], Directory.GetFiles(folder, "*", SearchOption.AllDirectories).Select(file =>
            Path.GetRelativePath(folder, file)));

        Assert.Equal(_at.Run.At("mine") + "\n", _at.Succeed("download", "org/model", "config.json", "tokenizer.json", "--local-dir",
            "mine").Output);
        Assert.Equal(["config.json", "tokenizer.json"],
            Directory.GetFiles(_at.Run.At("mine")).Select(Path.GetFileName).Order(StringComparer.Ordinal)!);

        _at.Run.Refused(_at.Handbook("download", "org/model", "config.jsn"), "org/model has no file config.jsn",
            "did you mean config.json?");
        _at.Run.Refused(_at.Handbook("download", "org/model", "--include", "*.none"), "org/model has no file that is meant");
        _at.Run.Refused(_at.Handbook("download", "no name"), "is no name of a repository");
        _at.Run.Refused(_at.Handbook("download", "org/model", "--revision", "../x"), "is no revision");
    }

    [Fact]
    public void The_newest_commit_is_downloaded_where_an_older_one_is_in_the_cache()
    {
        _at.Succeed("download", "org/model");
        var commit = _at.Hub.Repositories["models/org/model"].Change("main", new Dictionary<string, byte[]>
        {
            ["new.txt"] = "x"u8.ToArray()
        }, [], "second");
        Assert.EndsWith($"/{commit}\n", _at.Succeed("download", "org/model").Output);
        var lines = _at.Succeed("cache").Output.Split('\n');
        Assert.Matches(@"^repository  type   +size  last used +revisions$", lines[0]);
        Assert.Matches(@"^org/model   model  +[\d.]+ kB  \d{4}-\d\d-\d\d \d\d:\d\d  .*main \(" + commit[..8] + @"\)", lines[1]);
    }

    [Fact]
    public void A_folder_is_published_and_the_same_folder_again_sends_nothing()
    {
        _at.Variables["HF_TOKEN"] = StandInHub.Token;
        var outcome = _at.Succeed("upload", "model", "mine", "--private", "--message", "first of all", "--exclude", "generation*");
        Assert.Contains("made tester/mine\n", outcome.Error);
        Assert.Contains("0 files there already, 0 files removed", outcome.Error);
        var there = _at.Hub.Repositories["models/tester/mine"];
        Assert.Equal($"{_at.Hub.Address}/tester/mine/tree/main, commit {there.Refs["main"][..8]}\n", outcome.Output);
        Assert.True(there.IsPrivate);
        Assert.Equal("first of all", Assert.Single(there.Log).Summary);
        Assert.DoesNotContain("generation_config.json", there.Files().Keys);
        Assert.Contains("0 files changed", _at.Succeed("upload", "model", "mine", "--exclude", "generation*").Error);
        Assert.Single(there.Log);

        _at.Succeed("upload", "model", "mine", "--path-in-repo", "sub/dir", "--include", "config.json", "--revision", "exp", "--delete",
            "*.safetensors");
        Assert.Contains("sub/dir/config.json", there.Files("exp").Keys);
        Assert.DoesNotContain("model.safetensors", there.Files("exp").Keys);
        Assert.Contains("model.safetensors", there.Files().Keys);
        _at.Succeed("upload", "rows.jsonl", "org/new-rows", "--repo-type", "dataset");
        Assert.Equal(["rows.jsonl"], _at.Hub.Repositories["datasets/org/new-rows"].Files().Keys);

        _at.Run.Refused(_at.Handbook("upload", "none", "mine"), "there is no folder none");
        _at.Run.Refused(_at.Handbook("upload", "model", "mine", "--include", "*.none"), "model has no file to publish");
        _at.Run.Refused(_at.Handbook("upload", "model", "others/mine"), "others/mine: the token of HF_TOKEN may not do this");
    }

    [Fact]
    public void The_cache_is_verified_and_emptied()
    {
        Assert.StartsWith("there is nothing in ", _at.Succeed("cache").Output);
        var folder = _at.Succeed("download", "org/model").Output.Trim();
        Assert.Equal("org/model: every content has its hash\n", _at.Succeed("cache", "verify").Output);
        File.WriteAllText(Path.Combine(folder, "config.json"), "{}");
        _at.Run.Refused(_at.Handbook("cache", "verify", "org/model"), "config.json: its hash is", "handbook cache delete org/model");
        _at.Run.Refused(_at.Handbook("cache", "delete", "org/modle"), "org/modle is not in the cache", "did you mean org/model?");
        Assert.Matches(@"^org/model: [\d.]+ kB removed\n$", _at.Succeed("cache", "delete", "org/model").Output);
        Assert.StartsWith("there is nothing in ", _at.Succeed("cache").Output);
        Assert.False(Directory.Exists(_at.Run.At("home", "hub", "models--org--model")));
    }

    [Fact]
    public void Tokenizers_templates_and_models_of_the_hub_are_named_by_any_command()
    {
        Assert.Contains("number", _at.Succeed("tokenizer", "encode", "org/model", "number").Output + _at.Succeed("tokenizer", "inspect",
            "org/model").Output);
        Assert.DoesNotContain(_at.Hub.Requests, request => request.Path.StartsWith("/store/", StringComparison.Ordinal));
        _at.Succeed("inspect", "--tokenizer", "org/model", "--data", "org/rows", "--split", "test_sft", "--loss", "all");
        _at.Succeed("data", "inspect", "org/rows", "--split", "train_sft", "--tokenizer", "org/model");
        _at.Hub.Add("datasets", "org/bench", ("test.jsonl", "{\"question\": \"which number is the answer to everything that was ever asked here?\"}\n"));
        _at.Succeed("data", "decontaminate", "rows.jsonl", "--against", "org/bench", "--output", "clean.jsonl");
        _at.Succeed("quantize", "org/model", "--to", "int8", "-o", "small");
        Assert.Contains(_at.Hub.Requests, request => request.Path.StartsWith("/store/", StringComparison.Ordinal));
    }

    [Fact]
    [Trait("speed", "slow")]
    public void A_download_that_is_interrupted_goes_on_where_it_was()
    {
        var weights = Enumerable.Range(0, 3_000_000).Select(i => (byte)(i * 31 >> 4)).ToArray();
        _at.Hub.Add(new("models", "org/large"), ("model.safetensors", weights));
        var store = $"/store/{StandInRepository.LargeHash(weights)}";
        _at.Hub.Fault("GET", store, context =>
        {
            context.Response.ContentLength64 = weights.Length;
            context.Response.OutputStream.Write(weights.AsSpan(0, 1_000_000));
            context.Response.OutputStream.Flush();
            Thread.Sleep(20_000);
            context.Response.Abort();
            return true;
        });
        using (var process = _at.Run.Handbook.Start(["download", "org/large"], _at.Environment))
        {
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            var unfinished = _at.Run.At("home", "hub", "models--org--large", "blobs", StandInRepository.LargeHash(weights) + ".incomplete");
            Assert.True(SpinWait.SpinUntil(() => File.Exists(unfinished) && new FileInfo(unfinished).Length > 0, TimeSpan.FromSeconds(30)));
            Thread.Sleep(500);
            process.Kill();
            process.WaitForExit();
        }
        Assert.Equal(weights, File.ReadAllBytes(Path.Combine(_at.Succeed("download", "org/large").Output.Trim(), "model.safetensors")));
        Assert.Matches("bytes=[1-9][0-9]*-", _at.Hub.Requests.Last(request => request.Path.StartsWith(store,
            StringComparison.Ordinal)).Range);
    }
}
