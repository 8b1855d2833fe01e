using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Runs;
using Handbook.Training.Checkpoints;
using Handbook.Training.Metrics;
using Handbook.Training.Progress;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Runs;

/// <summary>A run that is repeated gives its own bits, and what differs is found where it begins.</summary>
[Collection("tensors")]
public sealed class RunReproductionTests : IDisposable
{
    private readonly AdapterRuns _runs = new();

    [Theory, Trait("speed", "slow")]
    [InlineData("sft", "use_peft: false")]
    [InlineData("dpo", "lora_r: 3")]
    [InlineData("grpo", "beta: 0.1")]
    public void A_repetition_has_the_same_bits(string method, string key)
    {
        _runs.Train(method, "run", key);
        var result = RunReproduction.Run(_runs["run"]);
        Assert.Equal([], result.Doubts);
        Assert.Equal((4, true, true, 0.0), (result.LastStep, result.IsSame, result.Agrees, result.Tolerance));
        Assert.True(result.SameWeights);
        Assert.Equal("loss", result.Curves[0].Metric);
        Assert.All(result.Curves, curve => Assert.Equal(ClosingEntry.Has(curve.Metric) ? 1 : 4, curve.Steps));
        Assert.Equal(_runs["run"] + "-reproduced", result.OutputDir);
        Assert.Contains("<polyline", File.ReadAllText(Path.Combine(result.OutputDir, "reproduction.svg")));
        Assert.Contains("\"same_bits\": true", File.ReadAllText(Path.Combine(result.OutputDir, "reproduction.json")));
    }

    [Fact, Trait("speed", "slow")]
    public void The_first_steps_are_those_of_the_whole_run_and_the_rest_follows()
    {
        _runs.Train("sft", "run", "lr_scheduler_type: linear", "save_strategy: steps", "save_steps: 2");
        var two = RunReproduction.Run(_runs["run"], new() { Steps = 2, OutputDir = _runs["again"] });
        Assert.Equal((2, true, true), (two.LastStep, two.IsSame, two.SameWeights));
        Assert.Equal(2, MetricsFile.ReadAll(_runs["again"]).Count);
        // The same again finds it done; all steps go on from there.
        Assert.True(RunReproduction.Run(_runs["run"], new() { Steps = 2, OutputDir = _runs["again"] }).IsSame);
        var all = RunReproduction.Run(_runs["run"], new() { OutputDir = _runs["again"] });
        Assert.Equal((4, true, true), (all.LastStep, all.IsSame, all.SameWeights));
    }

    [Fact]
    public void The_first_and_the_largest_difference_are_found()
    {
        _runs.Train("sft", "run");
        var lines = File.ReadAllLines(_runs["run", "metrics.jsonl"]);
        var entries = MetricsFile.ReadAll(_runs["run"]);
        entries[1]["loss"] = Math.BitIncrement(entries[1].Number("loss")!.Value);
        entries[2]["loss"] = entries[2].Number("loss")!.Value * 1.001;
        File.WriteAllLines(_runs["run", "metrics.jsonl"], entries.Select(entry => PythonJson.Write(entry)));
        Assert.NotEqual(lines, File.ReadAllLines(_runs["run", "metrics.jsonl"]));

        var result = RunReproduction.Run(_runs["run"]);
        Assert.Equal((false, false), (result.IsSame, result.Agrees));
        Assert.Equal((2, 3), (result.Curves[0].FirstStep!.Value, result.Curves[0].LargestStep!.Value));
        Assert.All(result.Curves.Skip(1), curve => Assert.True(curve.IsSame));
        Assert.True(RunReproduction.Run(_runs["run"], new() { Tolerance = 0.01 }).Agrees);
        Assert.False(RunReproduction.Run(_runs["run"], new() { Tolerance = 1e-6 }).Agrees);
    }

