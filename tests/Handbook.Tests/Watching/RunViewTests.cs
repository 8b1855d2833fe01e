using Handbook.Base;
using Handbook.Testing;
using Handbook.Training;
using Handbook.Watching;

namespace Handbook.Tests.Watching;

/// <summary>A run as its folder shows it.</summary>
public sealed class RunViewTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_folder_tells_where_its_run_is()
    {
        Make("a", """{"method": "dpo", "starts": [{"at": "2026-01-01T00:00:00Z", "from_step": 10}]}""", Lines(12, 14, 16),
            """{"model_name_or_path": "base", "max_steps": -1, "num_train_epochs": 3}""");
        File.SetLastWriteTimeUtc(_folder["a/metrics.jsonl"], new DateTime(2026, 1, 1, 0, 0, 12, DateTimeKind.Utc));
        var view = RunView.Read(_folder["a"]);
        Assert.Equal(("dpo", "base", RunStanding.Stopped, 16, 60), (view.Method, view.Model, view.Standing, view.Step, view.Steps));
        Assert.Equal(0.5, view.StepsPerSecond);     // six steps since the start in twelve seconds
        Assert.Null(view.Left);                     // nobody trains
        Assert.Equal([(12, 1.2), (14, 1.4), (16, 1.6)], view.Series("loss"));
        Assert.Equal([(16, 0.5)], view.Series("eval_loss"));
        Assert.Equal(["loss", "num_tokens", "eval_loss"], view.Names());
    }

    [Fact]
    public void A_run_is_training_while_its_process_lives_and_only_then()
    {
        const string args = """{"max_steps": 40}""";
        Make("a", """{"method": "sft", "starts": [{"at": "2026-01-01T00:00:00Z", "from_step": 0}]}""", Lines(10), args);
        using (var taken = RunLock.Take(_folder["a"], "sft recipe.yaml"))
        {
            File.SetLastWriteTimeUtc(_folder["a/metrics.jsonl"], new DateTime(2026, 1, 1, 0, 0, 5, DateTimeKind.Utc));
            var first = RunView.Read(_folder["a"]);
            Assert.Equal(RunStanding.Training, first.Standing);
            Assert.Contains("handbook sft recipe.yaml", first.Holder, StringComparison.Ordinal);
            Assert.Equal(TimeSpan.FromSeconds(15), first.Left);
            // A second look knows the speed between the two.
            File.WriteAllText(_folder["a/metrics.jsonl"], Lines(10, 20));
            File.SetLastWriteTimeUtc(_folder["a/metrics.jsonl"], new DateTime(2026, 1, 1, 0, 0, 6, DateTimeKind.Utc));
            var second = RunView.Read(_folder["a"]).Since(first);
            Assert.Equal((10, 1000), (second.StepsPerSecond, second.TokensPerSecond));
            Assert.Equal(TimeSpan.FromSeconds(2), second.Left);
            Assert.Equal(10, RunView.Read(_folder["a"]).Since(second).StepsPerSecond);      // nothing new
        }
        Assert.Equal(RunStanding.Stopped, RunView.Read(_folder["a"]).Standing);
        // The mark of a process that is no more, as a sudden end leaves it.
        File.WriteAllText(_folder["a/run.lock"], $"{int.MaxValue} on {Environment.MachineName}: handbook sft recipe.yaml\nx\n");
        Assert.Equal(RunStanding.Stopped, RunView.Read(_folder["a"]).Standing);
        File.WriteAllText(_folder["a/run.lock"], "7 on another-machine: handbook sft recipe.yaml\nx\n");
        Assert.Equal(RunStanding.Training, RunView.Read(_folder["a"]).Standing);
        File.Delete(_folder["a/run.lock"]);
        Make("a", """{"method": "sft", "starts": [{"at": "2026-01-01T00:00:00Z", "from_step": 0}], "finished": {"at": "2026-01-01T00:01:00Z", "step": 30}}""",
            Lines(10, 30), args);
        var ended = RunView.Read(_folder["a"]);
        Assert.Equal((RunStanding.Finished, 30, 0.5), (ended.Standing, ended.Steps, ended.StepsPerSecond));
    }

    [Fact]
    public void A_folder_of_runs_means_all_of_them()
    {
        const string info = """{"method": "sft", "starts": []}""";
        Make("runs/b", info, "", "{}");
        Make("runs/sweep/c", info, "", "{}");
        Make("runs/a", info, "", "{}");
        Directory.CreateDirectory(_folder["empty"]);
        Assert.Equal([_folder["runs/a"], _folder["runs/b"], _folder["runs/sweep/c"]], RunView.Find(_folder["runs"]));
        Assert.Equal([_folder["runs/a"]], RunView.Find(_folder["runs/a"]));
        Assert.Contains("there is none in it", Assert.Throws<InputException>(() => RunView.Find(_folder["empty"])).Message, StringComparison.Ordinal);
        Assert.Contains("is no folder", Assert.Throws<InputException>(() => RunView.Find(_folder["nowhere"])).Message, StringComparison.Ordinal);
        var view = RunView.Read(_folder["runs/a"]);
        Assert.Equal((0, null, null), (view.Step, view.Steps, view.StepsPerSecond));
        File.WriteAllText(_folder["runs/a/run.json"], "{");
        Assert.Contains("run.json is broken", Assert.Throws<InputException>(() => RunView.Read(_folder["runs/a"])).Message, StringComparison.Ordinal);
    }

    private void Make(string name, string info, string metrics, string args)
    {
        Directory.CreateDirectory(_folder[name]);
        File.WriteAllText(_folder[$"{name}/run.json"], info);
        File.WriteAllText(_folder[$"{name}/metrics.jsonl"], metrics);
        File.WriteAllText(_folder[$"{name}/training_args.json"], args);
    }

    // Twenty steps are an epoch, a hundred tokens a step; the last line has an evaluation.
    private static string Lines(params int[] steps) => string.Concat(steps.Select((step, i) =>
        FormattableString.Invariant($$"""{"step": {{step}}, "epoch": {{step / 20.0}}, "loss": {{step / 10.0}}, "num_tokens": {{step * 100}}""")
        + (i == steps.Length - 1 ? ", \"eval_loss\": 0.5}\n" : "}\n")));
}
