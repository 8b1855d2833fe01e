using System.Text.Json.Nodes;
using Handbook.Data;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Tests.Sampling;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Metrics;
using Handbook.Training.Progress;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Methods.Grpo;

/// <summary>Answers that several workers sample and learn from, with prompts of their own or sharing the tokens of one.</summary>
[Collection("tensors")]
public sealed class SharedAnswersTests
{
    private const double Rounding = 1e-10;      // float64 sums in another order

    /// <summary>Workers, and how many of them share the tokens of a row.</summary>
    private static readonly (int Workers, int Size)[] s_worlds = [(2, 1), (3, 1), (2, 2), (4, 2), (4, 4)];

    public static TheoryData<GrpoAggregation, RatioLevel, double> Losses() => GrpoMethodTests.Losses();

    [Theory, MemberData(nameof(Losses))]
    public void Number_2_and_12_and_15_several_workers_have_the_gradient_of_one(GrpoAggregation aggregation, RatioLevel level, double temperature)
    {
        var loss = new GrpoLoss { Aggregation = aggregation, Level = level, Beta = 0.1, Epsilon = 0.1, EpsilonHigh = 0.1 };
        var rows = GrpoMethodTests.Rows(5);
        // of three workers one has nothing in the second micro-batch
        StepRows step = new(0, 0, [[0, 1, 2], [3, 4]], 1);
        var (expected, metrics) = Run(Workers.Alone);
        foreach (var (workers, size) in s_worlds)
            foreach (var (result, its) in WorkerPair.Run(workers, its => Run(its.InGroupsOf(size))))
            {
                result.MustEqual(expected, Rounding, $"{workers} workers, {size} for a row");
                foreach (var (name, mean) in metrics.Means)
                    Assert.Equal(mean, its.MeanOf(name)!.Value, 1e-9);
            }

        (StepResult Result, MetricSums Metrics) Run(Workers workers)
        {
            using var scope = TensorScope.Enter();
            using var model = Tiny.Model("llama", 1);
            var method = GrpoMethodTests.Method(loss, temperature, maxTokens: 60);
            var sums = new MetricSums();
            model.Parameters.ClearGradients();
            var done = StepSums.Run(model, method, method.Lay(rows, workers.Share(step, _ => 1), workers.Context),
                new LossPass { Training = true, Metrics = sums, Workers = workers });
            model.Parameters.SettleGradients();
            return (new(done.Loss, Tiny.Gradients(model)), workers.Sum(sums));
        }
    }

    [Fact]
    public void Scores_of_answers_whose_tokens_are_shared_are_those_of_whole_ones()
    {
        var rows = GrpoMethodTests.Rows(4);
        var expected = Scores(Workers.Alone);
        foreach (var size in (ReadOnlySpan<int>)[2, 4])
            foreach (var scores in WorkerPair.Run(size, its => Scores(its.InGroupsOf(size))))
                Assert.All(expected.Zip(scores), pair => Assert.Equal(pair.First, pair.Second, Rounding));

        double[] Scores(Workers workers)
        {
            using var scope = TensorScope.Enter();
            using var model = Tiny.Model("mistral", 1);
            return [.. TokenScores.Of(model, rows, [0, 1, 2, 3], 30, 0.7, workers.Context).OrderBy(row => row.Key)
                .SelectMany(row => row.Value).SelectMany(answer => answer)];
        }
    }

    // float32: the answers of later steps come from weights that rounding has changed, so only few steps are alike
    [Theory]
    [InlineData("scale_rewards: batch")]
    [InlineData("steps_per_generation: 2\nnum_iterations: 2\nbeta: 0.02")]
    [InlineData("loss_type: bnpo\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 2")]
    [InlineData("zero_stage: 3\nds3_gather_for_generation: false")]
    [InlineData("per_device_train_batch_size: 4")]      // one prompt a step: all but one have none
    public void A_run_has_the_answers_and_the_curve_of_one_process(string keys)
    {
        using var folder = new SamplingFolder();
        folder.Write("held/train.jsonl", File.ReadAllText(folder["prompts.jsonl"]));
        folder.Write("held/test.jsonl", string.Concat(File.ReadLines(folder["prompts.jsonl"]).Take(3).Select(line => line + "\n")));
        var expected = Run("one", 1, 1);
        foreach (var (workers, size) in s_worlds)
        {
            var (answers, curve) = Run($"of-{workers}-{size}", workers, size);
            Assert.Equal(expected.Answers, answers);
            Assert.Equal(expected.Curve.Count, curve.Count);
            foreach (var (step, found) in expected.Curve.Zip(curve))
                foreach (var (name, value) in step.Select(entry => (entry.Key, step.Number(entry.Key)!.Value)).Where(entry =>
                    !entry.Key.Contains("_per_second", StringComparison.Ordinal) && !entry.Key.Contains("runtime", StringComparison.Ordinal)))
                    Assert.True(Math.Abs(value - found.Number(name)!.Value) <= 2e-5 * Math.Max(1, Math.Abs(value)),
                        $"{workers} workers, {size} for a row: {name} is {found.Number(name)}, of one {value}");
        }

        (string[] Answers, IReadOnlyList<MetricSet> Curve) Run(string output, int workers, int size)
        {
            var recipe = Recipe(folder, $"{keys}\ncontext_parallel_size: {size}\noutput_dir: {folder[output]}");
            Assert.Equal(RunEnd.Finished, WorkerPair.Run(workers, its => TrainingRun.Run(recipe, null, RunObservers.None, null,
                TestContext.Current.CancellationToken, its, batchProcesses: 1).End)[0]);
            return ([.. File.ReadLines(folder[output, "completions.jsonl"]).Select(line => JsonNode.Parse(line)!)
                .Select(row => $"{row["step"]} {row["prompt"]!.ToJsonString()} {row["completion"]} {(double)row["reward"]!:f6} {(double)row["advantage"]!:f4}")
                .Order(StringComparer.Ordinal)], MetricsFile.ReadAll(folder[output]));
        }
    }

    private static Recipe Recipe(SamplingFolder folder, string lines)
    {
        folder.Write("grpo.yaml", $"""
            model_name_or_path: {folder["model"]}
            dataset_name: {folder["held"]}
            num_generations: 4
            max_completion_length: 10
            reward_funcs: [regex, length]
            reward_weights: [1.0, 0.1]
            reward_pattern: '[a-e]'
            max_answer_length: 8
            learning_rate: 1.0e-5
            per_device_train_batch_size: 12
            max_steps: 4
            logging_steps: 1
            eval_strategy: steps
            eval_steps: 2
            save_strategy: "no"
            log_completions: true
            report_to: none
            disable_tqdm: true
            """);
        string[] words = [.. lines.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => $"--{line.Replace(": ", "=")}")];
        var loaded = Handbook.Recipes.Recipe.Load(new FileInfo(folder["grpo.yaml"]), words, TrainingMethod.Grpo);
        Assert.True(loaded.TryGet(out var recipe, out var diagnostics), diagnostics.ToString());
        return recipe;
    }
}
