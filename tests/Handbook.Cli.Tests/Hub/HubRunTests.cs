using System.Text;
using Handbook.Testing.Hub;

namespace Handbook.Cli.Tests.Hub;

/// <summary>Whole runs whose model and rows are named as the hub has them, and that are published there.</summary>
public sealed class HubRunTests : IDisposable
{
    private readonly HubFolder _at = new();

    public void Dispose() => _at.Dispose();

    private StandInRepository Published => _at.Hub.Repositories["models/tester/tiny-out"];

    [Fact]
    public void A_run_from_the_hub_and_back_gives_the_weights_that_it_has()
    {
        _at.Variables["HF_TOKEN"] = StandInHub.Token;
        var outcome = _at.Succeed("sft", "hub.yaml", "--push_to_hub", "--hub_model_id=tiny-out", "--hub_private_repo=true",
            "--hub_always_push");
        Assert.Contains("push_to_hub: the model goes to tester/tiny-out as tester, at every save", outcome.Error);
        Assert.Contains($"published at {_at.Hub.Address}/tester/tiny-out", outcome.Error);

        // Downloaded was what the run needs, and no more.
        Assert.DoesNotContain(_at.Hub.Requests, request => request.Path.Contains("big.jsonl", StringComparison.Ordinal)
            || request.Path.Contains("test_sft", StringComparison.Ordinal));
        Assert.Equal(["Training in progress, step 2", "Training in progress, step 4", "End of training"], Published.Log.Select(entry =>
            entry.Summary));
        Assert.True(Published.IsPrivate);
        var weights = File.ReadAllBytes(_at.Run.At("out", "model.safetensors"));
        Assert.Equal(weights, Published.Files()["model.safetensors"]);
        Assert.NotEqual(weights, Published.Files(Published.Log[0].Commit)["model.safetensors"]);
        Assert.Equal(File.ReadAllBytes(_at.Run.At("out", "checkpoint-2", "model.safetensors")),
            Published.Files(Published.Log[0].Commit)["model.safetensors"]);
        Assert.DoesNotContain("README.md", Published.Files(Published.Log[0].Commit).Keys);
        Assert.Superset(new HashSet<string> { "README.md", "config.json", "tokenizer.json", "trainer_state.json", "run.json",
            "recipe.yaml" },
            Published.Files().Keys.ToHashSet());
        Assert.DoesNotContain(Published.Files().Keys, path => path.Contains("checkpoint-", StringComparison.Ordinal)
            || path.EndsWith("run.lock", StringComparison.Ordinal));
        // The second and the third save have the same weights: they were sent once.
        Assert.Equal(2, _at.Hub.Requests.Count(request => request.Method == "PUT"));

        // It loads by its name, and answers as the run's folder does.
        string[] ask = ["generate", "MODEL", "number 3?", "--temperature", "0", "--max-new-tokens", "5"];
        var here = _at.Succeed([.. ask.Select(word => word == "MODEL" ? "out" : word)]).Output;
        Assert.Equal(here, _at.Succeed([.. ask.Select(word => word == "MODEL" ? "tester/tiny-out" : word)]).Output);
        Assert.Equal(weights, File.ReadAllBytes(Directory.GetFiles(_at.Run.At("home", "hub", "models--tester--tiny-out", "snapshots"),
            "model.safetensors", SearchOption.AllDirectories).Single()));

        Assert.Empty(_at.Holding(StandInHub.Token));
        Assert.DoesNotContain(StandInHub.Token, outcome.Error + outcome.Output);
        Assert.Contains("base_model: org/model", Encoding.UTF8.GetString(Published.Files()["README.md"]));

        // Without a network the same names mean what was downloaded.
        _at.Variables["HF_HUB_OFFLINE"] = "1";
        var requests = _at.Hub.Requests.Count;
        _at.Succeed("sft", "hub.yaml", "--output_dir=again");
        Assert.Equal(weights, File.ReadAllBytes(_at.Run.At("again", "model.safetensors")));
        Assert.Equal(requests, _at.Hub.Requests.Count);
    }

