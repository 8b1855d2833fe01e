using System.Text.Json;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Checkpoints;
using Handbook.Training.Metrics;
using Handbook.Training.Tests.Events;

namespace Handbook.Training.Tests;

public sealed class RunFolderTests : IDisposable
{
    private readonly TemporaryFolder _run = new();

    public void Dispose() => _run.Dispose();

    [Fact] // a paged optimiser's masters need the folder before the run is known to begin
    public void A_folder_that_was_made_for_its_lock_alone_goes_with_it()
    {
        using (var taken = RunLock.Take(_run["out"]))
        {
            Assert.False(Directory.Exists(_run["out"]));
            taken.Hold();
            Assert.Throws<InputException>(() => RunLock.Take(_run["out"]));
        }
        Assert.False(Directory.Exists(_run["out"]));
        using (var taken = RunLock.Take(_run["out"]))
        {
            taken.Hold();
            File.WriteAllText(_run["out", "run.json"], "{}");
        }
        Assert.Equal([_run["out", "run.json"]], Directory.GetFileSystemEntries(_run["out"]));
    }

    [Fact]
    public void A_logged_step_reaches_metrics_history_events_and_plot()
    {
        using (var folder = RunFolder.Open(_run["out"]))
        {
            folder.Logged(1, 0.5, new MetricSet { ["loss"] = 2.123456789, ["grad_norm"] = 0.25, ["learning_rate"] = 5e-05 });
            folder.Evaluated(1, 0.5, new MetricSet { ["eval_loss"] = 2.5, ["eval_runtime"] = 1.25 });
            folder.State.GlobalStep = 1;
            folder.SaveState();
        }

        Assert.Equal("{\"step\": 1, \"epoch\": 0.5, \"loss\": 2.123456789, \"grad_norm\": 0.25, \"learning_rate\": 5e-05, \"eval_loss\": "
            + "2.5, \"eval_runtime\": 1.25}\n",
            File.ReadAllText(_run["out", "metrics.jsonl"]));
        var history = TrainerState.Load(_run["out", "trainer_state.json"]).LogHistory;
        Assert.Equal(2, history.Count);
        Assert.Equal(2.1235, history[0]["loss"].Value);     // four decimals, as the Python trainer keeps
        Assert.Equal(["epoch", "grad_norm", "learning_rate", "loss", "step"], history[0].Select(pair => pair.Key));
        var events = Assert.Single(Directory.GetFiles(_run["out", "runs"], "events.out.tfevents.*", SearchOption.AllDirectories));
        Assert.Equal(["train/epoch", "train/loss", "train/grad_norm", "train/learning_rate", "eval/epoch", "eval/loss", "eval/runtime"],
            EventReader.Scalars(events).Select(scalar => scalar.Tag));
        Assert.True(File.Exists(_run["out", "loss.svg"]));
        Assert.True(File.Exists(_run["out", "loss.png"]));
    }

    [Fact]
    public void A_resumed_run_ends_with_the_files_of_an_uninterrupted_one()
    {
        static void Steps(RunFolder folder, int from, int to)
        {
            for (var step = from; step <= to; step++)
            {
                folder.Logged(step, step / 4.0, new MetricSet { ["loss"] = 3.0 / step });
                folder.State.GlobalStep = step;
                if (step == 4)
                    CheckpointFolder.Save(folder.Path, step, 0, writer => writer.WriteText(TrainerState.FileName, folder.State.ToJson()));
            }
            folder.SaveState();
        }
        using (var whole = RunFolder.Open(_run["whole"], tensorBoard: false))
            Steps(whole, 1, 8);

        using (var first = RunFolder.Open(_run["cut"], tensorBoard: false))
            Steps(first, 1, 6);
        using (var second = RunFolder.Open(_run["cut"], CheckpointFolder.FindLatest(_run["cut"]), tensorBoard: false))
        {
            Assert.Equal(4, second.State.GlobalStep);
            Steps(second, 5, 8);
        }

        foreach (var name in new[] { "metrics.jsonl", "trainer_state.json" })
            Assert.Equal(File.ReadAllText(_run["whole", name]), File.ReadAllText(_run["cut", name]));
        Assert.False(Directory.Exists(_run["cut", "runs"]));
    }