    [Fact]
    public void A_run_whose_data_has_changed_is_refused_unless_it_is_meant()
    {
        _runs.Train("sft", "run");
        File.WriteAllText(_runs["texts", "train.jsonl"], File.ReadAllText(_runs["texts", "train.jsonl"]).Replace('a', 'o'));
        var refused = Assert.Throws<InputException>(() => RunReproduction.Run(_runs["run"]));
        Assert.Contains("what it read is not what it was", refused.What);
        Assert.Contains("train.jsonl has other content", refused.What);
        Assert.Contains("--anyway", refused.Fix);
        Assert.False(Directory.Exists(_runs["run"] + "-reproduced"));

        var result = RunReproduction.Run(_runs["run"], new() { Anyway = true });
        Assert.Equal((false, 1), (result.IsSame, result.Curves[0].FirstStep!.Value));
        Assert.Contains(result.Doubts, doubt => doubt.Contains("train.jsonl", StringComparison.Ordinal));
    }

    [Fact]
    public void A_run_of_several_processes_is_repeated_by_one_to_rounding()
    {
        var recipe = _runs.Recipe("sft", "run", "use_peft: false", "per_device_train_batch_size: 2");
        Assert.All(WorkerPair.Run(2, its => TrainingRun.Run(recipe, null, RunObservers.None, null, TestContext.Current.CancellationToken, its)),
            run => Assert.Equal(RunEnd.Finished, run.End));
        var result = RunReproduction.Run(_runs["run"]);
        Assert.Equal((1e-3, true), (result.Tolerance, result.Agrees));
        Assert.Contains(result.Doubts, doubt => doubt.StartsWith("it ran on 2 processes", StringComparison.Ordinal));
    }

    [Fact]
    public void A_run_that_logged_no_step_is_repeated_by_its_end_and_its_weights()
    {
        _runs.Train("sft", "run", "use_peft: false", "logging_steps: 100");
        var result = RunReproduction.Run(_runs["run"]);
        Assert.Equal((4, true, true, null), (result.LastStep, result.IsSame, result.SameWeights, result.Picture));
        Assert.Equal(["epoch", "total_flos", "train_loss"], result.Curves.Select(curve => curve.Metric).Order());
        Assert.False(File.Exists(Path.Combine(result.OutputDir, "reproduction.svg")));

        // Nothing of its first two steps is kept: there is nothing to compare.
        var refused = Assert.Throws<InputException>(() => RunReproduction.Run(_runs["run"], new() { Steps = 2, OutputDir = _runs["two"] }));
        Assert.Equal(($"--steps is 2, but {_runs["run"]} kept nothing of its first 2 steps", "repeat at least 4 steps: --steps 4"),
            (refused.What, refused.Fix));
        Assert.False(Directory.Exists(_runs["two"]));
    }

    [Fact]
    public void A_run_that_was_stopped_before_it_logged_is_repeated_by_its_weights_alone()
    {
        var recipe = _runs.Recipe("sft", "run", "use_peft: false", "logging_steps: 100");
        Assert.Equal(RunEnd.Interrupted, TrainingRun.Run(recipe, null, RunObservers.None, null, TestContext.Current.CancellationToken,
            lastStep: 2).End);
        var listener = new Listener();
        var result = RunReproduction.Run(_runs["run"], observer: listener);
        Assert.Equal((2, 0, true, true), (result.LastStep, result.Curves.Count, result.SameWeights, result.Agrees));
        Assert.Contains("stopped after step 2, as asked, with checkpoint-2 on disk", listener.Lines);
        Assert.DoesNotContain(listener.Lines, line => line.Contains("interrupted", StringComparison.Ordinal));

        var manifest = _runs["run", "checkpoint-2", "manifest.json"];
        var weights = CheckpointManifest.Hash(_runs["run", "checkpoint-2", "model.safetensors"]);
        File.WriteAllText(manifest, File.ReadAllText(manifest).Replace(weights, new string('0', 64)));
        Assert.False(RunReproduction.Run(_runs["run"]).Agrees);
    }

    [Fact]
    public void A_repetition_in_the_run_itself_is_refused()
    {
        _runs.Train("sft", "run");
        foreach (var output in (string[])[_runs["run"], _runs["run", "again"]])
            Assert.Contains("lies in the run that is repeated", Assert.Throws<InputException>(() =>
                RunReproduction.Run(_runs["run"], new() { OutputDir = output })).What);
    }

    public void Dispose() => _runs.Dispose();

    private sealed class Listener : IRunObserver
    {
        public List<string> Lines { get; } = [];

        void IWorkObserver.Said(string text) => Lines.Add(text);
    }
}
