using Handbook.Data;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Tests.Methods.Preferences;

/// <summary>What the options of DPO mean, by default and in the releases that meant something else.</summary>
public sealed class DpoOptionsTests
{
    private static readonly ScoredRow s_row = new()
    {
        Row = 0,
        PromptLength = 1,
        Chosen = new() { LogProbs = new[] { -1.0, -2, -3 }, LogSquares = new[] { -0.5, -0.25, -1, -8 }, Reference = -7 },
        Rejected = new() { LogProbs = new[] { -4.0, -5 }, LogSquares = new[] { -2.0, -1, -8 }, Reference = -8 },
    };

    [Fact]
    public void Likelihood_displacement_counts_the_tail_from_the_answer_s_start()
    {
        var objective = Dpo(new() { LdAlpha = 0.5 });
        Assert.Equal(-1 - 2 - 0.5 * 3, objective.Reduce(SegmentRole.Chosen, [-1, -2, -3], 4, 2, reference: false));
        Assert.Equal(-1 - 2 - 0.5 * 3, objective.Reduce(SegmentRole.Chosen, [-1, -2, -3], 4, 2, reference: true));
        Assert.Equal(-9, objective.Reduce(SegmentRole.Rejected, [-4, -5], 4, 3, reference: false));
        Assert.Equal(objective.ReduceKey, Dpo(new() { LdAlpha = 0.5, TrlCompat = TrlRelease.V1_9 }).ReduceKey);
    }

    [Fact] // behind one prompt token the answer stands at places 1 to 3, of which 0 and 1 are shared and 3 is beyond the answer's length
    public void Likelihood_displacement_of_0_24_counts_from_the_row_s_start_and_leaves_the_reference()
    {
        var objective = Dpo(new() { LdAlpha = 0.5, TrlCompat = TrlRelease.V0_24 });
        Assert.Equal(-1 - 0.5 * 2, objective.Reduce(SegmentRole.Chosen, [-1, -2, -3], 1, 2, reference: false));
        Assert.Equal(-6, objective.Reduce(SegmentRole.Chosen, [-1, -2, -3], 1, 2, reference: true));
    }

    [Fact] // peers.md 4.3, 26
    public void Number_26_the_key_of_cached_scores_changes_with_what_they_depend_on()
    {
        var keys = new[]
        {
            new PreferenceOptions(), new() { LdAlpha = 0.5 }, new() { LdAlpha = 0.25 },
                new() { LossType = ["ipo"], TrlCompat = TrlRelease.V0_24 },
        }.Select(options => Dpo(options).ReduceKey).ToList();
        Assert.Equal(keys.Count, keys.Distinct().Count());
        Assert.Equal(keys[0], Dpo(new() { LossType = ["hinge"], Beta = 0.5 }).ReduceKey);
        Assert.Equal(keys[0], Dpo(new() { LdAlpha = 0.5, TrlCompat = TrlRelease.V0_24 }).ReduceKey);    // its reference is whole
    }

    [Fact] // chosen: ½·…: mean(−1+½, −2+¼, −3+1) = −17/12; rejected: mean(−4+2, −5+1) = −3
    public void Wpo_weighs_by_the_aligned_probabilities()
    {
        Assert.Equal(Math.Exp(-17.0 / 12 - 3), Loss(new() { UseWeighting = true }) / Loss(new()), 1e-12);
        Assert.Equal(Math.Exp(-17.0 / 12 - 3), Loss(new() { UseWeighting = true, TrlCompat = TrlRelease.V1_9 }) / Loss(new()), 1e-12);
    }

    [Fact] // the log-probabilities come one place late: mean(0+½, −1+¼, −2+1) = −5/12 and mean(0+2, −4+1) = −½
    public void Wpo_of_0_24_is_one_place_late()
    {
        Assert.Equal(Math.Exp(-5.0 / 12 - 0.5), Loss(new() { UseWeighting = true, TrlCompat = TrlRelease.V0_24 }) / Loss(new()), 1e-12);
        var sure = s_row with
        {
            Chosen = s_row.Chosen! with { LogSquares = new double[] { -9, -9, -9, -9 } },
            Rejected = s_row.Rejected! with { LogSquares = new double[] { -9, -9, -9 } }
        };
        Assert.Equal(1, Loss(new() { UseWeighting = true, TrlCompat = TrlRelease.V0_24 }, sure) / Loss(new()), 1e-12);
        Assert.True(Loss(new() { UseWeighting = true }, sure) / Loss(new()) > 1);
    }

