using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Training.Methods;

namespace Handbook.Tests.Runs;

/// <summary>What a method says that its evaluations measure is what they measure.</summary>
[Collection("tensors")]
public sealed class MeasuredNamesTests : IDisposable
{
    private readonly AdapterRuns _runs = new();

    [Theory]
    [InlineData("cpt")]
    [InlineData("sft")]
    [InlineData("reward")]
    [InlineData("dpo")]
    [InlineData("cpo")]
    [InlineData("orpo")]
    [InlineData("kto")]
    [InlineData("bco")]
    [InlineData("grpo")]
    public void Evaluations_measure_what_is_said(string method)
    {
        string[] keys = ["max_steps: 1", "do_eval: true"];
        var recipe = _runs.Recipe(method, "run", keys);
        var result = TrainingRun.Run(recipe, cancel: TestContext.Current.CancellationToken);
        string[] found = [.. result.Evaluation!.Select(pair => pair.Key).Where(name => name is not ("eval_samples" or "epoch"))];
        var said = recipe.Definition.Measured(recipe);
        Assert.Empty(found.Except(said));
        // a mixture's balance, the loss of another loss, and what needs answers that ended or a reference
        string[] sometimes = ["eval_aux_loss", "eval_nll_loss", "eval_kl", "eval_completions/mean_terminated_length",
            "eval_completions/min_terminated_length", "eval_completions/max_terminated_length"];
        Assert.Empty(said.Except(found).Except(sometimes));
    }

    [Fact]
    public void A_metric_that_no_evaluation_measures_is_refused_with_those_that_are()
    {
        foreach (var method in MethodDefinition.All)
        {
            using var file = new RecipeOf(method.Name == "rejection-sample" ? "train_method: sft\nreward_funcs: length\n" : method.Name == "grpo" ? "reward_funcs: length\n" : "");
            var loaded = Recipe.Load(new FileInfo(file.Path), ["--metric_for_best_model=rewards/acuracies"], method.Method);
            var error = Assert.Single(loaded.Diagnostics.Errors, error => error.What.StartsWith("metric_for_best_model", StringComparison.Ordinal));
            Assert.Equal($"metric_for_best_model is rewards/acuracies, which no evaluation of {method.Name} measures", error.What);
            Assert.Contains("those that are measured: eval_loss, ", error.Fix);
            if (method.Name == "dpo")
                Assert.StartsWith("did you mean eval_rewards/accuracies? ", error.Fix);
            foreach (var metric in method.Measured(loaded.Draft!))
                Assert.DoesNotContain(Recipe.Load(new FileInfo(file.Path), [$"--metric_for_best_model={metric["eval_".Length..]}"], method.Method).Diagnostics.Errors,
                    problem => problem.What.StartsWith("metric_for_best_model", StringComparison.Ordinal));
        }
    }

    public void Dispose() => _runs.Dispose();

    private sealed class RecipeOf : IDisposable
    {
        public RecipeOf(string keys) => File.WriteAllText(Path, "model_name_or_path: m\ndataset_name: d.jsonl\n" + keys);

        public string Path { get; } = System.IO.Path.Combine(Directory.CreateTempSubdirectory("handbook-test-").FullName, "r.yaml");

        public void Dispose() => Directory.Delete(System.IO.Path.GetDirectoryName(Path)!, recursive: true);
    }
}
