using Handbook.Training.Methods;
using Handbook.Training.Methods.Bco;
using Handbook.Training.Methods.Orpo;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Tests.Methods.Preferences;

/// <summary>KTO and BCO, whose rows have one answer each; and what ORPO's likelihood covers.</summary>
public sealed class SingleAnswerTests
{
    private static AnswerScore Answer(double score, double reference) => new() { LogProbs = new[] { score }, Reference = reference };

    [Fact] // ρ′ = 1 and 2, z = 1.5: 1 − σ(½(2 − 1.5)) for the good answer, 0.8·[1 − σ(½(1.5 + 1))] for the bad one
    public void Kto_measures_answers_against_the_mismatched_ones()
    {
        List<ScoredRow> rows =
        [
            new() { Row = 0, Chosen = Answer(-1, -3), Mismatched = Answer(-4, -5) },
            new() { Row = 1, Rejected = Answer(-4, -3), Mismatched = Answer(-4, -6) },
        ];
        var metrics = new MetricSums();
        var objective = Create(TrainingMethod.Kto, new() { Beta = 0.5, UndesirableWeight = 0.8 });
        var loss = objective.Evaluate(rows, SomeRows.Totals(rows), true, metrics, null);
        Assert.Equal((1 - Sigmoid(0.25) + 0.8 * (1 - Sigmoid(1.25))) / 2, loss, 1e-12);
        var means = metrics.Means.ToDictionary(m => m.Name, m => m.Mean);
        Assert.Equal((1.5, 1.0, -0.5, 1.5), (means["kl"], means["rewards/chosen"], means["rewards/rejected"], means["rewards/margins"]));
        Assert.True(objective.NeedsMismatched);
        Assert.False(Create(TrainingMethod.Kto, new() { LossType = ["apo_zero_unpaired"] }).NeedsMismatched);
    }

    [Fact] // parity trap 4: the mean is clamped, not its members
    public void Kto_s_reference_point_is_clamped_after_the_mean()
    {
        List<ScoredRow> rows =
        [
            new() { Row = 0, Chosen = Answer(-1, -3), Mismatched = Answer(-4, -5) },
            new() { Row = 1, Chosen = Answer(-1, -3), Mismatched = Answer(-9, -6) },
        ];
        var metrics = new MetricSums();
        Create(TrainingMethod.Kto, new()).Evaluate(rows, SomeRows.Totals(rows), true, metrics, null);
        Assert.Equal(0, metrics.Means.First(m => m.Name == "kl").Mean);
    }

    [Fact] // rewards 1 and −½, then 2: δ = ¼ over two, then ½ over three
    public void Bco_s_delta_is_the_mean_of_all_rewards_seen_and_moves_in_training_only()
    {
        List<ScoredRow> first = [new() { Row = 0, Chosen = Answer(-1, -3) }, new() { Row = 1, Rejected = Answer(-4, -3) }];
        List<ScoredRow> second = [new() { Row = 2, Chosen = Answer(-1, -5) }];
        var objective = Create(TrainingMethod.Bco, new() { Beta = 0.5 });
        var loss = objective.Evaluate(first, SomeRows.Totals(first), true, null, null);
        Assert.Equal((-Math.Log(Sigmoid(0.75)) - Math.Log(Sigmoid(0.75))) / 2, loss, 1e-12);
        objective.Evaluate(second, SomeRows.Totals(second), false, null, null);
        Assert.Equal([0.25, 2], objective.State);
        objective.Evaluate(second, SomeRows.Totals(second), true, null, null);
        Assert.Equal(2.5 / 3, objective.State[0], 1e-12);

        var resumed = Create(TrainingMethod.Bco, new() { Beta = 0.5 });
        resumed.State = objective.State;
        Assert.Equal(objective.Evaluate(first, SomeRows.Totals(first), true, null, null),
            resumed.Evaluate(first, SomeRows.Totals(first), true, null, null));
    }

    [Fact]
    public void Bco_s_density_ratio_weighs_bad_answers_by_row()
    {
        List<ScoredRow> rows = [new() { Row = 0, Chosen = Answer(-1, -3) }, new() { Row = 7, Rejected = Answer(-4, -3) }];
        var plain = new BcoObjective(new()).Evaluate(rows, SomeRows.Totals(rows), false, null, null);
        var weighed = new BcoObjective(new(), row => row == 7 ? 3 : throw new ArgumentException("a good answer has no ratio"))
            .Evaluate(rows, SomeRows.Totals(rows), false, null, null);
        Assert.Equal(plain + 2 * -Math.Log(Sigmoid(0.1)) / 2, weighed, 1e-12);
    }

    [Fact] // prompt −1, chosen −2 −4, rejected −3: whole text (1 + 6)/3 tokens, completion 6/2
    public void Orpo_s_likelihood_covers_the_prompt_unless_told_otherwise()
    {
        var row = new ScoredRow
        {
            Row = 0,
            PromptLogProbs = new[] { -1.0 },
            Chosen = new() { LogProbs = new[] { -2.0, -4 } },
            Rejected = new() { LogProbs = new[] { -3.0 } },
        };
        Assert.Equal((7.0 / 3, 3.0), (Nll(OrpoNll.PromptAndCompletion), Nll(OrpoNll.Completion)));
        // log p̄ = −3 on both sides: equal odds, so −β·log σ(0)
        Assert.Equal(7.0 / 3 + 0.1 * Math.Log(2),
            Create(TrainingMethod.Orpo, new()).Evaluate([row], SomeRows.Totals([row]), true, null, null), 1e-12);

        double Nll(OrpoNll kind)
        {
            var metrics = new MetricSums();
            Create(TrainingMethod.Orpo, new() { OrpoNll = kind }).Evaluate([row], SomeRows.Totals([row]), true, metrics, null);
            return metrics.Means.First(m => m.Name == "nll_loss").Mean;
        }
    }

    [Fact]
    public void Alphapo_is_simpo_without_likelihood()
    {
        var simpo = new PreferenceOptions { LossType = ["simpo"], CpoAlpha = 0, Alpha = 0.25 };
        var rows = SomeRows.Pairs(1, 4, Create(TrainingMethod.Cpo, simpo));
        Assert.Equal(Loss(simpo), Loss(simpo with { LossType = ["alphapo"], CpoAlpha = 1 }));

        double Loss(PreferenceOptions options) =>
            Create(TrainingMethod.Cpo, options).Evaluate(rows, SomeRows.Totals(rows), true, null, null);
    }

    private static IPreferenceObjective Create(TrainingMethod method, PreferenceOptions options) =>
        PreferenceObjective.Create(new MethodOptions { Method = method, Preference = options });

    private static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));
}
