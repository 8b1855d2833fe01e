using System.Text.Json;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Methods;

/// <summary>A step's gradient depends on its rows and on nothing else: not on bins, shared prompts, where the reference's scores come from,
/// or accumulation.</summary>
[Collection("tensors")]
public sealed class PreferenceContractTests
{
    private const double Rounding = 1e-10;      // float64 sums in another order

    public static TheoryData<TrainingMethod, string> Objectives() => new()
    {
        { TrainingMethod.Dpo, "{}" },
        { TrainingMethod.Dpo, """{"label_smoothing": 0.2}""" },
        { TrainingMethod.Dpo, """{"loss_type": "hinge"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "ipo"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "exo_pair", "label_smoothing": 0.1}""" },
        { TrainingMethod.Dpo, """{"loss_type": "nca_pair"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "robust", "label_smoothing": 0.1}""" },
        { TrainingMethod.Dpo, """{"loss_type": "bco_pair"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "sppo_hard"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "aot"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "aot_pair"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "aot_unpaired"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "sft"}""" },
        { TrainingMethod.Dpo, """{"sync_ref_model": true, "ref_model_sync_steps": 1}""" },
        { TrainingMethod.Dpo, """{"sync_ref_model": true, "ref_model_sync_steps": 1, "ref_model_mixup_alpha": 0.3, "loss_type": "ipo"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "kto_pair"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "apo_zero"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "apo_down"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "discopop"}""" },
        { TrainingMethod.Dpo, """{"loss_type": "sigmoid_norm"}""" },
        { TrainingMethod.Dpo, """{"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}""" },
        { TrainingMethod.Dpo, """{"rpo_alpha": 0.5}""" },
        { TrainingMethod.Dpo, """{"f_divergence_type": "forward_kl"}""" },
        { TrainingMethod.Dpo, """{"f_divergence_type": "js_divergence"}""" },
        { TrainingMethod.Dpo, """{"f_divergence_type": "alpha_divergence"}""" },
        { TrainingMethod.Dpo, """{"use_weighting": true}""" },
        { TrainingMethod.Dpo, """{"ld_alpha": 0.4}""" },
        { TrainingMethod.Dpo, """{"reference_free": true}""" },
        { TrainingMethod.Orpo, "{}" },
        { TrainingMethod.Orpo, """{"orpo_nll": "completion"}""" },
        { TrainingMethod.Cpo, "{}" },
        { TrainingMethod.Cpo, """{"loss_type": "simpo", "cpo_alpha": 0.0}""" },
        { TrainingMethod.Cpo, """{"loss_type": "hinge"}""" },
        { TrainingMethod.Cpo, """{"loss_type": "ipo"}""" },
        { TrainingMethod.Cpo, """{"loss_type": "alphapo", "alpha": 0.2}""" },
        { TrainingMethod.Kto, "{}" },
        { TrainingMethod.Kto, """{"loss_type": "apo_zero_unpaired", "undesirable_weight": 0.7}""" },
        { TrainingMethod.Bco, "{}" },
    };

    [Theory, MemberData(nameof(Objectives))]
    public void Number_1_3_24_and_26_a_gradient_is_the_same_however_it_is_computed(TrainingMethod method, string options)
    {
        using var config = JsonDocument.Parse(options);
        var recipe = PreferenceCase.Recipe(method, null, config.RootElement);
        using var policy = Tiny.Model("llama", 1);
        using var reference = Tiny.Model("llama", 2);
        var rows = Rows(method, 6);
        var expected = Step(policy, recipe, rows, reference, live: false, 4096, 6, 1);
        foreach (var live in (ReadOnlySpan<bool>)[false, true])
            foreach (var shared in (ReadOnlySpan<bool>)[true, false])
                foreach (var maxTokens in (ReadOnlySpan<int>)[1, 60, 4096])
                    // 4 × 2 leaves a ragged tail of two rows
                    foreach (var (batch, accumulation) in (ReadOnlySpan<(int, int)>)[(6, 1), (3, 2), (4, 2), (1, 6)])
                        Step(policy, recipe, shared ? rows : new SeparatePrompts(rows), reference, live, maxTokens, batch, accumulation)
                            .MustEqual(expected, Rounding,
                                $"{(live ? "live" : "cached")} reference, {(shared ? "shared" : "separate")} prompts, bins "
                                + $"of {maxTokens}, {batch} × {accumulation}");
    }

