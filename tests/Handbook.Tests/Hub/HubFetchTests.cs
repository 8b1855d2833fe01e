using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Data.Decontamination;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Hub;
using Handbook.Models;
using Handbook.Testing.Hub;

namespace Handbook.Tests.Hub;

/// <summary>What is downloaded of what a recipe names: the files that are needed, once, and nothing where that is wished.</summary>
[Collection("hub")]
public sealed class HubFetchTests : IDisposable
{
    private const string Row = "{\"text\": \"a\"}\n";

    private readonly HubCase _case = new();
    private readonly Heard _heard = new();

    public void Dispose() => _case.Dispose();

    private IReadOnlyList<HubWant> Wants(HubNeed need)
    {
        using var fetch = new HubFetch(_heard, _case.Settings);
        return fetch.Wants(need, TestContext.Current.CancellationToken);
    }

    private string? Model(string name, ModelParts parts = ModelParts.Whole)
    {
        using var fetch = new HubFetch(_heard, _case.Settings);
        fetch.Bring(HubNeed.Model(name, "model_name_or_path", parts)!, TestContext.Current.CancellationToken);
        return ModelFolder.TryFind(name);
    }

    private List<string> Rows(DatasetSpec spec)
    {
        using var fetch = new HubFetch(_heard, _case.Settings);
        fetch.Bring(HubNeed.Dataset(spec, null)!, TestContext.Current.CancellationToken);
        return [.. Dataset.Open(spec).Files.Select(file => Path.GetRelativePath(DatasetPath.Find(spec, null), file))];
    }

    private static string[] Files(string? folder) => [.. Directory.GetFiles(folder!, "*", SearchOption.AllDirectories)
        .Select(file => Path.GetRelativePath(folder!, file)).Order(StringComparer.Ordinal)];

    private void AddModel(string id, params string[] files) => _case.Hub.Add("models", id, [.. files.Select(file => (file,
        file.EndsWith(".json", StringComparison.Ordinal)
            ? "{\"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\", \"b\": \"model-00002-of-00002.safetensors\"}}"
            : "x" + file))]);

    [Fact]
    public void Of_weights_in_several_formats_one_is_downloaded()
    {
        AddModel("org/both", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "README.md",
            "model.safetensors",
            "pytorch_model.bin", "consolidated.safetensors", "model.fp16.safetensors", "tf_model.h5", "training_args.bin",
                "original/model.safetensors",
            "additional_chat_templates/tool_use.jinja", "run.json", "optimizer.pt");
        Assert.Equal(["README.md", "additional_chat_templates/tool_use.jinja", "config.json", "generation_config.json",
            "model.safetensors", "tokenizer.json",
            "tokenizer_config.json"], Files(Model("org/both")));
        AddModel("org/old", "config.json", "vocab.json", "merges.txt", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin",
            "pytorch_model-00002-of-00002.bin");
        Assert.Equal(["config.json", "merges.txt", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin",
            "pytorch_model.bin.index.json",
            "vocab.json"], Files(Model("org/old")));
        Assert.Equal(["config.json"], Files(Model("org/plan", "config.json", "model.safetensors")));

        string? Model(string id, params string[] files)
        {
            if (files.Length == 0)
                return this.Model(id);
            AddModel(id, files);
            return this.Model(id, ModelParts.Config);
        }
    }

    [Fact]
    public void A_tokenizer_alone_comes_without_weights_and_the_weights_when_they_are_wanted()
    {
        AddModel("org/m", "config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors");
        Assert.Equal(["chat_template.jinja", "config.json", "tokenizer.json"], Files(Model("org/m", ModelParts.Tokenizer)));
        var asked = _case.Hub.Requests.Count;
        Model("org/m", ModelParts.Tokenizer);
        Assert.Equal(asked, _case.Hub.Requests.Count);
        var want = Assert.Single(Wants(HubNeed.Model("org/m", null, ModelParts.Whole)!));
        Assert.Equal("model.safetensors", Assert.Single(want.Files).Path);
        Assert.Contains("model.safetensors", Files(Model("org/m")));
        Assert.Equal(asked, _case.Hub.Requests.Count - 2);      // the store's address, and the content
    }

