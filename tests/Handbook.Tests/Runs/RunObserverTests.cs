using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Tests.Sampling;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Metrics;
using Handbook.Training.Progress;

namespace Handbook.Tests.Runs;

[Collection("tensors")]
public sealed class RunObserverTests : IDisposable
{
    private readonly SamplingFolder _folder = new();

    [Fact]
    public void An_observer_hears_the_run_in_its_order_and_the_result_says_the_same()
    {
        var heard = new Listener();
        var result = TrainingRun.Run(Recipe("run"), heard, "dpo recipe.yaml");

        Assert.Equal(RunEnd.Finished, result.End);
        Assert.Equal(["started", "stepped 1", "logged 1", "stepped 2", "logged 2", "evaluated 2", "saved checkpoint-2", "ended",
            "measured train", "measured eval"], heard.Events);
        Assert.Equal(result.Train!.Number("train_loss"), heard.Results["train"].Number("train_loss"));
        Assert.Equal(result.Evaluation!.Number("eval_loss"), heard.Results["eval"].Number("eval_loss"));
        Assert.Contains("\"dpo recipe.yaml\"", File.ReadAllText(_folder["run", RunInfo.FileName]));
        Assert.All(heard.Counts, count => Assert.True(count.Value, $"{count.Key} was begun and never ended"));
        Assert.Equal(RunEnd.WasFinished, TrainingRun.Run(Recipe("run")).End);
    }

    [Fact]
    public void A_cancelled_run_says_so_and_the_same_call_goes_on()
    {
        using var stop = new CancellationTokenSource();
        var first = new Listener { OnStep = stop.Cancel };
        Assert.Equal(RunEnd.Interrupted, TrainingRun.Run(Recipe("run"), first, cancel: stop.Token).End);
        Assert.Equal("ended", first.Events[^1]);

        var second = new Listener();
        Assert.Equal(RunEnd.Finished, TrainingRun.Run(Recipe("run"), second).End);
        Assert.Equal("stepped 2", second.Events.First(name => name.StartsWith("stepped", StringComparison.Ordinal)));
    }

    [Fact]
    public void A_run_that_finds_its_folder_taken_after_reading_its_data_touches_no_file_in_it()
    {
        var (samples, card) = (_folder["run", "samples.jsonl"], _folder["run", RunInfo.FileName]);
        var late = new Listener
        {
            OnSaid = () =>
            {
                if (Directory.Exists(_folder["run"]))
                    return;
                Directory.CreateDirectory(_folder["run"]);      // another run begins while this one reads its data
                File.WriteAllText(samples, "{\"step\": 1}\n");
                File.WriteAllText(card, "{}");
            },
        };
        var problem = Assert.Throws<InputException>(() => TrainingRun.Run(Recipe("run"), late));

        Assert.Contains("another run has begun there", problem.What);
        Assert.Equal("{\"step\": 1}\n", File.ReadAllText(samples));
        Assert.Equal(["run.json", "samples.jsonl"], Directory.GetFileSystemEntries(_folder["run"]).Select(Path.GetFileName).Order());
    }

    private Recipe Recipe(string output)
    {
        var rows = string.Concat(Enumerable.Range(0, 8)
            .Select(i => $$"""{"prompt": "say {{i}}", "chosen": "sun {{i}}", "rejected": "moon {{i}}"}""" + "\n"));
        _folder.Write("pairs/train.jsonl", rows);
        _folder.Write("pairs/test.jsonl", rows.Replace("say", "tell"));
        _folder.Write("dpo.yaml", $"""
            model_name_or_path: {_folder["model"]}
            dataset_name: {_folder["pairs"]}
            output_dir: {_folder[output]}
            per_device_train_batch_size: 4
            max_steps: 2
            logging_steps: 1
            eval_strategy: steps
            eval_steps: 2
            save_strategy: steps
            save_steps: 2
            generate_during_eval: true
            max_completion_length: 4
            report_to: none
            """);
        Assert.True(Handbook.Recipes.Recipe.Load(new FileInfo(_folder["dpo.yaml"]), [], TrainingMethod.Dpo).TryGet(out var recipe,
            out var diagnostics), diagnostics.ToString());
        return recipe;
    }

    public void Dispose() => _folder.Dispose();

    private sealed class Listener : IRunObserver
    {
        public List<string> Events { get; } = [];

        public Dictionary<string, MetricSet> Results { get; } = [];

        public Dictionary<string, bool> Counts { get; } = [];

        public Action? OnStep { get; init; }

        public Action? OnSaid { get; init; }

        public void Said(string text) => OnSaid?.Invoke();

        public IWorkCount Began(string what, long? total, string unit)
        {
            Counts[what] = false;
            return new Count(() => Counts[what] = true);
        }

        public void Started(TrainingOutline outline) => Events.Add("started");

        public void Stepped(StepReport report)
        {
            Events.Add($"stepped {report.Step}");
            OnStep?.Invoke();
        }

        public void Logged(int steps, double epoch, MetricSet metrics) => Events.Add($"logged {steps}");

        public void Evaluated(int steps, double epoch, MetricSet metrics) => Events.Add($"evaluated {steps}");

        public void Saved(string checkpoint) => Events.Add($"saved {Path.GetFileName(checkpoint)}");

        public void Ended(TrainingSummary summary) => Events.Add("ended");

        public void Measured(string split, MetricSet results)
        {
            Events.Add($"measured {split}");
            Results[split] = results;
        }
    }

    private sealed class Count(Action ended) : IWorkCount
    {
        public void Advance(long count = 1)
        {
        }

        public void Report(long done)
        {
        }

        public void Dispose() => ended();
    }
}