    public static TheoryData<TrainingMethod, string, AdapterKind> AdaptedObjectives(bool overCodes) => [..
        from row in Objectives()
        from kind in Enum.GetValues<AdapterKind>()
        let usual = row.Data.Item2 == "{}"
        // TR-DPO is refused with adapters: the reference has no weights of its own
        where !row.Data.Item2.Contains("sync_ref_model") && overCodes == (AdapterKinds.Codes(kind) is not null && !usual)
        select new TheoryDataRow<TrainingMethod, string, AdapterKind>(row.Data.Item1, row.Data.Item2, kind)];

    [Theory, MemberData(nameof(AdaptedObjectives), false)]
    public void Number_26_and_29_an_adapter_has_the_same_gradient_however_it_is_computed(TrainingMethod method, string options,
        AdapterKind kind) => AdapterHasOneGradient(method, options, kind);

    [Theory, MemberData(nameof(AdaptedObjectives), true), Trait("speed", "slow")]
    public void Number_26_and_29_an_adapter_over_codes_has_the_same_gradient_with_every_loss(TrainingMethod method, string options,
        AdapterKind kind) => AdapterHasOneGradient(method, options, kind);

    private static void AdapterHasOneGradient(TrainingMethod method, string options, AdapterKind kind)
    {
        using var config = JsonDocument.Parse(options);
        var recipe = PreferenceCase.Recipe(method, null, config.RootElement);
        var rows = Rows(method, 6);
        using var policy = Tiny.Adapted("llama", kind);
        var reference = policy.With();        // the adapter switched off
        var expected = Step(policy, recipe, rows, reference, live: false, 4096, 6, 1, Dropping);
        foreach (var live in (ReadOnlySpan<bool>)[false, true])
            foreach (var shared in (ReadOnlySpan<bool>)[true, false])
                foreach (var (maxTokens, batch, accumulation) in (ReadOnlySpan<(int, int, int)>)[(1, 6, 1), (60, 4, 2), (4096, 1, 6)])
                    Step(policy, recipe, shared ? rows : new SeparatePrompts(rows), reference, live, maxTokens, batch, accumulation, Dropping)
                        .MustEqual(expected, Rounding, $"{(live ? "live" : "cached")} reference, "
                            + $"{(shared ? "shared" : "separate")} prompts, bins of {maxTokens}, {batch} × {accumulation}");
        if (AdapterKinds.Codes(kind) is null)
            return;
        using var values = Tiny.Adapted("llama", kind, asValues: true);
        Step(values, recipe, rows, values.With(), live: false, 4096, 6, 1, Dropping).MustEqual(expected, Rounding, "over the values of the codes");

        static ForwardOptions Dropping(TokenBatch batch) => new() { AdapterNoise = new AdapterDropout(3).For(batch, 2) };
    }