    [Fact]
    public void Smoothing_keeps_its_meaning_but_in_1_9()
    {
        Assert.NotEqual(Loss(new()), Loss(new() { LabelSmoothing = 0.1 }));
        Assert.Equal(Loss(new() { LabelSmoothing = 0.1 }), Loss(new() { LabelSmoothing = 0.1, TrlCompat = TrlRelease.V0_24 }));
        Assert.Equal(Loss(new()), Loss(new() { LabelSmoothing = 0.1, TrlCompat = TrlRelease.V1_9 }));
    }

    [Fact] // −(−6)/3 tokens
    public void Rpo_alpha_is_the_sft_loss_with_that_weight()
    {
        Assert.Equal(Loss(new()) + 0.7 * 2, Loss(new() { RpoAlpha = 0.7 }), 1e-12);
        Assert.Equal(Loss(new() { LossType = ["sigmoid", "sft"], LossWeights = [1, 0.7] }), Loss(new() { RpoAlpha = 0.7 }), 1e-12);
        Assert.Equal(2, Metrics(new() { RpoAlpha = 0.7 })["nll_loss"]);
    }

    [Fact]
    public void Rewards_are_the_plain_log_ratios_whatever_the_loss()
    {
        foreach (var options in new PreferenceOptions[]
        {
            new(), new() { LossType = ["ipo"] }, new() { FDivergenceType = Divergence.JensenShannon },
                new() { LossType = ["sigmoid", "hinge"], LossWeights = [2, 3] },
            new() { LossType = ["sigmoid", "hinge"], LossWeights = [2, 3], TrlCompat = TrlRelease.V1_9 },
        })
        {
            var metrics = Metrics(options);
            Assert.Equal(0.1, metrics["rewards/chosen"], 1e-12);
            Assert.Equal(-0.1, metrics["rewards/rejected"], 1e-12);
            Assert.Equal(0.2, metrics["rewards/margins"], 1e-12);
            Assert.Equal((1, -6, -9), (metrics["rewards/accuracies"], metrics["logps/chosen"], metrics["logps/rejected"]));
        }
        Assert.Equal(0.5,
            Metrics(new() { LossType = ["sigmoid", "hinge"], LossWeights = [2, 3], TrlCompat = TrlRelease.V0_24 })["rewards/chosen"],
            1e-12);
    }

    [Fact]
    public void Equal_rewards_are_no_hit() =>
        Assert.Equal(0, Metrics(new(), s_row with { Rejected = s_row.Chosen })["rewards/accuracies"]);

    [Fact]
    public void Without_reference_nothing_of_it_is_read_but_in_0_24()
    {
        Assert.False(Dpo(new() { ReferenceFree = true }).NeedsReference);
        Assert.Equal(-0.6, Metrics(new() { ReferenceFree = true })["rewards/chosen"], 1e-12);
        Assert.True(Dpo(new() { ReferenceFree = true, TrlCompat = TrlRelease.V0_24 }).NeedsReference);
        Assert.Equal(0.1, Metrics(new() { ReferenceFree = true, TrlCompat = TrlRelease.V0_24 })["rewards/chosen"], 1e-12);
        Assert.Equal(Loss(new() { ReferenceFree = true }), Loss(new() { ReferenceFree = true, TrlCompat = TrlRelease.V0_24 }), 1e-12);
    }

    [Fact] // rewards 0.1 and −0.1: the first batch's mean is 0
    public void Bco_pair_has_a_running_mean_in_0_24_only()
    {
        var objective = Dpo(new() { LossType = ["bco_pair"], TrlCompat = TrlRelease.V0_24 });
        objective.State = [0.4, 3];
        objective.Evaluate([s_row], SomeRows.Totals([s_row]), training: true, null, null);
        Assert.Equal(0.3, objective.State[0], 1e-12);
        Assert.Equal(4, objective.State[1]);
        Assert.True(objective.CouplesRows);
        Assert.Empty(Dpo(new() { LossType = ["bco_pair"] }).State);
        Assert.False(Dpo(new() { LossType = ["bco_pair"] }).CouplesRows);
    }

    private static double Loss(PreferenceOptions options, ScoredRow? row = null) =>
        Dpo(options).Evaluate([row ?? s_row], SomeRows.Totals([s_row]), true, null, null);

    private static Dictionary<string, double> Metrics(PreferenceOptions options, ScoredRow? row = null)
    {
        var metrics = new MetricSums();
        Dpo(options).Evaluate([row ?? s_row], SomeRows.Totals([s_row]), true, metrics, null);
        return metrics.Means.ToDictionary(m => m.Name, m => m.Mean);
    }

    private static IPreferenceObjective Dpo(PreferenceOptions options) =>
        PreferenceObjective.Create(new MethodOptions { Method = TrainingMethod.Dpo, Preference = options });
}