    [Fact]
    public void A_shard_that_another_program_left_out_is_downloaded()
    {
        AddModel("org/s", "config.json", "tokenizer.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors");
        var folder = Model("org/s")!;
        File.Delete(Path.Combine(folder, "model-00002-of-00002.safetensors"));
        Model("org/s");
        Assert.True(File.Exists(Path.Combine(folder, "model-00002-of-00002.safetensors")));
    }

    [Fact]
    public void A_revision_is_kept_and_main_stays_the_commit_that_it_was()
    {
        AddModel("org/m", "config.json", "tokenizer.json", "model.safetensors");
        var hub = _case.Hub.Repositories["models/org/m"];
        var before = Model("org/m");
        hub.Refs["v1"] = hub.Refs["main"];
        hub.Change("main", new Dictionary<string, byte[]> { ["config.json"] = "{\"new\": 1}"u8.ToArray() }, [], "second");
        Assert.Equal(before, Model("org/m"));
        Assert.Equal(before, Model("org/m@v1"));
        Assert.NotEqual(before, Model($"org/m@{hub.Refs["main"]}"));
    }

    [Fact]
    public void An_adapter_brings_the_model_below_it()
    {
        AddModel("org/base", "config.json", "tokenizer.json", "model.safetensors");
        _case.Hub.Add("models", "org/lora", ("adapter_config.json",
            "{\"base_model_name_or_path\": \"org/base\", \"peft_type\": \"LORA\", \"r\": 8, "
            + "\"lora_alpha\": 8, \"target_modules\": [\"q_proj\"]}"), ("adapter_model.safetensors", "x"), ("README.md", "card"));
        Assert.Equal(["org/lora", "org/base"], Wants(HubNeed.Model("org/lora", null, ModelParts.Whole)!).Select(want =>
            want.Snapshot.Repository.Id));
        Model("org/lora");
        Assert.NotNull(ModelFolder.TryFind("org/base"));
        Assert.Empty(Wants(HubNeed.Model("org/lora", null, ModelParts.Whole)!));
        // An adapter on this machine whose model is not.
        Directory.CreateDirectory(_case["mine"]);
        foreach (var file in Files(ModelFolder.TryFind("org/lora")))
            File.Copy(Path.Combine(ModelFolder.TryFind("org/lora")!, file), _case["mine", file]);
        Directory.Delete(_case.Cached("models--org--base"), recursive: true);
        var need = HubNeed.Model(_case["mine"], null, ModelParts.Whole)!;
        Assert.Equal(("org/base", _case["mine"]), (need.Name, need.AskedFor));
        File.WriteAllText(_case["mine", "adapter_config.json"], File.ReadAllText(_case["mine", "adapter_config.json"])
            .Replace("\"r\": 8", "\"r\": 8, \"revision\": \"v1\""));
        Assert.Equal("org/base@v1", HubNeed.Model(_case["mine"], null, ModelParts.Whole)!.Name);
    }

    [Fact]
    public void What_lies_on_this_machine_is_not_looked_for_elsewhere()
    {
        Directory.CreateDirectory(_case["model"]);
        Assert.Null(HubNeed.Model(_case["model"], null, ModelParts.Whole));
        Assert.Null(HubNeed.Model("./no/such", null, ModelParts.Whole));
        Assert.Null(HubNeed.Model("template.jinja", null, ModelParts.Tokenizer));
        Assert.Null(HubNeed.Dataset(new() { Id = "rows.jsonl" }, null));
        AddModel("org/m", "config.json");
        _case.Settings = _case.Settings with { IsOffline = true };
        Assert.Empty(Wants(HubNeed.Model("org/m", null, ModelParts.Whole)!));
        Assert.Empty(_case.Hub.Requests);
    }

    [Fact]
    public void A_name_that_is_nowhere_tells_every_place_and_the_hub_s_answer()
    {
        var error = Assert.Throws<InputException>(() => Model("org/absent"));
        Assert.StartsWith("model_name_or_path: org/absent is not on this machine; looked for\n    ", error.What);
        Assert.Contains(_case.Cached("models--org--absent"), error.What);
        Assert.EndsWith("and on the hub: 127.0.0.1 has no repository org/absent", error.What);
    }

