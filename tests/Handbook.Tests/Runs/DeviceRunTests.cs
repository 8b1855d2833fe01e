using System.Text.Json.Nodes;
using Handbook.Evaluation;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Tests.Sampling;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Torch.Tests.Cuda;
using Handbook.Training.Methods;
using Handbook.Training.Metrics;
using Handbook.Training.Progress;

namespace Handbook.Tests.Runs;

/// <summary>Whole runs that let a model answer, on the stand-in for a GPU with the kernels of GPUs, and on the CPU.</summary>
[Collection("tensors"), Trait("needs", "nvrtc"), Trait("speed", "slow")]
public sealed class DeviceRunTests : IDisposable
{
    private const string Place = "computes on A card";

    private readonly Device _device = StandInDevice.Need();
    private readonly SamplingFolder _folder = new();

    public void Dispose()
    {
        ComputeDevice.StandIn = null;
        _folder.Dispose();
    }

    /// <summary>What a run gives on the CPU and on the device, and what it said there.</summary>
    private (T Here, T There, List<string> Heard) Both<T>(Func<string, IRunObserver, T> run)
    {
        var here = run("cpu", RunObservers.None);
        ComputeDevice.StandIn = new(_device, "A card");
        var lines = new Lines();
        StandInDevice.Launched.Clear();
        var there = run("card", lines);
        ComputeDevice.StandIn = null;
        Assert.Contains("attention_decode", StandInDevice.Launched);
        return (here, there, lines.Heard);
    }

    [Fact] // the reward model lies beside the policy
    public void Answers_that_are_learnt_from_and_what_is_learnt_are_those_of_the_cpu()
    {
        RewardModel();
        string[] rows = [.. File.ReadLines(_folder["prompts.jsonl"]).Select(line => line + "\n")];
        _folder.Write("held/train.jsonl", string.Concat(rows[..3]));
        _folder.Write("held/test.jsonl", string.Concat(rows[3..5]));
        _folder.Write("grpo.yaml", $"""
            model_name_or_path: {_folder["model"]}
            dataset_name: {_folder["held"]}
            num_generations: 3
            max_completion_length: 6
            reward_funcs: [regex, reward_model]
            reward_model_name_or_path: {_folder["reward"]}
            reward_pattern: '[a-e]'
            beta: 0.05
            learning_rate: 1.0e-4
            per_device_train_batch_size: 6
            per_device_eval_batch_size: 6
            max_steps: 2
            logging_steps: 1
            eval_strategy: steps
            eval_steps: 2
            save_strategy: "no"
            log_completions: true
            report_to: none
            disable_tqdm: true
            """);
        var (here, there, heard) = Both((output, observer) =>
        {
            var read = Recipe.Load(new FileInfo(_folder["grpo.yaml"]), [$"--output_dir={_folder[output]}"], TrainingMethod.Grpo);
            Assert.True(read.TryGet(out var recipe, out var problems), problems.ToString());
            Assert.Equal(RunEnd.Finished, TrainingRun.Run(recipe, observer, cancel: TestContext.Current.CancellationToken).End);
            return (Said(output, "completions.jsonl", "completion"), MetricsFile.ReadAll(_folder[output]));
        });
        Assert.Contains(heard, line => line.StartsWith(Place, StringComparison.Ordinal));
        Assert.DoesNotContain(heard, line => line.Contains("is not used", StringComparison.Ordinal));
        Assert.Equal(here.Item1, there.Item1);
        Assert.Equal(here.Item2.Count, there.Item2.Count);
        foreach (var (step, found) in here.Item2.Zip(there.Item2))
            foreach (var name in step.Select(entry => entry.Key).Where(name => name.Contains("loss", StringComparison.Ordinal)
                || name.Contains("reward", StringComparison.Ordinal) || name.EndsWith("grad_norm", StringComparison.Ordinal)
                || name.EndsWith("kl", StringComparison.Ordinal) || name.EndsWith("entropy", StringComparison.Ordinal)))
                // float32 sums in another order, divided by the small deviation of a group's rewards
                Assert.Equal(step.Number(name)!.Value, found.Number(name)!.Value, 2e-4 * Math.Max(1, Math.Abs(step.Number(name)!.Value)));
    }

    private string[] Said(string output, string file, string key) => [.. File.ReadLines(_folder[output, file]).Select(line => JsonNode.Parse(line)!)
        .Select(row => $"{row["step"]} {row["prompt"]!.ToJsonString()} {row[key]}")];

