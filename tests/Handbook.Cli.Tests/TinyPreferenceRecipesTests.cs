using System.Text.Json;
using Handbook.Recipes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>The tiny recipes of the preference methods, with the real commands, on a model that has learned nothing: what their comments
/// promise about the first step holds.</summary>
public sealed class TinyPreferenceRecipesTests(TinyPreferenceRecipesTests.Made made) : IClassFixture<TinyPreferenceRecipesTests.Made>
{
    [Theory] // model and reference are the same at the first step, so every reward is 0: −log σ(0) = ln 2, 1 − σ(0) = 0.5
    [InlineData("dpo", null, "rewards/accuracies")]
    [InlineData("kto", 0.5, "kl")]
    [InlineData("bco", 0.693147, "delta")]
    [InlineData("orpo", null, "log_odds_chosen")]
    [InlineData("cpo", null, "nll_loss")]
    [InlineData("simpo", null, "rewards/margins")]
    [InlineData("reward", null, "accuracy")]
    [Trait("speed", "slow")]
    public void A_tiny_recipe_trains(string name, double? first, string metric)
    {
        var path = Path.Combine(SharedFiles.Repository, "recipes", "tiny", $"{name}.yaml");
        var command = Recipe.GuessMethod(new FileInfo(path)).ToString().ToLowerInvariant();
        SmallModel.Succeed(made.Handbook.Run(command, path, "--model_name_or_path=model", "--dataset_name=pairs", "--max_steps=6",
            "--logging_steps=1", "--eval_strategy=no", "--do_eval",
            "--save_strategy=no", "--per_device_train_batch_size=8", "--learning_rate=5e-4", "--warmup_ratio=0",
                $"--output_dir=runs/{name}"));
        var rows = File.ReadLines(Path.Combine(made.Handbook.Folder, "runs", name, "metrics.jsonl"))
            .Select(line => JsonDocument.Parse(line).RootElement).ToArray();
        var steps = rows.Where(row => row.TryGetProperty("loss", out _)).ToArray();
        Assert.Equal(6, steps.Length);
        Assert.True(steps[0].TryGetProperty(metric, out _), steps[0].ToString());
        Assert.Contains("\"eval_loss\"", File.ReadAllText(Path.Combine(made.Handbook.Folder, "runs", name, "eval_results.json")));
        if (first is { } expected)
            Assert.Equal(expected, steps[0].GetProperty("loss").GetDouble(), 1e-6);
        if (command is "kto" or "bco")
            Assert.Contains(steps, step => step.TryGetProperty("rewards/margins", out _));      // both kinds of answers in a batch
        Assert.True(steps.Min(step => step.GetProperty("loss").GetDouble()) < steps[0].GetProperty("loss").GetDouble(),
            string.Join('\n', steps));
        Assert.True(File.Exists(Path.Combine(made.Handbook.Folder, "runs", name, "model.safetensors")));
    }

    [Fact] // 2 steps of 8 rows; a whole pass comes to all 48
    public void A_short_run_scores_the_rows_that_it_comes_to()
    {
        string[] words = [Path.Combine(SharedFiles.Repository, "recipes", "tiny", "dpo.yaml"), "--model_name_or_path=model",
            "--dataset_name=pairs", "--eval_strategy=no",
            "--save_strategy=no", "--per_device_train_batch_size=8", "--learning_rate=1e-4", "--num_train_epochs=1"];
        var brief = made.Handbook.Run(["dpo", .. words, "--max_steps=2", "--output_dir=runs/short"]);
        SmallModel.Succeed(brief);
        Assert.Contains("reference: scores of the run's 16 of 48 training rows", brief.Error, StringComparison.Ordinal);
        var whole = made.Handbook.Run(["dpo", .. words, "--output_dir=runs/whole"]);
        SmallModel.Succeed(whole);
        Assert.Contains("reference: scores of 48 training rows", whole.Error, StringComparison.Ordinal);
    }

    /// <summary>A new model and pairs of conversations.</summary>
    public sealed class Made : IDisposable
    {
        internal HandbookProcess Handbook { get; } = new();

        public Made()
        {
            SmallModel.Make(Handbook);
            foreach (var (split, count) in (ReadOnlySpan<(string, int)>)[("train", 48), ("test", 8)])
                Handbook.Write($"pairs/{split}.jsonl", string.Concat(Enumerable.Range(0, count).Select(i =>
                    JsonSerializer.Serialize(new { chosen = Turns(i, $"the sun {i}"), rejected = Turns(i, $"the moon and {i} three") })
                        + "\n")));

            static object[] Turns(int i, string answer) =>
                [new { role = "user", content = $"one two {i}" }, new { role = "assistant", content = answer }];
        }

        public void Dispose() => Handbook.Dispose();
    }
}
