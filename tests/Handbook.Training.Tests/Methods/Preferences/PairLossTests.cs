using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Tests.Methods.Preferences;

/// <summary>The losses without recorded values, worked by hand; and laws that tie losses together.</summary>
public sealed class PairLossTests
{
    private const double Beta = 0.5;

    [Fact] // ρ = 2 and −1, h = ½·3 = 1.5: loss = ln(1 + e^−1.5)
    public void Sigmoid_matches_a_pair_worked_by_hand() => Is(0.2014132779827524, new());

    [Fact] // 0.9·ln(1 + e^−1.5) + 0.1·ln(1 + e^1.5)
    public void Smoothed_sigmoid_matches_a_pair_worked_by_hand() =>
        Is(0.9 * 0.2014132779827524 + 0.1 * 1.7014132779827524, new() { LabelSmoothing = 0.1 });

    [Fact] // r = 1 and −½: ln(1 + e^−1) + ½ ln(1 + e^1) + ½ ln(1 + e^−½)
    public void Nca_matches_a_pair_worked_by_hand() =>
        Is(0.31326168751822286 + 0.5 * 1.3132616875182228 + 0.5 * 0.4740769841801067, new() { LossType = ["nca_pair"] });

    [Fact] // σ(1) + 1 − σ(1.5)
    public void Apo_down_matches_a_pair_worked_by_hand() =>
        Is(0.7310585786300049 + 1 - 0.8175744761936437, new() { LossType = ["apo_down"] });

    [Fact] // κ = σ(1.5 / 0.5) = σ(3): (1−κ)·ln(1 + e^−1.5) + κ·e^−1.5
    public void Discopop_matches_a_pair_worked_by_hand() =>
        Is((1 - 0.9525741268224334) * 0.2014132779827524 + 0.9525741268224334 * 0.22313016014842982,
            new() { LossType = ["discopop"], DiscopopTau = 0.5 });

    [Fact] // z = max(0, 2) for bad answers, max(0, −1) = 0 for good ones: half of [1 − σ(½·2)] + [1 − σ(½·(2 + 1))]
    public void Kto_pair_matches_a_pair_worked_by_hand() =>
        Is((1 - 0.7310585786300049 + 1 - 0.8175744761936437) / 2, new() { LossType = ["kto_pair"] });

    [Fact] // 3 and 2 tokens: Δ = 2/3 + 1/2, so ln(1 + e^(−½·7/6))
    public void Sigmoid_norm_divides_each_side_by_its_length()
    {
        var objective = Dpo(new() { LossType = ["sigmoid_norm"], Beta = Beta });
        var row = new ScoredRow
        {
            Row = 0,
            Chosen = new() { LogProbs = new[] { -1.0, -1, -1 }, Reference = -5 },
            Rejected = new() { LogProbs = new[] { -2.0, -2 }, Reference = -3 },
        };
        Assert.Equal(Math.Log(1 + Math.Exp(-7.0 / 12)), objective.Evaluate([row], SomeRows.Totals([row]), false, null, null), 1e-12);
    }

    [Fact] // margins 5 and −1 meet the reference's 3 and 0, both in order: −1 − 0 and 5 − 3
    public void Aot_compares_sorted_margins()
    {
        List<ScoredRow> rows = [SomeRows.Pair(-1, -6, -4, -4), SomeRows.Pair(-3, -2, -1, -4)];
        var loss = Dpo(new() { LossType = ["aot"], Beta = 1 }).Evaluate(rows, SomeRows.Totals(rows), false, null, null);
        Assert.Equal((Math.Log(1 + Math.E) + Math.Log(1 + Math.Exp(-2))) / 2, loss, 1e-12);
    }

    [Fact] // ρ_w = 3, −2 and ρ_l = −2, 2 sort to −2 − −2 and 3 − 2
    public void Unpaired_aot_compares_sorted_log_ratios()
    {
        List<ScoredRow> rows = [SomeRows.Pair(-1, -6, -4, -4), SomeRows.Pair(-3, -2, -1, -4)];
        var loss = Dpo(new() { LossType = ["aot_pair"], Beta = 1 }).Evaluate(rows, SomeRows.Totals(rows), false, null, null);
        Assert.Equal((Math.Log(2) + Math.Log(1 + Math.Exp(-1))) / 2, loss, 1e-12);
    }

    [Fact]
    public void Swapped_pairs_have_probabilities_that_sum_to_one()
    {
        var objective = Dpo(new());
        for (var seed = 0; seed < 50; seed++)
        {
            var row = SomeRows.Pairs(seed, 1, objective)[0];
            var sum = Math.Exp(-Loss(row)) + Math.Exp(-Loss(row with { Chosen = row.Rejected, Rejected = row.Chosen }));
            Assert.Equal(1, sum, 1e-12);
        }

        double Loss(ScoredRow row) => objective.Evaluate([row], SomeRows.Totals([row]), false, null, null);
    }

    [Fact]
    public void Exo_without_smoothing_takes_a_thousandth() =>
        Assert.Equal(Loss(new() { LossType = ["exo_pair"], LabelSmoothing = 1e-3 }), Loss(new() { LossType = ["exo_pair"] }));

    [Fact]
    public void Robust_without_smoothing_is_sigmoid() => Assert.Equal(Loss(new()), Loss(new() { LossType = ["robust"] }), 1e-12);

    [Fact] // g(ρ) near α = 1 tends to ρ plus a constant that the difference loses
    public void Alpha_divergence_tends_to_reverse_kl() => Assert.Equal(
        Loss(new()), Loss(new() { FDivergenceType = Divergence.Alpha, FAlphaDivergenceCoef = 1 - 1e-5 }), 1e-4);

    [Fact] // α of 0.24 is 1 − α
    public void Alpha_divergence_of_0_24_counts_from_the_other_end() => Assert.Equal(
        Loss(new() { FDivergenceType = Divergence.Alpha, FAlphaDivergenceCoef = 0.3 }),
        Loss(new() { FDivergenceType = Divergence.Alpha, FAlphaDivergenceCoef = 0.7, TrlCompat = TrlRelease.V0_24 }), 1e-12);

    [Theory] // to sixteen digits, from Python's math.log1p and math.expm1
    [InlineData(-0.3, -1.3502256128148467), InlineData(-0.8, -0.5966176791889755), InlineData(-1e-5, -11.512930464966061),
        InlineData(-40.0, -4.248354255291589e-18)]
    public void Log_of_one_minus_exp_keeps_its_digits(double x, double expected) =>
        Assert.Equal(1, Dual.Log1MExp(x).Value / expected, 1e-14);

    [Theory, InlineData(40.0, -4.248354255291589e-18), InlineData(-40.0, -40.0), InlineData(0.0, -0.6931471805599453),
        InlineData(-1e4, -1e4)]
    public void Log_sigmoid_keeps_its_digits(double x, double expected) => Assert.Equal(1, Dual.LogSigmoid(x).Value / expected, 1e-14);

    // ρ = 2 for the chosen answer, −1 for the rejected one, one token each
    private static double Loss(PreferenceOptions options)
    {
        var row = SomeRows.Pair(-3, -4, -5, -3);
        return Dpo(options with { Beta = Beta }).Evaluate([row], SomeRows.Totals([row]), false, null, null);
    }

    private static void Is(double expected, PreferenceOptions options) => Assert.Equal(expected, Loss(options), 1e-12);

    private static IPreferenceObjective Dpo(PreferenceOptions options) =>
        PreferenceObjective.Create(new MethodOptions { Method = TrainingMethod.Dpo, Preference = options });
}