    [Theory, MemberData(nameof(Objectives))]
    public void Several_workers_have_the_gradient_of_one(TrainingMethod method, string options)
    {
        using var config = JsonDocument.Parse(options);
        var recipe = PreferenceCase.Recipe(method, null, config.RootElement);
        using var policy = Tiny.Model("llama", 1);
        using var reference = Tiny.Model("llama", 2);
        var rows = Rows(method, 5);
        if (PreferenceObjective.Create(recipe) is { NeedsReference: true } referenced)
            rows = PreferenceCase.Referenced(rows, reference, referenced);
        StepRows step = new(0, 0, [[0, 1, 2], [3, 4]], 1);
        var (expected, metrics) = Run(policy, Workers.Alone);
        // each with rows of its own, and sharing their tokens
        foreach (var (workers, size) in (ReadOnlySpan<(int, int)>)[(2, 1), (2, 2), (4, 2), (4, 4)])
            foreach (var (result, its) in WorkerPair.Run(workers, its =>
            {
                using var scope = TensorScope.Enter();
                using var own = Tiny.Model("llama", 1);
                return Run(own, its.InGroupsOf(size));
            }))
                MustEqual(result, its, $"{workers} workers, {size} for a row");

        void MustEqual(StepResult result, MetricSums its, string what)
        {
            result.MustEqual(expected, Rounding, what);
            Assert.Equal(metrics.All.Select(metric => metric.Name), its.All.Select(metric => metric.Name));
            Assert.All(metrics.All.Zip(its.All),
                pair => Assert.Equal(pair.First.Sum.Value, pair.Second.Sum.Value, 1e-9 * Math.Max(1, Math.Abs(pair.First.Sum.Value))));
            Assert.Equal(metrics.All.Select(metric => metric.Count.Value), its.All.Select(metric => metric.Count.Value));
        }

        (StepResult Result, MetricSums Metrics) Run(Decoder model, Workers workers)
        {
            var preference = new PreferenceMethod("test", PreferenceObjective.Create(recipe));
            var sums = new MetricSums();
            model.Parameters.ClearGradients();
            var pass = new LossPass { Training = true, Metrics = sums, Workers = workers };
            var done = StepSums.Run(model, preference, BatchLoader.Lay(rows, step, preference, 60, workers).Groups, pass);
            model.Parameters.SettleGradients();
            return (new(done.Loss, model.Parameters.Specs.ToDictionary(s => s.Name,
                s => model.Parameters[s.Name].Gradient!.ToArray<double>())), workers.Sum(sums));
        }
    }

    private static StepResult Step(Decoder policy, Recipe recipe, ITokenRows rows, Decoder reference, bool live, int maxTokens, int batch,
        int accumulation, Func<TokenBatch, ForwardOptions>? forward = null)
    {
        var objective = PreferenceObjective.Create(recipe);
        var options = recipe.Preference;
        using var moved = options.SyncRefModel ? Tiny.Model("llama", 2) : null;
        if (moved is not null)
        {
            // TR-DPO: the step after one at which the reference moved, with the moved weights in memory, or with their scores of before the
            // step.
            reference = moved;
            var following = new LiveReference(moved, options.RefModelSyncSteps, options.RefModelMixupAlpha);
            PreferenceCase.Step(policy, new PreferenceMethod("test", objective, following), rows, maxTokens, batch, accumulation);
            following.AfterStep(policy, options.RefModelSyncSteps);
        }
        var kept = live && objective.NeedsReference ? new LiveReference(reference) : null;        // not disposed: the model is the caller's
        if (kept is null && objective.NeedsReference)
            rows = PreferenceCase.Referenced(rows, reference, objective);
        var (loss, _, _) = PreferenceCase.Step(policy, new PreferenceMethod("test", objective, kept), rows, maxTokens, batch, accumulation,
            forward);
        return new(loss, Tiny.Gradients(policy));
    }

    /// <summary>Rows of random tokens: answers of different lengths, one of a single token, one prompt of a single token.</summary>
    internal static ITokenRows Rows(TrainingMethod method, int count)
    {
        var random = new Random(5);
        var answers = Enumerable.Range(0, 2 * count).Select(i => Tokens(i == 3 ? 1 : random.Next(2, 9))).ToArray();
        return new TokenRowList([.. Enumerable.Range(0, count).Select(i =>
        {
            var prompt = Tokens(i == 1 ? 1 : random.Next(2, 12));
            return method is TrainingMethod.Kto or TrainingMethod.Bco
                ? PreferenceCase.Unpaired(prompt, answers[i], i % 3 != 0, method == TrainingMethod.Kto ? answers[(i + count - 1) % count]
                    : null)
                : PreferenceCase.Pair(prompt, answers[i], answers[i + count], promptLoss: method == TrainingMethod.Orpo);
        })]);

        int[] Tokens(int length) => [.. Enumerable.Range(0, length).Select(_ => random.Next(Tiny.Vocabulary))];
    }
}