    [Fact]
    public void Without_a_hub_what_is_there_in_part_is_taken_as_it_is()
    {
        AddModel("org/m", "config.json", "tokenizer.json", "model.safetensors");
        var folder = Model("org/m", ModelParts.Tokenizer)!;
        Directory.Delete(_case.Cached("models--org--m", "trees"), recursive: true);
        _case.Hub.Fail("GET", "/tree/", 503, times: 99);
        Assert.Equal(folder, Model("org/m"));
        Assert.Contains(_heard.Lines, line => line.StartsWith("note: model_name_or_path: org/m: taken from", StringComparison.Ordinal));
    }

    [Fact]
    public void Of_a_data_set_the_files_of_the_split_are_downloaded()
    {
        _case.Hub.Add("datasets", "org/set", ("README.md", "---\nlicense: mit\n---\n"), ("data/train_sft-00000-of-00002.jsonl", Row),
            ("data/train_sft-00001-of-00002.jsonl", Row), ("data/test_sft-00000-of-00001.jsonl", Row), ("raw/all.jsonl", Row),
                ("images/a.png", "x"));
        var spec = new DatasetSpec { Id = "org/set", Split = "train_sft[:50%]" };
        Assert.Equal(["data/train_sft-00000-of-00002.jsonl", "data/train_sft-00001-of-00002.jsonl"], Rows(spec));
        Assert.Equal(["README.md", "data/train_sft-00000-of-00002.jsonl", "data/train_sft-00001-of-00002.jsonl"],
            Files(DatasetPath.Find(spec, null)));
        Assert.Single(Dataset.Open(spec).Read());
        var asked = _case.Hub.Requests.Count;
        Rows(spec);
        Assert.Equal(asked, _case.Hub.Requests.Count);
        Assert.Equal(["data/test_sft-00000-of-00001.jsonl"], Rows(spec with { Split = "test_sft" }));
        var error = Assert.Throws<InputException>(() => Rows(spec with { Split = "validation" }));
        Assert.Contains("has no split \"validation\"; it has test_sft, train_sft", error.What);
    }

    [Fact]
    public void Of_a_set_that_rows_are_compared_with_every_split_is_downloaded()
    {
        _case.Hub.Add("datasets", "org/bench", ("train.jsonl", Row), ("test.jsonl", Row), ("notes.md", "x"));
        DecontaminationOptions options = new()
        {
            Against = [new() { Id = "human-eval" }, new() { Id = "mine.fingerprints" }, new() { Id = "org/bench" }],
        };
        var need = Assert.Single(HubNeed.References(options, null));
        Assert.Equal(["test.jsonl", "train.jsonl"], Assert.Single(Wants(need)).Files.Select(file => file.Path));
    }

    [Fact]
    public void The_card_names_configs_and_their_files()
    {
        _case.Hub.Add("datasets", "org/cards", ("README.md", """
            ---
            configs:
            - config_name: chat
              data_files:
              - split: train
                path: chat/*.jsonl
              - split: test
                path: held/chat.jsonl
            - config_name: code
              data_files: code.jsonl
            ---
            """), ("chat/a.jsonl", Row), ("chat/b.jsonl", Row), ("held/chat.jsonl", Row), ("code.jsonl", Row));
        var spec = new DatasetSpec { Id = "org/cards", Config = "chat" };
        Assert.Equal(["chat/a.jsonl", "chat/b.jsonl"], Rows(spec));
        Assert.Equal(["code.jsonl"], Rows(spec with { Config = "code" }));
        Assert.Equal(["test", "train"], Dataset.SplitsOf(spec));
        // The test split is described and was not wanted; who wants it without the hub is told.
        Assert.Contains("names held/chat.jsonl for its split test, and no data file is called so",
            Assert.Throws<InputException>(() => Dataset.Open(spec with { Split = "test" })).What);
        Assert.Contains("no default config", Assert.Throws<InputException>(() => Rows(spec with { Config = null })).What);
        Assert.Contains("has no config \"none\"", Assert.Throws<InputException>(() => Rows(spec with { Config = "none" })).What);
    }

    [Fact]
    public void A_saved_data_set_is_read_by_its_own_list()
    {
        _case.Hub.Add("datasets", "org/saved", ("dataset_dict.json", "{\"splits\": [\"train\"]}"),
            ("train/state.json", "{\"_data_files\": [{\"filename\": \"data-00000-of-00001.arrow\"}], \"_split\": \"train\"}"),
            ("train/data-00000-of-00001.arrow", "x"), ("other.bin", "x"));
        Assert.Equal(["train/data-00000-of-00001.arrow"], Rows(new() { Id = "org/saved" }));
    }