    [Fact]
    public void Results_of_both_splits_are_united_and_earlier_keys_survive()
    {
        Directory.CreateDirectory(_run["out"]);
        File.WriteAllText(_run["out", "all_results.json"], """{"train_loss": 9.5, "mine": [1, "x"]}""");
        using (var folder = RunFolder.Open(_run["out"]))
        {
            folder.SaveResults("train", new MetricSet { ["train_loss"] = 1.5, ["train_samples"] = 250, ["epoch"] = 1.0 });
            folder.SaveResults("eval", new MetricSet { ["eval_loss"] = 1.25 });
        }
        Assert.Equal("{\n    \"epoch\": 1.0,\n    \"train_loss\": 1.5,\n    \"train_samples\": 250\n}",
            File.ReadAllText(_run["out", "train_results.json"]));
        Assert.Equal("{\n    \"eval_loss\": 1.25\n}", File.ReadAllText(_run["out", "eval_results.json"]));
        Assert.Equal(
            "{\n    \"epoch\": 1.0,\n    \"eval_loss\": 1.25,\n    \"mine\": [\n        1,\n        \"x\"\n    ],\n    \"train_loss\": "
                + "1.5,\n    \"train_samples\": 250\n}",
            File.ReadAllText(_run["out", "all_results.json"]));
    }

    [Fact]
    public void The_run_describes_itself_and_its_starts()
    {
        var info = new RunInfo
        {
            Method = "sft",
            Seed = 17,
            DataHashes = new Dictionary<string, string> { ["a.jsonl"] = "00ff" }
        };
        using (var folder = RunFolder.Open(_run["out"]))
        {
            folder.WriteRunInfo(info);
            CheckpointFolder.Save(folder.Path, 3, 0, writer => writer.WriteText(TrainerState.FileName, folder.State.ToJson()));
        }
        using (var folder = RunFolder.Open(_run["out"], CheckpointFolder.FindLatest(_run["out"])))
            folder.WriteRunInfo(info);

        using var document = JsonDocument.Parse(File.ReadAllText(_run["out", "run.json"]));
        var root = document.RootElement;
        Assert.Equal([0, 3], root.GetProperty("starts").EnumerateArray().Select(start => start.GetProperty("from_step").GetInt32()));
        Assert.Equal(17, root.GetProperty("seed").GetInt64());
        Assert.Equal(TorchRuntime.Version, root.GetProperty("versions").GetProperty("libtorch").GetString());
        Assert.NotEqual("", root.GetProperty("hardware").GetProperty("cpu").GetString());
    }

    [Fact]
    public void Training_arguments_are_readable()
    {
        using (var folder = RunFolder.Open(_run["out"]))
        {
            folder.WriteTrainingArgs(new Dictionary<string, object?>
            {
                ["seed"] = 1,
                ["learning_rate"] = 2e-5,
                ["hub_model_id"] = null,
                ["tags"] = new[] { "a" }
            });
            folder.WriteRecipe("seed: 1\n");
        }
        Assert.Equal("{\n  \"hub_model_id\": null,\n  \"learning_rate\": 2e-05,\n  \"seed\": 1,\n  \"tags\": [\n    \"a\"\n  ]\n}\n",
            File.ReadAllText(_run["out", "training_args.json"]));
        Assert.Equal("seed: 1\n", File.ReadAllText(_run["out", "recipe.yaml"]));
    }

    [Fact]
    public void A_file_in_the_place_of_output_dir_is_explained()
    {
        File.WriteAllText(_run["out"], "");
        var problem = Assert.Throws<InputException>(() => RunFolder.Open(_run["out"]));
        Assert.Contains("is a file, not a folder", problem.What, StringComparison.Ordinal);
    }
}
