using System.Text.Json;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Models.Tests;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Methods;

/// <summary>The loss that spreads tokens over experts: its value, its gradient, and that only the rows decide on both.</summary>
[Collection("tensors")]
public sealed class BalancedMethodTests
{
    private const double Rounding = 1e-10;      // float64 sums in another order
    private const double Coefficient = 0.3;

    [Fact]
    public void A_token_stands_for_the_answers_that_read_it()
    {
        var pair = PreferenceCase.Pair([1, 2, 3], [4, 5], [6]);
        var judged = PreferenceCase.Unpaired([1, 2], [3], good: true, mismatched: [4, 5]);
        var packed = new TokenRow { Segments = [TokenRow.Single([1, 2], [1, 1]).Segments[0], TokenRow.Single([3], [1]).Segments[0]] };
        var weights = ExpertBalance.Weights(BatchBuilder.Build(new TokenRowList([pair, judged, packed]), [0, 1, 2]));
        // the pair's prompt without its last token twice, then [3 4 5] and [3 6]; the judged row's [1], [2 3], and another row's [2 4 5]
        Assert.Equal([2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1], weights);
    }

    [Fact]
    public void The_loss_is_the_reference_s_formula_over_the_tokens_of_all_layers()
    {
        using var model = Tiny.Model("mixtral");
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var method = new BalancedMethod(new SupervisedMethod("sft"), Coefficient);
        var work = Tiny.Whole(Tiny.Rows(1, 5), method, 4096);
        var logits = new List<double[]>();
        model.Hidden(work.Groups[0].Bins[0].Stream,
            new ForwardOptions { RouterObserver = (_, x) => logits.AddRange(x.ToArray<double>().Chunk(4)) });

        // load_balancing_loss_func: mean one-hot of every choice, mean probability, experts · Σ of their products
        var (f, p) = (new double[4], new double[4]);
        foreach (var token in logits)
        {
            var sum = token.Sum(Math.Exp);
            for (var e = 0; e < 4; e++)
                (f[e], p[e]) = (f[e] + (token.Count(other => other > token[e]) < 2 ? 1.0 : 0) / logits.Count,
                    p[e] + Math.Exp(token[e]) / sum / logits.Count);
        }
        var pass = new LossPass { Metrics = new MetricSums() };
        method.Run(model, work.Groups[0], pass);
        var means = pass.Metrics.Means.ToDictionary(m => m.Name, m => m.Mean);
        Assert.Equal(4 * f.Zip(p, (a, b) => a * b).Sum(), means["aux_loss"], 1e-12);
        Assert.Equal(pass.Metrics.MeanOf(MetricSums.Nll)!.Value * work.Groups[0].Bins[0].Batch.TargetCount / work.Groups[0].Totals.Targets
            + Coefficient * means["aux_loss"], pass.Loss, 1e-12);
    }

    [Fact]
    public void Layers_without_experts_do_not_count()
    {
        using var model = Tiny.Model("qwen2_moe");
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var method = new BalancedMethod(new SupervisedMethod("sft"), Coefficient);
        var work = Tiny.Whole(Tiny.Rows(1, 5), method, 4096);
        var layers = new HashSet<int>();
        var (f, p, tokens) = (new double[5], new double[5], 0);
        model.Hidden(work.Groups[0].Bins[0].Stream, new ForwardOptions
        {
            RouterObserver = (layer, x) =>
            {
                layers.Add(layer);
                foreach (var token in x.ToArray<double>().Chunk(5))
                {
                    tokens++;
                    for (var e = 0; e < 5; e++)
                        (f[e], p[e]) = (f[e] + (token.Count(other => other > token[e]) < 2 ? 1 : 0),
                            p[e] + Math.Exp(token[e]) / token.Sum(Math.Exp));
                }
            }
        });
        Assert.Equal([1], layers);
        var pass = new LossPass { Metrics = new MetricSums() };
        method.Run(model, work.Groups[0], pass);
        Assert.Equal(5 * f.Zip(p, (a, b) => a * b).Sum() / tokens / tokens, pass.Metrics.Means.Single(m => m.Name == "aux_loss").Mean, 1e-12);
    }

    public static TheoryData<TrainingMethod, string> Methods() => new()
    {
        { TrainingMethod.Sft, "{}" },
        { TrainingMethod.Reward, "{}" },
        { TrainingMethod.Dpo, "{}" },
        { TrainingMethod.Dpo, """{"loss_type": "aot"}""" },       // couples rows: read once before anyway
        { TrainingMethod.Orpo, "{}" },
        { TrainingMethod.Cpo, "{}" },
        { TrainingMethod.Kto, "{}" },
        { TrainingMethod.Bco, "{}" },
    };

