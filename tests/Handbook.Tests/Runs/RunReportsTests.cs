using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Runs;
using Handbook.Training;
using Handbook.Training.Metrics;
using Handbook.Training.Progress;
using Handbook.Training.Reports;

namespace Handbook.Tests.Runs;

/// <summary>What a run keeps for Weights &amp; Biases and for MLflow, read back with readers of ours.</summary>
[Collection("tensors")]
public sealed class RunReportsTests : IDisposable
{
    private static readonly string[] s_variables = ["WANDB_DIR", "WANDB_MODE", "WANDB_PROJECT", "WANDB_NAME", "WANDB_TAGS",
        "WANDB_RUN_GROUP", "WANDB_RUN_ID",
        "WANDB_ENTITY", "WANDB_NOTES", "WANDB_DISABLED", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "MLFLOW_TAGS"];

    private readonly AdapterRuns _runs = new();

    public RunReportsTests()
    {
        Set("WANDB_DIR", _runs["reports"]);
        Set("MLFLOW_TRACKING_URI", "file://" + _runs["mlruns"]);
    }

    [Fact]
    public void A_wandb_run_holds_what_metrics_jsonl_holds()
    {
        Set("WANDB_PROJECT", "from the environment");
        Set("WANDB_TAGS", "one, two");
        Set("WANDB_NOTES", "notes");
        var logged = _runs.Train("dpo", "run", "report_to: wandb", "wandb_project: mine", "wandb_run_group: group", "run_name: a name",
            "logging_steps: 2");

        var folder = Assert.Single(Directory.GetDirectories(_runs["reports", "wandb"]));
        var id = Path.GetFileName(folder)[^8..];
        Assert.Matches(@"^offline-run-\d{8}_\d{6}-[a-z0-9]{8}$", Path.GetFileName(folder));
        var records = Records(folder);
        Assert.Equal([21, 17, 12, 12, 6], records.Take(5).Select(record => record.Kind));
        Assert.Equal([3, 18, 20], records.TakeLast(3).Select(record => record.Kind));
        Assert.Equal(Enumerable.Range(0, records.Count).Select(i => (ulong)i), records.Select(record => record.Number));

        var run = records[1].Fields;
        Assert.Equal((id, "mine", "group", "a name", "notes"), (Text(run, 1), Text(run, 3), Text(run, 6), Text(run, 8), Text(run, 9)));
        Assert.Equal(["one", "two"], run.Where(field => field.Field == 10).Select(field => Encoding.UTF8.GetString(field.Bytes)));
        var config = Values(ProtoFields.Of(run.Single(field => field.Field == 4).Bytes));
        Assert.Equal(("\"dpo\"", "0.01", "4"), (config["method"], config["learning_rate"], config["max_steps"]));
        Assert.DoesNotContain("hub_token", config.Keys);

        var history = records.Where(record => record.Kind == 2).Select(record => Values(record.Fields)).ToArray();
        Assert.Equal(logged.Count + 1, history.Length);        // the closing entry
        Assert.Equal(["train/epoch", "train/global_step"], history[^1].Keys.Where(name => name[0] != '_'));
        foreach (var (entry, row) in logged.Zip(history))
        {
            Assert.Equal(PythonJson.Number(entry.Number("loss")!.Value), row["train/loss"]);
            Assert.Equal(entry["step"].ToString(), row["train/global_step"]);
            Assert.Equal(PythonJson.Number(entry.Number("rewards/margins")!.Value), row["train/rewards/margins"]);
        }
        Assert.Equal(["0", "1", "2"], history.Select(row => row["_step"]));
        var summary = Values(records[^3].Fields);
        Assert.Equal(PythonJson.Number(logged[^1].Number("loss")!.Value), summary["train/loss"]);
        Assert.True(double.Parse(summary["train_loss"], CultureInfo.InvariantCulture) > 0);
        Assert.DoesNotContain(records[^2].Fields, field => field.Field == 1 && field.Number != 0);      // exit code
        Assert.Equal(["config.yaml", "recipe.yaml", "wandb-metadata.json", "wandb-summary.json"],
            Directory.GetFiles(Path.Combine(folder, "files")).Select(Path.GetFileName).Order());
        Assert.Equal(File.ReadAllText(_runs["run", "recipe.yaml"]), File.ReadAllText(Path.Combine(folder, "files", "recipe.yaml")));
    }

