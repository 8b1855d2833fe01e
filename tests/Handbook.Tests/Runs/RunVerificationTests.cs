using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Runs;
using Handbook.Training;
using Handbook.Training.Checkpoints;
using Handbook.Training.Progress;

namespace Handbook.Tests.Runs;

/// <summary>What a run read and wrote is written down by content, and every change of it is found and named.</summary>
[Collection("tensors")]
public sealed class RunVerificationTests : IDisposable
{
    private readonly AdapterRuns _runs = new();

    [Theory]
    [InlineData("sft", "use_peft: false")]
    [InlineData("dpo", "save_strategy: steps", "save_steps: 2")]
    [InlineData("kto", "use_peft: false")]
    [InlineData("reward", "use_peft: true")]
    [InlineData("grpo", "beta: 0.1")]
    public void What_a_run_read_and_wrote_is_as_it_was_when_it_ends(string method, params string[] keys)
    {
        _runs.Train(method, "run", keys);
        var found = RunVerification.Of(_runs["run"]);
        Assert.Equal([], found.Parts.Where(part => part.State != VerifiedState.Same).Select(part => $"{part.What} {part.Name}: {part.Detail}"));
        Assert.True(found.IsWhole);
        Assert.Superset(new HashSet<string> { "recipe", "data", "tokenizer", "weights", "rows", "program", "machine", "output" },
            found.Parts.Select(part => part.What).ToHashSet());
        Assert.Equal(keys.Contains("save_steps: 2") ? ["checkpoint-2", "checkpoint-4"] : [],
            found.Parts.Where(part => part.What == "checkpoint").Select(part => part.Name));
        Assert.Contains(found.Parts, part => part.What == "output" && part.Name.EndsWith("model.safetensors", StringComparison.Ordinal));
    }

    [Fact]
    public void Every_change_is_named_with_its_file()
    {
        _runs.Train("dpo", "run", "save_strategy: steps", "save_steps: 4");
        var model = File.ReadAllBytes(_runs["model", "model.safetensors"]);
        var rows = File.ReadAllText(_runs["pairs", "train.jsonl"]);

        Change("pairs/train.jsonl", file => File.WriteAllText(file, rows + "\n"), "data", VerifiedState.Changed, $"has {rows.Length + 1:N0} bytes instead of");
        Change("pairs/train.jsonl", File.Delete, "data", VerifiedState.Missing, "train.jsonl is not there");
        Change("model/model.safetensors", file => File.WriteAllBytes(file, [.. model[..^1], (byte)(model[^1] ^ 1)]), "weights", VerifiedState.Changed,
            "model.safetensors has other content");
        Change("model/tokenizer_config.json", file => File.WriteAllText(file,
            """{"eos_token": "</s>", "chat_template": "{{ messages[0]['content'] }}"}"""), "template", VerifiedState.Changed, "hash");
        Change("recipe.yaml", file => File.AppendAllText(file, "# more\n"), "recipe", VerifiedState.Changed, "recipe.yaml");
        Change("run/recipe.yaml", file => File.AppendAllText(file, "# more\n"), "recipe", VerifiedState.Changed, "its hash is");
        Change("run/adapter_model.safetensors", File.Delete, "output", VerifiedState.Missing, "adapter_model.safetensors is not there");
        Change("run/metrics.jsonl", file => File.AppendAllText(file, "{}\n"), "output", VerifiedState.Changed, "metrics.jsonl has");
        Change("run/checkpoint-4/optimizer.safetensors", File.Delete, "checkpoint", VerifiedState.Changed, "is missing");
        Assert.True(RunVerification.Of(_runs["run"]).IsWhole);
    }

    [Fact]
    public void Weights_that_came_besides_are_told()
    {
        _runs.Train("sft", "run");
        File.Copy(_runs["model", "model.safetensors"], _runs["model", "model-00002-of-00002.safetensors"]);
        var part = Assert.Single(RunVerification.Of(_runs["run"]).Parts, part => part.What == "weights");
        Assert.Equal((VerifiedState.Changed, true), (part.State, part.Detail.EndsWith("has come since", StringComparison.Ordinal)));
    }

