using Handbook.Base;
using Handbook.Data;
using Handbook.Training.Methods.Bco;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Methods.Preferences;

[Collection("tensors")]
public sealed class DensityRatiosTests
{
    [Fact]
    public void Prompts_that_only_bad_answers_have_weigh_least_and_those_like_good_ones_most()
    {
        // rows 0–19: good answers to prompts of tokens 1–3; 20–39: bad ones to prompts of tokens 10–12; 40–41: bad ones to prompts like the
        // good ones
        var rows = Rows(40, i => i < 20, i => i < 20 ? 1 : 10, (1, false), (1, false));

        var ratios = Compute(rows, 0.5, 10, 4096);

        Assert.All(ratios.Train[..20], weight => Assert.Equal(1, weight));                      // good answers are never weighed
        Assert.All(ratios.Train[20..40], weight => Assert.Equal(0.5, weight));
        Assert.All(ratios.Train[40..], weight => Assert.True(weight > 1, $"{weight}"));
        Assert.Equal((0.5, ratios.Train[20..].Max()), (ratios.Least, ratios.Greatest));
    }

    [Fact]
    public void Where_good_and_bad_answers_have_the_same_prompts_every_weight_is_1()
    {
        var prompts = Enumerable.Range(0, 12).Select(i => Prompt(i, 1)).ToArray();
        var rows = new TokenRowList([.. prompts.Select(p => PreferenceCase.Unpaired(p, [4, 5], true)),
            .. prompts.Select(p => PreferenceCase.Unpaired(p, [6], false))]);

        Assert.All(Compute(rows, 0.1, 10, 4096).Train, weight => Assert.Equal(1, weight, 1e-4));       // as near as the fit stops
    }

    [Fact]
    public void Weights_do_not_depend_on_bins_and_hold_for_held_out_rows()
    {
        var rows = Rows(30, i => i % 2 == 0, i => i % 2 == 0 ? 1 : 10);
        var expected = Compute(rows, 0.01, 100, 4096, held: rows);

        var parts = Compute(rows, 0.01, 100, 1);

        Assert.All(expected.Train.Zip(parts.Train), pair => Assert.Equal(pair.First, pair.Second, 1e-6));
        Assert.Equal(expected.Train, expected.HeldOut);
        Assert.Equal(expected.Train, Compute(rows, 0.01, 100, 4096).Train);
    }

    [Fact]
    public void Good_answers_alone_are_no_comparison() =>
        Assert.Contains("all 5 training rows with a prompt are good",
            Assert.Throws<InputException>(() => Compute(Rows(5, _ => true, _ => 1), 0.5, 10, 4096)).Message);

    [Fact] // by hand: one point of each kind at ±1: minimise ½w² + 2·log(1 + e^−w), so w = 2/(1 + e^w), which w = 0.6749... solves; b = 0
    public void Two_points_give_the_plane_worked_out_by_hand()
    {
        var classifier = LogisticClassifier.Fit([[1f], [-1f]], [true, false]);

        var w = Math.Log(classifier.Odds([1f]));
        Assert.Equal(2 / (1 + Math.Exp(w)), w, 1e-5);
        Assert.Equal(1, classifier.Odds([0f]), 1e-5);
    }

    [Fact] // both kinds weigh the same: with points that say nothing the odds are 1, not 9
    public void Unequal_numbers_do_not_move_the_odds()
    {
        var points = Enumerable.Range(0, 100).Select(i => new[] { i % 10 * 0.1f }).ToArray();

        var classifier = LogisticClassifier.Fit(points, [.. Enumerable.Range(0, 100).Select(i => i < 90)]);

        Assert.Equal(1, classifier.Odds([0.45f]), 1e-5);
    }

    private static DensityRatios Compute(ITokenRows rows, double least, double most, int maxTokens, ITokenRows? held = null)
    {
        using var model = Tiny.Model("llama", 1);
        var ratios = new DensityRatios();
        ratios.Compute(model, rows, held, least, most, maxTokens);
        return ratios;
    }

    private static TokenRowList Rows(int count, Func<int, bool> isGood, Func<int, int> first, params (int First, bool IsGood)[] more) =>
        new([.. Enumerable.Range(0, count).Select(i => PreferenceCase.Unpaired(Prompt(i, first(i)), [4, 5], isGood(i))),
            .. more.Select((row, i) => PreferenceCase.Unpaired(Prompt(i, row.First), [6], row.IsGood))]);

    /// <summary>A prompt of six of three tokens.</summary>
    private static int[] Prompt(int seed, int first)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, 6).Select(_ => first + random.Next(3))];
    }
}
