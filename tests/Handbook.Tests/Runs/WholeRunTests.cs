using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Metrics;
using Handbook.Training.Optimizers;
using Handbook.Training.Progress;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Runs;

/// <summary>Whole runs of the reference trainers, from recipe and rows to what is logged at every step: each folder of <c>golden/runs</c>
/// that has a recipe.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class WholeRunTests : IDisposable
{
    /// <summary>Values that the reference trainer averages over micro-batches, so that they compare where a step has one.</summary>
    private static readonly string[] s_batchMeans = ["entropy", "mean_token_accuracy", "min_reward", "max_reward"];

    private readonly TemporaryFolder _output = new();
    private readonly string _before = Directory.GetCurrentDirectory();

    public static TheoryData<string> Cases()
    {
        var data = new TheoryData<string>();
        foreach (var folder in SharedFiles.Folders("golden", "runs"))
            if (File.Exists(Path.Combine(folder, "run.json")) && File.Exists(Path.Combine(folder, "recipe.yaml")))
                data.Add(Path.GetFileName(folder));
        if (data.Count == 0)
            data.Add("");
        return data;
    }

    [Theory, MemberData(nameof(Cases))]
    public void A_run_logs_what_the_reference_trainer_logged(string name) => RunAndCompare(name,
        recipe => TrainingRun.Run(recipe, cancel: TestContext.Current.CancellationToken));

    public static MatrixTheoryData<int, string> SharedCases() => new([0, 1, 2, 3], Cases().Select(row => (string)row.Data));

    [Theory, Trait("speed", "slow"), MemberData(nameof(SharedCases))]
    public void A_run_that_two_share_logs_the_same(int zeroStage, string name) => RunShared(2, zeroStage, name);

    [Theory]
    [InlineData(2, 0, "sft_chat")]
    [InlineData(2, 3, "sft_chat")]
    [InlineData(3, 2, "dpo_chat")]
    [InlineData(2, 1, "kto_chat")]
    [InlineData(2, 3, "sft_qlora")]
    public void A_run_that_several_share_logs_the_same(int workers, int zeroStage, string name) => RunShared(workers, zeroStage, name);

    private void RunShared(int workers, int zeroStage, string name, int context = 1) => RunAndCompare(name, recipe =>
    {
        // An optimiser of whole matrices cannot be shared out, and says so.
        var stage = OptimizerTraits.Of(recipe.Training.Optimizer()).NeedsMatrices ? 0 : zeroStage;
        var shared = recipe with { Training = recipe.Training with { ZeroStage = stage, ContextParallelSize = context } };
        return WorkerPair.Run(workers, its => TrainingRun.Run(shared, null, RunObservers.None, null, TestContext.Current.CancellationToken,
            its, batchProcesses: 1))[0];
    });

    [Theory, Trait("speed", "slow"), MemberData(nameof(Cases))]
    public void A_run_whose_rows_two_share_logs_the_same(string name) => RunShared(2, 0, name, context: 2);

    [Theory]
    [InlineData(2, 2, 0, "sft_chat_assistant_bfd")]
    [InlineData(4, 2, 0, "dpo_chat")]
    [InlineData(4, 4, 0, "reward_chat")]
    [InlineData(2, 2, 0, "kto_lora")]
    [InlineData(2, 2, 0, "sft_qlora")]
    [InlineData(4, 2, 3, "dpo_chat")]
    [InlineData(4, 2, 2, "sft_chat_assistant_bfd")]
    public void A_run_whose_rows_several_share_logs_the_same(int workers, int context, int zeroStage, string name) =>
        RunShared(workers, zeroStage, name, context);

    public static MatrixTheoryData<int, string> DeterministicCases() => new([2, 3], Cases().Select(row => (string)row.Data));

    [Theory, Trait("speed", "slow"), MemberData(nameof(DeterministicCases))]
    public void A_deterministic_run_has_the_same_bits_however_many_share_it(int workers, string name) => RequireSameBits(workers, 3, name);

    [Theory]
    [InlineData(3, 0, "sft_text_accumulated")]
    [InlineData(2, 0, "dpo_aot")]           // losses that depend on one another, sorted
    [InlineData(3, 3, "kto_lora")]          // on a mean of others
    [InlineData(2, 2, "reward_chat")]
    [InlineData(2, 3, "sft_neft")]
    [InlineData(3, 0, "dpo_sync")]
    public void A_deterministic_run_has_the_same_bits_in_any_number(int workers, int zeroStage, string name) =>
        RequireSameBits(workers, zeroStage, name);

    private void RequireSameBits(int workers, int zeroStage, string name)
    {
        var (expected, shared) = (default(string), new TemporaryFolder());
        using (shared)
            RunAndCompare(name, recipe =>
            {
                var stage = OptimizerTraits.Of(recipe.Training.Optimizer()).NeedsMatrices ? 0 : zeroStage;
                var ordered = recipe with { Training = recipe.Training with { Deterministic = true } };
                if (OptimizerTraits.Of(recipe.Training.Optimizer()).NeedsMatrices)
                    workers = 1;
                var alone = TrainingRun.Run(ordered, cancel: TestContext.Current.CancellationToken);
                expected = Said(_output.Path);
                var others = ordered with { Training = ordered.Training with { OutputDir = shared["out"], ZeroStage = stage } };
                Assert.All(WorkerPair.Run(workers, its => TrainingRun.Run(others, null, RunObservers.None, null,
                    TestContext.Current.CancellationToken, its, batchProcesses: 1)), run => Assert.Equal(RunEnd.Finished, run.End));
                Assert.Equal(expected, Said(shared["out"]));
                return alone;
            });

        // What is logged, and the bits of what was trained.
        static string Said(string folder)
        {
            var weights = Directory.GetFiles(folder, "*.safetensors").Order(StringComparer.Ordinal).ToArray();
            Assert.NotEmpty(weights);
            return string.Join('\n', [.. LogLines.Timeless(folder).Select(step => step.ToJsonString()),
                .. weights.Select(file => Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(file))))]);
        }
    }

    private void RunAndCompare(string name, Func<Recipe, RunResult> run, params string[] overrides)
    {
        var folder = SharedFiles.Need("golden", "runs", name);
        var recipe = LoadRecipe(folder, name, overrides);

        Assert.Equal(RunEnd.Finished, run(recipe).End);

        var expected = File.ReadLines(Path.Combine(folder, "expected.jsonl")).Where(line => line.Length > 0)
            .Select(line => JsonDocument.Parse(line).RootElement).ToArray();
        var logged = MetricsFile.ReadAll(_output.Path);
        Assert.Equal(expected.Length, logged.Count);
        var differences = expected.Zip(logged).SelectMany(step => Differences(recipe, step.First, step.Second)).ToArray();
        Assert.True(differences.Length == 0, $"{name}:\n{string.Join('\n', differences)}");
        if (Directory.Exists(Path.Combine(folder, "adapter-after")))
            AssertSameAdapter(Path.Combine(folder, "adapter-after"), _output.Path);
    }

    /// <summary>The same tensors, each within 2e-4 of its largest entry; one number in ten thousand may be further off: where a gradient is
    /// as small as its rounding, AdamW makes a whole step of either.</summary>
    private static void AssertSameAdapter(string expected, string actual)
    {
        using var theirs = WeightFiles.Open(AdapterFolder.FileOf(expected));
        using var ours = WeightFiles.Open(AdapterFolder.FileOf(actual));
        var (further, count) = (0, 0);
        Assert.Equal(theirs.Names.Order(StringComparer.Ordinal), ours.Names.Order(StringComparer.Ordinal));
        foreach (var name in theirs.Names)
        {
            Assert.Equal(theirs.Info(name), ours.Info(name));
            var (wanted, found) = (Values(theirs, name), Values(ours, name));
            var largest = wanted.Max(Math.Abs);
            if (theirs.Info(name).DType == DType.BFloat16)
            {
                // Every step rounds to one part in 256, and what a rounding decides AdamW makes larger.
                var off = wanted.Zip(found).Count(pair => Math.Abs(pair.First - pair.Second) > Math.Abs(pair.First) / 100 + 1e-6);
                var most = wanted.Zip(found).Max(pair => Math.Abs(pair.First - pair.Second));
                Assert.True(off <= wanted.Length / 8 && most <= 0.1 * largest,
                    $"{name}: {off} of {wanted.Length} numbers are off, at most by {most} where the largest is {largest}");
                continue;
            }
            for (var i = 0; i < wanted.Length; i++)
                if (Math.Abs(wanted[i] - found[i]) is var apart && apart > 2e-4 * largest)
                {
                    Assert.True(apart <= 1e-3 * largest, $"{name}[{i}]: {found[i]}, the reference has {wanted[i]}");
                    further++;
                }
            count += wanted.Length;
        }
        Assert.True(further <= Math.Max(1, count / 10_000), $"{further} of {count} numbers are further off than 2e-4 of their largest");

        static float[] Values(WeightFiles files, string name)
        {
            var values = new float[files.Info(name).Count];
            ElementConversion.Convert(files.Bytes(name), files.Info(name).DType, MemoryMarshal.AsBytes(values.AsSpan()), DType.Float32);
            return values;
        }
    }

    [Fact] // a linear warm-up begins at the rate 0, so that the second step, too, compares a policy with itself
    public void Rewards_are_zero_until_an_update_changes_the_weights()
    {
        var folder = SharedFiles.Need("golden", "runs", "dpo_chat");

        Assert.Equal(RunEnd.Finished,
            TrainingRun.Run(LoadRecipe(folder, "dpo_chat", "--lr_scheduler_type=constant_with_warmup", "--warmup_steps=2"),
            cancel: TestContext.Current.CancellationToken).End);

        var logged = MetricsFile.ReadAll(_output.Path);
        foreach (var (step, metrics) in logged.Index())
            Assert.Equal(step < 2,
                metrics.Where(m => m.Key.StartsWith("rewards/", StringComparison.Ordinal)).All(m => metrics.Number(m.Key) == 0));
    }

    [Fact] // every token of plain texts carries loss, so all but the first of each row are predicted
    public void The_older_release_divides_supervised_losses_by_the_first_tokens_too()
    {
        var folder = SharedFiles.Need("golden", "runs", "sft_text");
        var expected = JsonDocument.Parse(File.ReadLines(Path.Combine(folder, "expected.jsonl")).First()).RootElement;

        Assert.Equal(RunEnd.Finished, TrainingRun.Run(LoadRecipe(folder, "sft_text", "--trl_compat=0.24", "--max_steps=1"),
            cancel: TestContext.Current.CancellationToken).End);

        var tokens = expected.GetProperty("num_tokens").GetDouble();
        Assert.Equal(expected.GetProperty("loss").GetDouble() * (tokens - 8) / tokens,
            MetricsFile.ReadAll(_output.Path)[0].Number("loss")!.Value, 1e-4);
    }

    /// <summary>The recipe as it lies there, with only the place of its output named; its paths are relative to its folder.</summary>
    private Recipe LoadRecipe(string folder, string name, params string[] overrides)
    {
        var file = new FileInfo(Path.Combine(folder, "recipe.yaml"));
        using var run = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "run.json")));
        var method = run.RootElement.GetProperty("method").GetString()!;
        Directory.SetCurrentDirectory(folder);
        var result = Recipe.Load(file, [$"--output_dir={_output.Path}", .. overrides],
            Recipe.MethodNamed(method) ?? throw new InvalidOperationException($"{name}: there is no method {method}"));
        Assert.True(result.TryGet(out var recipe, out var diagnostics), diagnostics.ToString());
        return recipe;
    }

    private static IEnumerable<string> Differences(Recipe recipe, JsonElement expected, MetricSet logged)
    {
        var isFirst = expected.GetProperty("step").GetInt32() == 1;
        foreach (var value in expected.EnumerateObject())
        {
            if (value.Value.ValueKind != JsonValueKind.Number || !IsCompared(recipe, value.Name))
                continue;
            var wanted = value.Value.GetDouble();
            var found = logged.Number(value.Name);
            // At the first step policy and reference are the same weights, and give the same bits.
            var isExact = isFirst && wanted == 0 && value.Name.StartsWith("rewards/", StringComparison.Ordinal);
            // 0.2 %: what small differences of separate float32 builds grow to in a few steps at these high rates
            // int8: the reference multiplies in half precision there; over codes it keeps gradients in bfloat16, whose next number is up to
            // 1/128 away
            var share = recipe.Quantisation.LoadIn8Bit ? 0.01 : recipe.Quantisation.LoadIn4Bit && value.Name == "grad_norm" ? 0.008 : 0.002;
            if (recipe.Quantisation.LoadIn4Bit && value.Name == "rewards/accuracies")
                continue;       // at the start rewards are roundings there, and so are their signs
            // rewards of a policy that is rounded to bfloat16 after every step differ by its roundings
            var least = recipe.Quantisation.LoadIn4Bit && value.Name.StartsWith("rewards/", StringComparison.Ordinal) ? 5e-4 : 1e-4;
            var allowed = isExact ? 0 : Math.Abs(wanted) < 0.05 ? least : Math.Max(least, Math.Abs(wanted) * share);
            if (found is not { } number || !(Math.Abs(number - wanted) <= allowed))
                yield return string.Create(CultureInfo.InvariantCulture,
                    $"  step {expected.GetProperty("step")}: {value.Name} "
                    + $"is {found?.ToString("R", CultureInfo.InvariantCulture) ?? "missing"}, the reference has {wanted:R}");
        }
    }

    private static bool IsCompared(Recipe recipe, string name) => name switch
    {
        "loss" or "grad_norm" or "learning_rate" or "nll_loss" or "kl" or "mean_reward" or "margin" or "accuracy" => true,
        // elsewhere a prompt counts once for all its answers
        "num_tokens" => recipe.Method is TrainingMethod.Sft or TrainingMethod.Cpt,
        _ when s_batchMeans.Contains(name) => recipe.Training.GradientAccumulationSteps == 1,
        _ => name.StartsWith("rewards/", StringComparison.Ordinal) || name.StartsWith("logps/", StringComparison.Ordinal)
            || name.StartsWith("log_odds_", StringComparison.Ordinal),
    };

    public void Dispose()
    {
        Directory.SetCurrentDirectory(_before);
        _output.Dispose();
    }
}