    [Fact]
    public void Of_a_data_set_that_is_a_program_the_converted_rows_are_taken()
    {
        var program = _case.Hub.Add("datasets", "org/script", ("script.py", "print('never run')"), ("README.md", "words"));
        var spec = new DatasetSpec { Id = "org/script", Config = "en", Split = "Odd_name" };
        Assert.Contains("the hub has not converted it", Assert.Throws<InputException>(() => Rows(spec)).What);
        program.Refs[DatasetPath.ConvertedRevision] = program.Add(new(StringComparer.Ordinal)
        {
            ["en/Odd_name/0000.parquet"] = [1],
            ["en/Odd_name/0001.parquet"] = [2],
            ["en/test/0000.parquet"] = [3],
            ["de/train/0000.parquet"] = [4],
        });
        Assert.Equal(["en/Odd_name/0000.parquet", "en/Odd_name/0001.parquet"], Rows(spec));
        Assert.Equal(["de/train/0000.parquet"], Rows(new() { Id = "org/script", Config = "de" }));
        var asked = _case.Hub.Requests.Count;
        Rows(spec);
        Assert.Equal(asked, _case.Hub.Requests.Count);
    }

    [Fact]
    public void The_files_of_a_gated_data_set_are_refused_with_what_to_do_before_a_run()
    {
        _case.Hub.Add(new("datasets", "org/gated") { IsGated = true }, ("train.jsonl", "{}"u8.ToArray()));
        var need = HubNeed.Dataset(new() { Id = "org/gated" }, null)!;
        using var fetch = new HubFetch(_heard, _case.Writing);
        var want = Assert.Single(fetch.Wants(need, TestContext.Current.CancellationToken));
        Assert.Equal("data set: org/gated: 1 file, 2 B, from commit " + want.Snapshot.Commit[..8] + $" of org/gated into {_case.Cached()}",
            want.ToString());
        var error = Assert.Throws<HubException>(() => fetch.RequireAccess(want, TestContext.Current.CancellationToken));
        Assert.Equal(HubProblem.Gated, error.Problem);
        Assert.Contains($"{_case.Hub.Address}/datasets/org/gated", error.Fix);
    }

    [Fact]
    public async Task The_cache_is_listed_checked_and_emptied()
    {
        AddModel("org/m", "config.json", "tokenizer.json", "model.safetensors");
        var hub = _case.Hub.Repositories["models/org/m"];
        hub.Refs["v1"] = hub.Refs["main"];
        Model("org/m@v1");
        hub.Change("main", new Dictionary<string, byte[]> { ["config.json"] = "{\"new\": 1}"u8.ToArray() }, [], "second");
        Model("org/m");
        var cached = Assert.Single(CachedRepository.All());
        Assert.Equal((HubKind.Model, "org/m", 2), (cached.Kind, cached.Id, cached.Commits().Count));
        Assert.Equal(3, Directory.GetFiles(_case.Cached("models--org--m", "blobs")).Length);        // two names have one content
        Assert.Empty(await cached.Damaged(TestContext.Current.CancellationToken));
        await File.WriteAllTextAsync(Path.Combine(ModelFolder.TryFind("org/m")!, "config.json"), "{\"bad\": 1}",
            TestContext.Current.CancellationToken);
        var (files, difference) = Assert.Single(await cached.Damaged(TestContext.Current.CancellationToken));
        Assert.EndsWith("config.json", files);
        Assert.StartsWith("its hash is", difference);
        Assert.True(cached.Delete("main") > 0);
        Assert.Equal(2, Directory.GetFiles(_case.Cached("models--org--m", "blobs")).Length);
        Assert.Null(ModelFolder.TryFind($"org/m@{hub.Refs["main"]}"));
        Assert.NotNull(ModelFolder.TryFind("org/m@v1"));
        Assert.Contains("has no revision v9", Assert.Throws<InputException>(() => cached.Delete("v9")).What);
        cached.Delete();
        Assert.Empty(CachedRepository.All());
        Assert.Contains("is not in the cache", Assert.Throws<InputException>(() => CachedRepository.Find("org/m", null)).What);
    }

    private sealed class Heard : IWorkObserver
    {
        public List<string> Lines { get; } = [];

        public void Said(string text) => Lines.Add(text);
    }
}