    [Fact]
    public void A_run_that_was_stopped_goes_on_in_its_reports_as_if_it_had_not_been()
    {
        string[] keys = ["report_to: [wandb,mlflow]", "use_peft: false", "save_strategy: steps", "save_steps: 2", "eval_strategy: steps",
            "eval_steps: 2"];
        File.WriteAllText(_runs["pairs", "test.jsonl"], File.ReadAllText(_runs["pairs", "train.jsonl"]).Replace("say", "tell"));
        _runs.Train("dpo", "whole", keys);
        // Stopped after step 3, and then set back to checkpoint-2: step 3 is logged twice.
        using var stop = new CancellationTokenSource();
        Assert.Equal(RunEnd.Interrupted, TrainingRun.Run(_runs.Recipe("dpo", "cut", keys), new StopAfter(3, stop), cancel: stop.Token).End);
        Directory.Delete(_runs["cut", "checkpoint-3"], recursive: true);
        _runs.Train("dpo", "cut", keys);

        var (whole, cut) = (Reports("whole"), Reports("cut"));
        Assert.Equal(2, Directory.GetDirectories(_runs["reports", "wandb"]).Length);
        string[][] Numbers(string folder) => [.. Records(folder).Where(record => record.Kind == 2).Select(record => Values(record.Fields)
            .Where(value => !CurveComparison.IsClock(value.Key) && value.Key is not ("_timestamp" or "_runtime" or "eval/runtime"))
            .Select(value => $"{value.Key} {value.Value}").ToArray())];
        Assert.Equal(Numbers(whole.Wandb), Numbers(cut.Wandb));
        Assert.Equal(7, Numbers(cut.Wandb).Length);
        Assert.Single(Records(cut.Wandb), record => record.Kind == 18);
        foreach (var metric in (string[])["loss", "eval_loss", "rewards/margins", "learning_rate"])
            Assert.Equal(Lines(whole.Mlflow, metric), Lines(cut.Mlflow, metric));
        Assert.Equal(4, Lines(cut.Mlflow, "loss").Length);
        Assert.Contains("status: 3", File.ReadAllLines(Path.Combine(cut.Mlflow, "meta.yaml")));
    }

    [Fact]
    public void A_run_that_goes_on_after_it_was_uploaded_begins_another_file_of_its_id()
    {
        string[] keys = ["report_to: wandb", "save_strategy: steps", "save_steps: 2"];
        _runs.Train("sft", "run", [.. keys, "lr_scheduler_type: constant"]);
        var first = Reports("run").Wandb;
        var id = Path.GetFileName(first)[^8..];
        File.WriteAllText(Path.Combine(first, $"run-{id}.wandb.synced"), "");
        Directory.Move(first, first = first.Replace("offline-run-2", "offline-run-1"));        // as if begun at another second
        var run = JsonNode.Parse(File.ReadAllText(_runs["run", RunInfo.FileName]))!;
        run["reports"]!["wandb"]!["folder"] = first;
        File.WriteAllText(_runs["run", RunInfo.FileName], run.ToJsonString());
        var said = new Listener();
        Assert.Equal(RunEnd.Finished, TrainingRun.Run(_runs.Recipe("sft", "run", [.. keys, "max_steps: 6"]), said).End);

        var second = Reports("run").Wandb;
        Assert.NotEqual(first, second);
        Assert.EndsWith(id, second);
        Assert.Contains(said.Said, line => line.Contains("wandb sync --append ", StringComparison.Ordinal));
        Assert.Equal([0, 1, 2, 3, 4], Steps(first));
        Assert.Equal([5, 6, 7], Steps(second));
        Assert.Equal(5UL, Records(second)[1].Fields.Single(field => field.Field == 14).Number);       // starting_step

        static int[] Steps(string folder) => [.. Records(folder).Where(record => record.Kind == 2).Select(record =>
            int.Parse(Values(record.Fields)["_step"]))];
    }