    [Fact]
    public void A_look_at_size_and_time_alone_is_for_who_asks_for_it()
    {
        _runs.Train("sft", "run");
        var file = _runs["texts", "train.jsonl"];
        Assert.True(RunVerification.Of(_runs["run"], quick: true).IsWhole);
        var (time, text) = (File.GetLastWriteTimeUtc(file), File.ReadAllText(file));
        File.WriteAllText(file, text.Replace("text", "texT"));
        File.SetLastWriteTimeUtc(file, time);
        Assert.Equal(VerifiedState.Same, State("data", quick: true));
        Assert.Equal(VerifiedState.Changed, State("data", quick: false));
        Assert.Equal(VerifiedState.Unknown, State("rows", quick: false));
    }

    [Fact]
    public void Rows_that_would_be_drawn_otherwise_are_told_where_all_files_are_as_they_were()
    {
        _runs.Train("sft", "run");
        var order = Json()["lineage"]!["rows"]!["order"]!.ToString();
        Amend(run => run["lineage"]!["rows"]!["order"] = new string('0', 64));
        var part = Assert.Single(RunVerification.Of(_runs["run"]).Parts, part => part.What == "rows");
        Assert.Equal((VerifiedState.Changed, "the steps draw them in another order"), (part.State, part.Detail));
        Assert.DoesNotContain(RunVerification.Of(_runs["run"], rows: false).Parts, part => part.What == "rows");
        Assert.Equal(64, order.Length);
    }

    [Fact]
    public void What_nobody_wrote_down_is_unknown_and_not_changed()
    {
        _runs.Train("sft", "run");
        Amend(run => run["lineage"]!.AsObject().Remove("weights"));
        Assert.Equal((VerifiedState.Unknown, true), (State("weights"), RunVerification.Of(_runs["run"]).IsWhole));
        Amend(run => run["finished"]!.AsObject().Remove("files"));
        Assert.Equal(VerifiedState.Unknown, State("output"));
        Amend(run => run.Remove("finished"));
        Assert.Equal("the run is not at its end", RunVerification.Of(_runs["run"]).Parts.Single(part => part.What == "output").Detail);
    }

    [Fact]
    public void Another_program_is_told_and_decides_nothing()
    {
        _runs.Train("sft", "run");
        Amend(run => run["versions"]!["build"] = "0123456789abcdef");
        Amend(run => run["engine"]!["threads"] = 96);
        var found = RunVerification.Of(_runs["run"]);
        Assert.True(found.IsWhole);
        Assert.Contains("build 0123456789abcdef then, ", found.Parts.Single(part => part.What == "program").Detail);
        Assert.StartsWith("threads 96 then, ", found.Parts.Single(part => part.What == "machine").Detail);
    }

    [Fact]
    public void Threads_are_not_compared_where_no_bit_depends_on_them_or_a_launcher_chose_them()
    {
        _runs.Train("sft", "run");
        Amend(run => run["engine"]!["threads"] = 96);
        Assert.Equal(VerifiedState.Other, State("machine"));
        Amend(run => run["starts"]![0]!["processes"] = 2);
        Assert.Equal(VerifiedState.Same, State("machine"));
        Amend(run => run["starts"]![0]!["processes"] = 1);
        Amend(run => run["engine"]!["deterministic"] = true);
        Assert.Equal(VerifiedState.Same, State("machine"));
    }