    [Fact]
    public void Without_a_token_the_run_is_told_of_it_goes_on_and_ends_with_the_command()
    {
        var outcome = _at.Succeed("sft", "hub.yaml", "--push_to_hub", "--hub_model_id=tester/tiny-out", "--hub_model_revision=v1");
        const string command = "handbook upload out tester/tiny-out --revision v1";
        Assert.Contains("warning: push_to_hub: there is no token, so nothing is published during this run, which goes on", outcome.Error);
        Assert.True(outcome.Error.IndexOf("there is no token", StringComparison.Ordinal) < outcome.Error.IndexOf("step 1",
            StringComparison.Ordinal)
            || !outcome.Error.Contains("step 1", StringComparison.Ordinal));
        Assert.Contains($"push_to_hub: nothing was published; this does it: {command}", outcome.Error);
        _at.Variables["HF_TOKEN"] = StandInHub.Token;
        _at.Succeed(command.Split(' ')[1..]);
        Assert.Equal(File.ReadAllBytes(_at.Run.At("out", "model.safetensors")), Published.Files("v1")["model.safetensors"]);
        Assert.Empty(Published.Files());
    }

    [Fact]
    public void A_hub_that_fails_or_goes_away_does_not_end_a_run()
    {
        _at.Variables["HF_TOKEN"] = StandInHub.Token;
        _at.Hub.Fail("POST", "/commit/", 403, times: 99);
        var outcome = _at.Succeed("sft", "hub.yaml", "--push_to_hub", "--hub_model_id=tiny-out");
        Assert.Contains("warning: push_to_hub: not everything was published", outcome.Error);
        Assert.Contains("fix: handbook upload out tester/tiny-out", outcome.Error);
        Assert.True(File.Exists(_at.Run.At("out", "train_results.json")));

        _at.Variables["HF_TOKEN"] = StandInHub.WrongToken;
        outcome = _at.Handbook("sft", "hub.yaml", "--push_to_hub", "--hub_model_id=tiny-out", "--output_dir=other");
        Assert.Equal(0, outcome.Code);
        Assert.Contains("127.0.0.1 does not know the token of HF_TOKEN", outcome.Error);
        Assert.Contains("push_to_hub: nothing was published; this does it: handbook upload other tiny-out", outcome.Error);
        Assert.Empty(_at.Holding(StandInHub.WrongToken));
    }

    [Theory]
    [InlineData("end", "End of training", "")]
    [InlineData("checkpoint", "Training in progress, step 2|Training in progress, step 4|End of training", "last-checkpoint/")]
    [InlineData("all_checkpoints", "Training in progress, step 2|Training in progress, step 4|End of training",
        "checkpoint-2/|checkpoint-4/")]
    [Trait("speed", "slow")]
    public void The_strategy_says_what_is_published(string strategy, string commits, string folders)
    {
        _at.Variables["HF_TOKEN"] = StandInHub.Token;
        _at.Succeed("sft", "hub.yaml", "--push_to_hub", "--hub_model_id=tiny-out", $"--hub_strategy={strategy}", "--hub_always_push",
            "--save_total_limit=1");
        Assert.Equal(commits.Split('|'), Published.Log.Select(entry => entry.Summary));
        var there = Published.Files().Keys.Where(path => path.Contains("checkpoint", StringComparison.Ordinal)).Select(path =>
            path[..(path.IndexOf('/') + 1)]).Distinct();
        Assert.Equal(folders.Split('|', StringSplitOptions.RemoveEmptyEntries), there);
        foreach (var folder in folders.Split('|', StringSplitOptions.RemoveEmptyEntries))
            Assert.Contains($"{folder}manifest.json", Published.Files().Keys);
    }

    [Fact]
    public void A_token_in_a_recipe_or_on_the_command_line_is_used_and_written_nowhere()
    {
        _at.Run.Write("secret.yaml", _at.Run.Read("hub.yaml") + $"env: {{HF_TOKEN: {StandInHub.WrongToken}, OTHER: kept}}\n");
        var outcome = _at.Succeed("sft", "secret.yaml", "--push_to_hub", "--hub_model_id=tiny-out", $"--hub_token={StandInHub.Token}");
        Assert.Contains("published at", outcome.Error);
        Assert.DoesNotContain(StandInHub.Token, outcome.Error + outcome.Output);
        Assert.Empty(_at.Holding(StandInHub.Token));
        Assert.Equal(["secret.yaml"], _at.Holding(StandInHub.WrongToken));
        Assert.Contains("--hub_token=(hidden)", _at.Run.Read("out/run.json"));
        Assert.Contains("OTHER: kept", _at.Run.Read("out/recipe.yaml"));
        Assert.All(Published.Files().Values, bytes => Assert.True(bytes.AsSpan().IndexOf(Encoding.UTF8.GetBytes(StandInHub.Token)) < 0));
        // A mistake in the same line is shown without it.
        _at.Run.Write("secret.yaml", _at.Run.Read("hub.yaml") + $"hub_token: [{StandInHub.Token}]\n");
        outcome = _at.Handbook("sft", "secret.yaml");
        Assert.Contains("error: hub_token is a list", outcome.Error);
        Assert.Contains("hub_token: (hidden)", outcome.Error);
        Assert.DoesNotContain(StandInHub.Token, outcome.Error);
    }