    [Theory, MemberData(nameof(Methods))]
    public void Failures_1_3_and_24_the_gradient_is_the_same_however_it_is_computed(TrainingMethod kind, string options)
    {
        var (model, method, rows) = Case(kind, options);
        using var owned = model;
        var expected = Tiny.Step(model, method, Tiny.Whole(rows, method, 4096));
        Assert.Contains(expected.Gradients, g => g.Key.EndsWith("router.weight", StringComparison.Ordinal) && g.Value.Any(x => x != 0));
        foreach (var shared in (ReadOnlySpan<bool>)[true, false])
            foreach (var maxTokens in (ReadOnlySpan<int>)[1, 60, 4096])
                foreach (var recompute in (ReadOnlySpan<bool>)[false, true])
                    foreach (int[][] microBatches in (int[][][])[[[0, 1, 2, 3, 4, 5]], [[0, 1, 2], [3, 4, 5]]])
                        Tiny.Step(model, method, BatchLoader.Lay(shared ? rows : new SeparatePrompts(rows),
                            new StepRows(0, 0, microBatches, 1), method, maxTokens), _ => new ForwardOptions { Recompute = recompute })
                            .MustEqual(expected, Rounding,
                                $"{(shared ? "shared" : "separate")} prompts, bins of {maxTokens}, {microBatches.Length} "
                                + $"micro-batches{(recompute ? ", recomputed" : "")}");
    }

    [Theory, MemberData(nameof(Methods))]
    public void Two_workers_have_the_gradient_of_one(TrainingMethod kind, string options)
    {
        var (model, method, rows) = Case(kind, options);
        using var owned = model;
        StepRows step = new(0, 0, [[0, 1, 2, 3, 4], [5]], 1);
        var expected = Tiny.Step(model, method, BatchLoader.Lay(rows, step, method, 60));
        foreach (var result in WorkerPair.Run(2, its =>
        {
            using var scope = TensorScope.Enter();
            var (own, same, theirs) = Case(kind, options);
            using (own)
                return Tiny.Step(own, same, BatchLoader.Lay(theirs, step, same, 60, its), workers: its);
        }))
            result.MustEqual(expected, Rounding, "two workers");
    }

    [Theory] // KTO and BCO hold a mean over the batch constant, which differences would not
    [InlineData(TrainingMethod.Sft, "{}")]
    [InlineData(TrainingMethod.Reward, "{}")]
    [InlineData(TrainingMethod.Dpo, "{}")]
    [InlineData(TrainingMethod.Dpo, """{"loss_type": "aot"}""")]
    [InlineData(TrainingMethod.Orpo, "{}")]
    [InlineData(TrainingMethod.Cpo, "{}")]
    public void Gradients_are_the_finite_differences_of_the_loss(TrainingMethod kind, string options)
    {
        var (model, method, rows) = Case(kind, options);
        using var owned = model;
        var work = Tiny.Whole(rows, method, 60);
        Tiny.MustFollowDifferences(model, method, work,
            ["embed.weight", "layers.0.mlp.router.weight", "layers.1.mlp.router.weight", "layers.0.mlp.experts.2.gate_up.weight",
                "layers.1.mlp.experts.0.down.weight", "layers.1.mlp_norm.weight"],
            1e-7, places: 3, step: 1e-6);
    }

    [Fact]
    public void Rows_without_anything_to_learn_are_spread_all_the_same()
    {
        using var model = Tiny.Model("mixtral");
        var method = new BalancedMethod(new SupervisedMethod("sft"), Coefficient);
        var learned = Tiny.Rows(1, 2, masked: false);
        var rows = new TokenRowList([learned.Read(0), TokenRow.Single([3, 1, 4, 1, 5], new byte[5]), learned.Read(1)]);
        var together = Tiny.Step(model, method, Tiny.Whole(rows, method, 4096));
        Tiny.Step(model, method, Tiny.Whole(rows, method, 1)).MustEqual(together, Rounding, "a bin for each row");
        Assert.NotEqual(together.Loss, Tiny.Step(model, method, Tiny.Whole(learned, method, 4096)).Loss);

        var nothing = new LossPass { Training = true, Metrics = new MetricSums() };
        method.Run(model, Tiny.Whole(new TokenRowList([rows.Read(1)]), method, 4096).Groups[0], nothing);
        Assert.False(nothing.Learned);
    }

    [Fact]
    public void An_older_release_spreads_each_micro_batch_by_itself()
    {
        var (model, method, rows) = Case(TrainingMethod.Dpo, """{"trl_compat": "0.24"}""");
        using var owned = model;
        var (first, second) = (Step([[0, 1, 2]]), Step([[3, 4, 5]]));
        var both = Step([[0, 1, 2], [3, 4, 5]]);
        Assert.Equal((first.Loss + second.Loss) / 2, both.Loss, Rounding);
        foreach (var (name, gradient) in both.Gradients)
            for (var i = 0; i < gradient.Length; i++)
                Assert.Equal((first.Gradients[name][i] + second.Gradients[name][i]) / 2, gradient[i], Rounding);

        StepResult Step(int[][] microBatches) =>
            Tiny.Step(model, method, BatchLoader.Lay(rows, new StepRows(0, 0, microBatches, 1), method, 60));
    }