    [Fact]
    public void A_damaged_file_of_the_run_is_an_error_that_names_the_entry()
    {
        _runs.Train("sft", "run");
        var (file, whole) = (_runs["run", RunInfo.FileName], File.ReadAllText(_runs["run", RunInfo.FileName]));
        Damaged(whole[..(whole.Length / 2)], "is not JSON, or the file was cut there");
        Damaged("runs end", "line 1 is not JSON");
        Damaged("", "it is empty");
        Damaged("\n", "it is empty");
        Damaged("[]", "it is a list, not an object");
        Damaged("{}", "starts is missing");
        Entry(run => run["method"] = 3, "method is a number, not a text");
        Entry(run => run.Remove("method"), "method is missing");
        Entry(run => run["starts"] = "one", "starts is a text, not a list");
        Entry(run => run["starts"]![0]!["processes"] = "two", "starts[0].processes is a text, not a number");
        Entry(run => run["versions"] = null, "versions is missing");
        Entry(run => run["data_hashes"] = 3, "data_hashes is a number, not an object");
        Entry(run => run["lineage"] = "none", "lineage is a text, not an object");
        Entry(run => run["lineage"]!["data"] = "none", "lineage.data is not of its kind");
        Entry(run => run["lineage"]!["data"]![0]!["files"]![0]!["size"] = "large", "lineage.data[0].files[0].size is not of its kind");
        Entry(run => run["lineage"]!["data"]![0]!.AsObject().Remove("files"), "lineage.data[0] lacks its name, or path and sha256 of a file");
        Entry(run => run["lineage"]!["rows"]!.AsObject().Remove("order"), "lineage.rows, is missing");
        Entry(run => run["finished"]!["step"] = 1.5, "finished.step is 1.5, not a whole number");
        Entry(run => run["finished"]!["files"]![0]!.AsObject().Remove("sha256"), "finished.files[0].sha256 is missing");
        Entry(run => run.Remove("lineage"), "has no lineage");
        File.Delete(file);
        Assert.Contains("it has no run.json", Assert.Throws<InputException>(() => RunVerification.Of(_runs["run"])).What);

        void Damaged(string text, string problem)
        {
            File.WriteAllText(file, text);
            var refused = Assert.Throws<InputException>(() => RunVerification.Of(_runs["run"]));
            Assert.StartsWith(file, refused.What);
            Assert.Contains(problem, refused.What);
            Assert.NotNull(refused.Fix);
            Assert.Equal(refused.What, Assert.Throws<InputException>(() => RunReproduction.Run(_runs["run"])).What);
        }

        void Entry(Action<JsonObject> change, string problem)
        {
            var run = JsonNode.Parse(whole)!.AsObject();
            change(run);
            Damaged(run.ToJsonString(), problem);
        }
    }

    [Fact]
    public void A_stopped_run_goes_on_with_the_hashes_of_the_weights_it_began_from()
    {
        using var stop = new CancellationTokenSource();
        var recipe = _runs.Recipe("sft", "run", "use_peft: false");
        Assert.Equal(RunEnd.Interrupted, TrainingRun.Run(recipe, new StopAtOnce(stop), cancel: stop.Token).End);
        // The start before may have ended before they were known; a later start writes them.
        Assert.Equal(RunEnd.Finished, TrainingRun.Run(recipe, cancel: TestContext.Current.CancellationToken).End);
        var run = Json();
        Assert.Equal(2, run["starts"]!.AsArray().Count);
        Assert.Equal(CheckpointManifest.Hash(_runs["model", "model.safetensors"]), run["model_hash"]!.ToString());
        Assert.True(RunVerification.Of(_runs["run"]).IsWhole);
        Assert.Equal("model_name_or_path", run["lineage"]!["weights"]![0]!["key"]!.ToString());
    }

    [Fact]
    public void What_is_no_run_is_refused()
    {
        Assert.Contains("holds no run of the handbook", Assert.Throws<InputException>(() => RunVerification.Of(_runs["model"])).What);
        Assert.Contains("there is no such folder", Assert.Throws<InputException>(() => RunVerification.Of(_runs["none"])).What);
    }

    public void Dispose() => _runs.Dispose();

    /// <summary>Changes one file, looks, and puts it back.</summary>
    private void Change(string path, Action<string> change, string what, VerifiedState state, string detail)
    {
        var file = _runs[path.Split('/')];
        var (bytes, time) = (File.ReadAllBytes(file), File.GetLastWriteTimeUtc(file));
        change(file);
        var found = RunVerification.Of(_runs["run"]);
        Assert.False(found.IsWhole, path);
        Assert.Contains(found.Parts, part => part.What == what && part.State == state && part.Detail.Contains(detail, StringComparison.Ordinal));
        File.WriteAllBytes(file, bytes);
        File.SetLastWriteTimeUtc(file, time);
    }

    private VerifiedState State(string what, bool quick = false) => RunVerification.Of(_runs["run"], quick).Parts.First(part => part.What == what).State;

    private JsonObject Json() => JsonNode.Parse(File.ReadAllText(_runs["run", RunInfo.FileName]))!.AsObject();

    private void Amend(Action<JsonObject> change)
    {
        var run = Json();
        change(run);
        File.WriteAllText(_runs["run", RunInfo.FileName], run.ToJsonString());
    }

    private sealed class StopAtOnce(CancellationTokenSource stop) : IRunObserver
    {
        public void Stepped(StepReport report) => stop.Cancel();
    }
}