    [Fact]
    public void Validate_and_plan_say_what_a_run_would_download_and_download_none_of_it()
    {
        var outcome = _at.Succeed("validate", "hub.yaml");
        Assert.Matches(@"note: a run would download model_name_or_path: org/model: \d+ files, [\d.]+ kB, from commit [0-9a-f]{8} of org/model into ", outcome.Error);
        Assert.Matches(@"note: a run would download data set: org/rows: 1 file, [\d.]+ (k?)B, from commit [0-9a-f]{8} of org/rows into ",
            outcome.Error);
        Assert.DoesNotContain(_at.Hub.Requests, request => request.Path.StartsWith("/store/", StringComparison.Ordinal));
        outcome = _at.Succeed("plan", "hub.yaml", "--world", "2", "--network", "1GB/s");
        Assert.Contains("note: a run would download model_name_or_path: org/model", outcome.Error);
        Assert.DoesNotContain(_at.Hub.Requests, request => request.Path.StartsWith("/store/", StringComparison.Ordinal));
        Assert.Contains(_at.Hub.Requests, request => request.Method == "GET" && request.Path.EndsWith("/config.json",
            StringComparison.Ordinal));

        _at.Succeed("sft", "hub.yaml");
        Assert.DoesNotContain("would download", _at.Succeed("validate", "hub.yaml").Error);
    }

    [Fact]
    public void What_the_hub_does_not_have_or_give_is_told_before_anything_is_written()
    {
        _at.Hub.Add(new("models", "org/gated") { IsGated = true }, ("config.json", "{}"u8.ToArray()), ("model.safetensors",
            "x"u8.ToArray()));
        _at.Run.Refused(_at.Handbook("sft", "hub.yaml", "--model_name_or_path=org/none"),
            "model_name_or_path: org/none is not on this machine; looked for",
            "and on the hub: 127.0.0.1 has no repository org/none");
        _at.Run.Refused(_at.Handbook("sft", "hub.yaml", "--model_name_or_path=org/gated"), "org/gated is gated",
            $"accept them at {_at.Hub.Address}/org/gated, then `handbook login`");
        _at.Run.Refused(_at.Handbook("validate", "hub.yaml", "--model_name_or_path=org/gated"), "org/gated is gated", "accept them at");
        _at.Run.Refused(_at.Handbook("sft", "hub.yaml", "--model_revision=v7"), "org/model@v7: there is no such revision");
        _at.Run.Refused(_at.Handbook("sft", "hub.yaml", "--dataset_train_split=none"),
            "org/rows: has no split \"none\"; it has test_sft, train_sft");
        _at.Variables["HF_ENDPOINT"] = "http://127.0.0.1:9";
        _at.Run.Refused(_at.Handbook("sft", "hub.yaml"), "127.0.0.1 cannot be reached", "HF_HUB_OFFLINE=1");
        _at.Variables["HF_ENDPOINT"] = "nonsense";
        _at.Run.Refused(_at.Handbook("sft", "hub.yaml"), "HF_ENDPOINT is no address of a hub");
        Assert.False(Directory.Exists(_at.Run.At("out")));
    }