    [Fact]
    public void What_a_model_says_at_evaluations_is_what_it_says_on_the_cpu()
    {
        foreach (var (first, split) in (ReadOnlySpan<(int, string)>)[(0, "train"), (4, "test")])
            _folder.Write($"pairs/{split}.jsonl", string.Concat(Enumerable.Range(first, 4).Select(i =>
                $$"""{"prompt": "say the number {{i}}", "chosen": "it is {{i}}", "rejected": "no"}""" + "\n")));
        _folder.Write("orpo.yaml", $"""
            model_name_or_path: {_folder["model"]}
            dataset_name: {_folder["pairs"]}
            per_device_train_batch_size: 4
            max_steps: 1
            eval_strategy: steps
            eval_steps: 1
            generate_during_eval: true
            max_completion_length: 5
            save_strategy: "no"
            report_to: none
            disable_tqdm: true
            """);
        var (here, there, heard) = Both((output, observer) =>
        {
            var read = Recipe.Load(new FileInfo(_folder["orpo.yaml"]), [$"--output_dir={_folder[output]}"], TrainingMethod.Orpo);
            Assert.True(read.TryGet(out var recipe, out var problems), problems.ToString());
            Assert.Equal(RunEnd.Finished, TrainingRun.Run(recipe, observer, cancel: TestContext.Current.CancellationToken).End);
            return Said(output, "samples.jsonl", "answer");
        });
        Assert.NotEmpty(here);
        Assert.Equal(here, there);
        Assert.Contains(heard, line => line.StartsWith(Place, StringComparison.Ordinal));
    }

    [Fact]
    public void Answers_that_are_selected_are_those_of_the_cpu()
    {
        var (here, there, heard) = Both((output, observer) =>
        {
            RejectionRun.Run(_folder.Recipe("", output), observer);
            return _folder.Lines(output, "samples.jsonl").Select(sample => sample.GetProperty("answer").GetString()).ToArray();
        });
        Assert.Equal(here, there);
        Assert.Contains(heard, line => line.StartsWith(Place, StringComparison.Ordinal));
    }

    [Fact]
    public void An_evaluation_gives_the_results_of_the_cpu()
    {
        _folder.Write("rows.jsonl", string.Concat(Enumerable.Range(0, 5).Select(i =>
            $$"""{"q": "say the word number {{i}}", "a": [" girl", " dog"], "gold": {{i % 2}}}""" + "\n")));
        var (here, there, heard) = Both((_, observer) => EvaluationRun.Run(new()
        {
            Model = ModelSource.Find(_folder["model"]),
            Tasks =
            [
                Task("choice", "output_type: multiple_choice\ndoc_to_text: q\ndoc_to_choice: a\ndoc_to_target: gold"),
                Task("words", "doc_to_text: q\ndoc_to_target: \"x\"\ngeneration_kwargs: {max_gen_toks: 5, temperature: 1.0, do_sample: true}\nrepeats: 2"),
                Task("texts", "output_type: loglikelihood_rolling\ndoc_to_text: \"\"\ndoc_to_target: q"),
            ],
            Observer = observer,
        }, TestContext.Current.CancellationToken).SelectMany(task => task.Values.Select(value => value.Value.Value)).ToArray());
        Assert.Equal(here.Length, there.Length);
        foreach (var (a, b) in here.Zip(there))
            Assert.Equal(a, b, 1e-4 * Math.Max(1, Math.Abs(a)));
        Assert.Contains(heard, line => line.StartsWith(Place, StringComparison.Ordinal));
    }

    private EvaluationTask Task(string name, string rest) =>
        TaskFile.Read($"task: {name}\ndataset_path: rows.jsonl\n{rest}\n", $"{name}.yaml", _folder[""], _ => { });

    private void RewardModel()
    {
        foreach (var file in Directory.GetFiles(_folder["model"], "tokenizer*"))
            _folder.Write($"reward/{Path.GetFileName(file)}", File.ReadAllText(file));
        var config = PublishedConfig.Load(_folder["model"]).WithScoreHead();
        WeightFilesWriter.Save(_folder["reward"], NewModel.Tensors(config, 9, DType.Float32));
        config.Save(_folder["reward"]);
    }

    private sealed class Lines : IRunObserver
    {
        public List<string> Heard { get; } = [];

        public void Said(string text) => Heard.Add(text);
    }
}