    [Fact]
    public void Held_out_rows_are_measured_without_a_trace()
    {
        var (model, method, rows) = Case(TrainingMethod.Dpo, "{}");
        using var owned = model;
        model.Parameters.ClearGradients();
        var before = Tensor.LiveCount;
        var metrics = new Evaluator(rows, method, batchSize: 3, maxTokens: 40).Run(model);
        Assert.Equal(before, Tensor.LiveCount);
        Assert.All(model.Parameters.Specs, spec => Assert.False(model.Parameters[spec.Name].HasGradient));
        var inner = new Evaluator(rows, Inner(TrainingMethod.Dpo, "{}"), batchSize: 3, maxTokens: 40).Run(model);
        Assert.Equal(inner.Number("eval_loss")!.Value + Coefficient * metrics.Number("eval_aux_loss")!.Value,
            metrics.Number("eval_loss")!.Value, Rounding);
    }

    [Theory]
    [InlineData(TrainingMethod.Sft, "", false, 0, "output_router_logits false")]
    [InlineData(TrainingMethod.Sft, "", true, 0.05, "with weight 0.05")]
    [InlineData(TrainingMethod.Orpo, "router_aux_loss_coef: 0.2\n", false, 0.2, "with weight 0.2")]
    [InlineData(TrainingMethod.Dpo, "router_aux_loss_coef: 0\n", true, 0, "router_aux_loss_coef is 0")]
    [InlineData(TrainingMethod.Dpo, "trl_compat: \"1.9\"\n", false, 0.001, "with weight 0.001")]
    [InlineData(TrainingMethod.Dpo, "trl_compat: \"0.24\"\n", false, 0, "output_router_logits false")]
    public void The_weight_is_the_recipe_s_or_else_the_model_s(TrainingMethod method, string lines, bool asks, double weight, string note)
    {
        var model = Some.Mixtral(("output_router_logits", asks), ("router_aux_loss_coef", 0.05)).Decoder;
        var recipe = Recipe(method, lines);
        Assert.Equal(weight, BalancedMethod.Coefficient(recipe, model));
        Assert.Contains(note, BalancedMethod.Note(recipe, model));
        Assert.Equal(weight > 0, BalancedMethod.Around(new SupervisedMethod("sft"), recipe, model) is BalancedMethod);
    }

    [Fact]
    public void A_model_without_experts_is_told_that_the_key_has_no_effect()
    {
        var recipe = Recipe(TrainingMethod.Dpo, "router_aux_loss_coef: 0.2\n");
        Assert.Equal("router_aux_loss_coef: 0.2 has no effect: llama models have no experts, so there is no router",
            BalancedMethod.Note(recipe, Some.Llama().Decoder));
        Assert.Equal(0, BalancedMethod.Coefficient(recipe, Some.Llama().Decoder));
        Assert.Null(BalancedMethod.Note(Recipe(TrainingMethod.Dpo, ""), Some.Llama().Decoder));
    }

    private static Recipe Recipe(TrainingMethod method, string lines)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["recipe.yaml"], "model_name_or_path: model\ndataset_name: rows\n" + lines);
        if (!Handbook.Recipes.Recipe.Load(new FileInfo(folder["recipe.yaml"]), [], method).TryGet(out var recipe, out var diagnostics))
            Assert.Fail(diagnostics.ToString());
        return recipe;
    }

    private static ITrainingMethod Inner(TrainingMethod kind, string options)
    {
        using var config = JsonDocument.Parse(options);
        return kind switch
        {
            TrainingMethod.Sft => new SupervisedMethod("sft"),
            TrainingMethod.Reward => new RewardMethod(),
            _ => new PreferenceMethod("test", PreferenceObjective.Create(PreferenceCase.Recipe(kind, null, config.RootElement))),
        };
    }

    private static (Decoder Model, ITrainingMethod Method, ITokenRows Rows) Case(TrainingMethod kind, string options)
    {
        var inner = Inner(kind, options);
        var rows = kind == TrainingMethod.Sft ? Tiny.Rows(3, 6) : PreferenceContractTests.Rows(kind, 6);
        if (kind is TrainingMethod.Dpo or TrainingMethod.Kto or TrainingMethod.Bco)
        {
            using var config = JsonDocument.Parse(options);
            using var reference = Tiny.Model("mixtral", 2);
            rows = PreferenceCase.Referenced(rows, reference,
                PreferenceObjective.Create(PreferenceCase.Recipe(kind, null, config.RootElement)));
        }
        return (Tiny.Model("mixtral", head: kind == TrainingMethod.Reward ? ModelHead.Score : ModelHead.Language),
            new BalancedMethod(inner, Coefficient), rows);
    }
}