    [Fact]
    [Trait("speed", "slow")]
    public void The_revision_that_a_recipe_names_is_trained_from()
    {
        var model = _at.Hub.Repositories["models/org/model"];
        model.Refs["it-SFT"] = model.Refs["main"];
        model.Change("main", new Dictionary<string, byte[]> { ["config.json"] = "{\"model_type\": \"none\"}"u8.ToArray() }, [], "another");
        _at.Succeed("sft", "hub.yaml", "--model_revision=it-SFT");
        Assert.Contains("model_name_or_path: \"org/model@it-SFT\"", _at.Run.Read("out/recipe.yaml"));
        Assert.Contains("base_model: org/model\n", _at.Run.Read("out/README.md"));
        // What came from the hub is known by its commit, and found in the cache wherever that is.
        Assert.Contains($"\"path\": \"$HF_HUB_CACHE/models--org--model/snapshots/{model.Refs["it-SFT"]}/model.safetensors\"",
            _at.Run.Read("out/run.json"));
        Assert.Contains($"org/model@it-SFT ({model.Refs["it-SFT"][..8]})", _at.Succeed("verify", "out").Output);
        Assert.Contains("note: model_revision has no effect here: model is a folder on this machine",
            _at.Handbook("validate", "r.yaml", "--model_revision=v1").Error);
        Assert.Contains("note: base_model_revision has no effect here: model is no adapter",
            _at.Handbook("validate", "r.yaml", "--base_model_revision=v1").Error);
        // An adapter remembers it as PEFT does.
        _at.Succeed("sft", "hub.yaml", "--model_revision=it-SFT", "--use_peft", "--output_dir=lora");
        var config = System.Text.Json.Nodes.JsonNode.Parse(_at.Run.Read("lora/adapter_config.json"))!;
        Assert.Equal(("org/model", "it-SFT"), ((string)config["base_model_name_or_path"]!, (string)config["revision"]!));
        _at.Succeed("merge", "lora", "--out", "merged");
        // Whoever trains over it may say so once more; another revision is not the model that it was trained on.
        string[] over = ["validate", "hub.yaml", "--model_name_or_path=lora", "--use_peft", "--output_dir=over"];
        Assert.DoesNotContain("base_model_revision", _at.Succeed([.. over, "--base_model_revision=it-SFT"]).Error);
        _at.Run.Refused(_at.Handbook([.. over, "--base_model_revision=main"]),
            "base_model_revision is main, but lora is an adapter of org/model at it-SFT", "write \"revision\": \"main\" into ");
        _at.Run.Refused(_at.Handbook([.. over, "--base_model_revision=a..b"]), "base_model_revision is \"a..b\", which is no revision");
        // The recipe that a run leaves behind is the run again.
        _at.Succeed("sft", "out/recipe.yaml", "--output_dir=again");
        Assert.Equal(File.ReadAllBytes(_at.Run.At("out", "model.safetensors")), File.ReadAllBytes(_at.Run.At("again",
            "model.safetensors")));
    }

    [Fact]
    public void Of_several_processes_one_downloads_and_one_publishes()
    {
        _at.Variables["HF_TOKEN"] = StandInHub.Token;
        var outcome = _at.Succeed("launch", "--num_processes", "2", "sft", "hub.yaml", "--push_to_hub", "--hub_model_id=tiny-out", "--hub_strategy=end");
        Assert.Contains("published at", outcome.Error + outcome.Output);
        Assert.Single(Published.Log);
        var weights = _at.Hub.Repositories["models/org/model"].Files()["model.safetensors"];
        Assert.Single(_at.Hub.Requests, request => request.Path.StartsWith($"/store/{StandInRepository.LargeHash(weights)}", StringComparison.Ordinal));
    }

    [Fact]
    public void Pickled_weights_are_read_by_the_reader_that_runs_no_code()
    {
        var files = _at.Hub.Repositories["models/org/model"].Files().Where(file => !file.Key.Contains("safetensors",
            StringComparison.Ordinal))
            .Select(file => (file.Key, file.Value));
        // a pickle whose only instruction is to call os.system
        var pickle = Zip("archive/data.pkl", "cos\nsystem\n(S'touch owned'\ntR."u8.ToArray());
        _at.Hub.Add(new("models", "org/pickled"), [.. files, ("pytorch_model.bin", pickle)]);
        var outcome = _at.Handbook("sft", "hub.yaml", "--model_name_or_path=org/pickled");
        Assert.Equal(2, outcome.Code);
        Assert.Contains("pytorch_model.bin", outcome.Error);
        Assert.False(File.Exists(_at.Run.At("owned")));
    }

    private static byte[] Zip(string name, byte[] content)
    {
        using var memory = new MemoryStream();
        using (var zip = new System.IO.Compression.ZipArchive(memory, System.IO.Compression.ZipArchiveMode.Create))
        {
            using var entry = zip.CreateEntry(name).Open();
            entry.Write(content);
        }
        return memory.ToArray();
    }
}