    [Fact]
    public void An_mlflow_run_holds_metrics_parameters_and_tags()
    {
        Set("MLFLOW_EXPERIMENT_NAME", "mine");
        Set("MLFLOW_TAGS", """{"team": "alignment", "n": 3}""");
        var logged = _runs.Train("sft", "run", "report_to: mlflow", "run_name: a name");
        var folder = Reports("run").Mlflow;
        Assert.Equal(logged.Select(entry => $"{PythonJson.Number(entry.Number("loss")!.Value)} {entry["step"]}"), Lines(folder, "loss"));
        string Read(string kind, string name) => File.ReadAllText(Path.Combine(folder, kind, name));
        Assert.Equal(("0.01", "sft", "a name", "alignment", "3"), (Read("params", "learning_rate"), Read("params", "method"),
            Read("tags", "mlflow.runName"), Read("tags", "team"), Read("tags", "n")));
        Assert.Equal("name: mine", File.ReadAllLines(Path.Combine(folder, "..", "meta.yaml"))[^1]);
        Assert.Equal(File.ReadAllText(_runs["run", "recipe.yaml"]), Read("artifacts", "recipe.yaml"));
        Assert.True(File.Exists(Path.Combine(folder, "metrics", "train_runtime")));
    }

    [Fact]
    public void The_end_of_a_run_is_in_every_report_also_where_no_step_was_logged()
    {
        var entry = Assert.Single(_runs.Train("sft", "run", "report_to: all", "logging_steps: 100", "do_eval: true"));
        var results = JsonNode.Parse(File.ReadAllText(_runs["run", "train_results.json"]))!.AsObject();
        string[] closing = ["epoch", "total_flos", "train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second"];
        Assert.Superset(closing.Append("eval_loss").ToHashSet(), entry.Select(pair => pair.Key).ToHashSet());
        Assert.All(closing, name => Assert.Equal(results[name]!.ToJsonString(), entry[name].ToString()));

        var history = JsonNode.Parse(File.ReadAllText(_runs["run", "trainer_state.json"]))!["log_history"]!.AsArray();
        Assert.Equal([.. closing.Order(StringComparer.Ordinal).Append("step").Order(StringComparer.Ordinal)],
            history[^1]!.AsObject().Select(pair => pair.Key));
        Assert.Equal(4, history[^1]!["step"]!.GetValue<int>());
        Assert.NotNull(history[^2]!["eval_loss"]);

        var loss = results["train_loss"]!.ToJsonString();
        var (wandb, mlflow) = Reports("run");
        Assert.Equal(loss, Values(Records(wandb)[^3].Fields)["train_loss"]);
        Assert.Equal([$"{loss} 4"], Lines(mlflow, "train_loss"));
        Assert.Single(Lines(mlflow, "eval_loss"));
        var events = Directory.GetFiles(_runs["run", "runs"], "events*", SearchOption.AllDirectories).Single();
        var bytes = Encoding.Latin1.GetString(File.ReadAllBytes(events));
        Assert.All(closing.Select(name => $"train/{name}").Append("eval/loss"), tag => Assert.Contains(tag, bytes));
        var table = File.ReadAllLines(_runs["run", "metrics.csv"]);
        Assert.Equal(2, table.Length);
        Assert.Equal(loss, table[1].Split(',')[table[0].Split(',').IndexOf("train_loss")]);
    }

    [Fact]
    public void A_run_that_is_made_longer_has_one_end()
    {
        string[] keys = ["report_to: csv", "use_peft: false", "save_strategy: steps", "save_steps: 4"];
        _runs.Train("sft", "whole", [.. keys, "max_steps: 6"]);
        _runs.Train("sft", "longer", keys);
        _runs.Train("sft", "longer", [.. keys, "max_steps: 6"]);
        Assert.Equal(_runs.Curve("whole"), _runs.Curve("longer"));
        Assert.Equal(6, MetricsFile.ReadAll(_runs["longer"]).Count);
        Assert.Equal(CsvReport.Text(MetricsFile.ReadAll(_runs["longer"])), File.ReadAllText(_runs["longer", "metrics.csv"]));
        var history = JsonNode.Parse(File.ReadAllText(_runs["longer", "trainer_state.json"]))!["log_history"]!.AsArray();
        Assert.Equal(6, Assert.Single(history, entry => entry!["train_loss"] is not null)!["step"]!.GetValue<int>());
    }

    [Theory]
    [InlineData("report_to: wandb", "WANDB_MODE", "sometimes", "WANDB_MODE is sometimes, not one of online, offline, disabled")]
    [InlineData("report_to: wandb", "WANDB_RUN_ID", "a/b", "WANDB_RUN_ID is a/b, but an id has letters")]
    [InlineData("report_to: mlflow", "MLFLOW_TRACKING_URI", "http://host:5000", "MLFLOW_TRACKING_URI names http:")]
    [InlineData("report_to: mlflow", "MLFLOW_RUN_ID", "0123", "has no such run")]
    [InlineData("report_to: mlflow", "MLFLOW_TAGS", "[", "MLFLOW_TAGS is not a JSON object")]
    [InlineData("report_to: all", "WANDB_DIR", "/proc/none", "WANDB_DIR /proc/none/wandb cannot be made")]
    public void A_variable_that_makes_no_sense_is_refused_before_anything_is_written(string key, string variable, string value,
        string message)
    {
        Set(variable, value);
        var refused = Assert.Throws<InputException>(() => TrainingRun.Run(_runs.Recipe("sft", "run", key)));
        Assert.Contains(message, refused.What);
        Assert.NotNull(refused.Fix);
        Assert.False(Directory.Exists(_runs["run"]));
        Assert.Contains(RecipeProbe.Of(_runs.Recipe("sft", "run", key)).Problems, problem => problem.Key == "report_to");
    }

    [Fact]
    public void A_run_that_fails_says_so_and_one_that_is_turned_off_writes_nothing()
    {
        Assert.Throws<InvalidOperationException>(() => TrainingRun.Run(_runs.Recipe("sft", "run", "report_to: [wandb,mlflow]"),
            new Failing()));
        var reports = Reports("run");
        Assert.Equal(1UL, Records(reports.Wandb)[^2].Fields.First(field => field.Field == 1).Number);
        Assert.Contains("status: 4", File.ReadAllLines(Path.Combine(reports.Mlflow, "meta.yaml")));
        Set("WANDB_MODE", "disabled");
        Directory.Delete(_runs["reports"], recursive: true);
        _runs.Train("sft", "off", "report_to: wandb");
        Assert.False(Directory.Exists(_runs["reports"]));
    }

    public void Dispose()
    {
        foreach (var name in s_variables)
            Environment.SetEnvironmentVariable(name, null);
        _runs.Dispose();
    }

    private static void Set(string name, string value)
    {
        Assert.Contains(name, s_variables);
        Environment.SetEnvironmentVariable(name, value);
    }

    private (string Wandb, string Mlflow) Reports(string run)
    {
        var reports = JsonNode.Parse(File.ReadAllText(_runs[run, RunInfo.FileName]))!["reports"]!;
        string Folder(string name) => reports[name] is { } report ? Path.GetFullPath(report["folder"]!.ToString(), _runs[run]) : "";
        return (Folder("wandb"), Folder("mlflow"));
    }

    private static string[] Lines(string folder, string metric) => [.. File.ReadAllLines(Path.Combine(folder, "metrics", metric))
        .Select(line => line[(line.IndexOf(' ') + 1)..])];

    private static List<(ulong Number, int Kind, List<(int Field, ulong Number, byte[] Bytes)> Fields)> Records(string folder)
    {
        var all = new List<(ulong, int, List<(int, ulong, byte[])>)>();
        foreach (var record in WandbFile.Read(Directory.GetFiles(folder, "*.wandb").Single()))
        {
            var fields = ProtoFields.Of(record);
            all.Add((fields[0].Number, fields[1].Field, ProtoFields.Of(fields[1].Bytes)));
        }
        return all;
    }

    private static Dictionary<string, string> Values(List<(int Field, ulong Number, byte[] Bytes)> message) =>
        message.Where(field => field.Field == 1).Select(field => ProtoFields.Of(field.Bytes)).ToDictionary(item => Text(item, 1), item =>
            Text(item, 16));

    private static string Text(List<(int Field, ulong Number, byte[] Bytes)> message, int field) =>
        Encoding.UTF8.GetString(message.First(each => each.Field == field).Bytes);

    private sealed class StopAfter(int last, CancellationTokenSource stop) : IRunObserver
    {
        public void Stepped(StepReport report)
        {
            if (report.Step == last)
                stop.Cancel();
        }
    }

    private sealed class Failing : IRunObserver
    {
        public void Stepped(StepReport report)
        {
            if (report.Step == 2)
                throw new InvalidOperationException("meant");
        }
    }

    private sealed class Listener : IRunObserver
    {
        public List<string> Said { get; } = [];

        void IWorkObserver.Said(string text) => Said.Add(text);
    }
}
