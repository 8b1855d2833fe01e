using System.Text.Json;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Methods;

/// <summary>What is equal compares as equal: the policy with a reference of the same weights, an answer with itself, a row with its
/// copy.</summary>
[Collection("tensors")]
public sealed class EqualScoresTests
{
    public static TheoryData<TrainingMethod, string, double> Begins() => new()
    {
        { TrainingMethod.Dpo, "{}", Math.Log(2) },
        { TrainingMethod.Dpo, """{"trl_compat": "0.24"}""", Math.Log(2) },
        { TrainingMethod.Dpo, """{"ld_alpha": 0.5}""", Math.Log(2) },
        { TrainingMethod.Dpo, """{"loss_type": "aot"}""", Math.Log(2) },
        { TrainingMethod.Dpo, """{"loss_type": "bco_pair", "trl_compat": "0.24"}""", 2 * Math.Log(2) },
        { TrainingMethod.Kto, "{}", 0.5 },
        { TrainingMethod.Kto, """{"loss_type": "apo_zero_unpaired"}""", 0.5 },
        { TrainingMethod.Bco, "{}", Math.Log(2) },
    };

    [Theory, MemberData(nameof(Begins))]
    public void Before_the_first_update_every_reward_is_zero_whatever_the_reference_was_scored_with(TrainingMethod method, string options,
        double loss)
    {
        using var config = JsonDocument.Parse(options);
        var recipe = PreferenceCase.Recipe(method, null, config.RootElement);
        using var policy = Tiny.Model("llama", dtype: DType.Float32);
        // scores of other bins than those of the step: their last bits differ, and these are far off to make sure that they are not read
        var rows = new ReferencedRows(PreferenceContractTests.Rows(method, 12),
            [.. Enumerable.Range(0, 12).Select(i => (ReferenceScore?)new ReferenceScore(-i, i, 3))]);
        foreach (var maxTokens in (ReadOnlySpan<int>)[4096, 60])
        {
            var begins = new PreferenceMethod("test", PreferenceObjective.Create(recipe), beginsAsReference: true);
            var (first, metrics) = Step(policy, begins, rows, maxTokens, isUntrained: true);
            Assert.Equal(loss, first, 1e-12);
            foreach (var (name, mean) in metrics.Means.Where(m => m.Name.StartsWith("rewards/", StringComparison.Ordinal)
                || m.Name is "kl" or "delta"))
                Assert.True(mean == 0, $"{name} is {mean}");
            Assert.NotEqual(loss, Step(policy, begins, rows, maxTokens, isUntrained: false).Loss, 1e-3);
        }
        Assert.NotEqual(loss,
            Step(policy, new PreferenceMethod("test", PreferenceObjective.Create(recipe)), rows, 4096, isUntrained: true).Loss, 1e-3);
    }

    public static TheoryData<TrainingMethod, string> Pairs() => new()
    {
        { TrainingMethod.Dpo, "{}" },
        { TrainingMethod.Dpo, """{"use_weighting": true}""" },
        { TrainingMethod.Orpo, "{}" },
        { TrainingMethod.Cpo, """{"loss_type": "simpo"}""" },
    };

    [Theory, MemberData(nameof(Pairs))]
    public void Answers_of_the_same_tokens_have_the_same_log_probability_and_neither_is_better(TrainingMethod method, string options)
    {
        using var config = JsonDocument.Parse(options);
        var objective = PreferenceObjective.Create(PreferenceCase.Recipe(method, null, config.RootElement));
        using var policy = Tiny.Model("llama", dtype: DType.Float32);
        using var reference = Tiny.Model("llama", 2, dtype: DType.Float32);
        var random = new Random(3);
        ITokenRows rows = new TokenRowList([.. Enumerable.Range(0, 9).Select(_ => Equal(random, method == TrainingMethod.Orpo))]);
        foreach (var separate in (ReadOnlySpan<bool>)[false, true])
        {
            var laid = separate ? new SeparatePrompts(rows) : rows;
            if (objective.NeedsReference)
                laid = PreferenceCase.Referenced(laid, reference, objective);
            foreach (var maxTokens in (ReadOnlySpan<int>)[4096, 50])
            {
                var means = Step(policy, new PreferenceMethod("test", objective), laid, maxTokens, isUntrained: false)
                    .Metrics.Means.ToDictionary(m => m.Name, m => m.Mean);
                Assert.Equal(means["logps/chosen"], means["logps/rejected"]);
                Assert.Equal(means["rewards/chosen"], means["rewards/rejected"]);
                Assert.Equal((0, 0), (means["rewards/margins"], means["rewards/accuracies"]));
            }
        }
    }

    [Fact]
    public void The_first_of_two_equal_answers_decides_what_both_have()
    {
        var row = Equal(new Random(1), promptLoss: false);
        var other = PreferenceCase.Pair([1, 2], [3, 4, 5], [3, 4, 6]);
        var batch = BatchBuilder.Build(new TokenRowList([other, row]), [0, 1]);
        var places = new AnswerPlaces(batch, withEnd: false);
        var statistics = new HeadStatistics(places.Count);
        for (var i = 0; i < places.Count; i++)
            statistics.LogProb[i] = -i;

        ReferenceReading.Level(places, statistics, number => number == 0 ? other : row);

        var spans = places.Spans.Where(span => span.Count > 0).ToArray();
        Assert.NotEqual(Values(spans[0]), Values(spans[1]));
        Assert.Equal(Values(spans[2]), Values(spans[3]));
        Assert.Equal(-spans[2].First, statistics.LogProb[spans[3].First]);

        double[] Values(AnswerPlaces.Span span) => statistics.LogProb[span.First..(span.First + span.Count)];
    }

    [Fact]
    public void Equal_texts_have_the_same_reward_and_neither_is_better()
    {
        using var model = Tiny.Model("llama", dtype: DType.Float32, head: ModelHead.Score);
        var random = new Random(2);
        var rows = new TokenRowList([.. Enumerable.Range(0, 7).Select(_ => Equal(random, promptLoss: false))]);

        var means = Step(model, new RewardMethod(), rows, 4096, isUntrained: false).Metrics.Means.ToDictionary(m => m.Name, m => m.Mean);

        Assert.Equal((0, 0), (means["margin"], means["accuracy"]));
    }

    public static TheoryData<TrainingMethod, string> Repeated() => new()
    {
        { TrainingMethod.Dpo, "{}" },
        { TrainingMethod.Orpo, "{}" },
        { TrainingMethod.Cpo, "{}" },
        { TrainingMethod.Kto, "{}" },
        { TrainingMethod.Reward, "{}" },
    };

    // a step over the end of an epoch may hold the last rows of one and the first of the next, which are some of the same
    [Theory, MemberData(nameof(Repeated))]
    public void A_row_that_stands_twice_in_a_step_counts_as_two_rows(TrainingMethod method, string options)
    {
        using var config = JsonDocument.Parse(options);
        using var model = Tiny.Model("llama", head: method == TrainingMethod.Reward ? ModelHead.Score : ModelHead.Language);
        var all = PreferenceContractTests.Rows(method == TrainingMethod.Reward ? TrainingMethod.Dpo : method, 4);
        ITrainingMethod trained = method == TrainingMethod.Reward ? new RewardMethod()
            : new PreferenceMethod("test", PreferenceObjective.Create(PreferenceCase.Recipe(method, null, config.RootElement)));
        ITokenRows rows = new ReferencedRows(all,
            [.. Enumerable.Range(0, 4).Select(i => (ReferenceScore?)new ReferenceScore(-i, i - 9, -2))]);
        var copies = new TokenRowList([.. new[] { 3, 1, 3, 3, 0 }.Select(rows.Read)]);

        foreach (var maxTokens in (ReadOnlySpan<int>)[4096, 60, 1])
        {
            var expected = Tiny.Step(model, trained, BatchLoader.Lay(copies, new StepRows(0, 0, [[0, 1, 2, 3, 4]], 1), trained, maxTokens));
            Tiny.Step(model, trained, BatchLoader.Lay(rows, new StepRows(0, 0, [[3, 1, 3], [3, 0]], 1), trained, maxTokens))
                .MustEqual(expected, 1e-10, $"{maxTokens} tokens at once");
        }
    }

    private static (double Loss, MetricSums Metrics) Step(Decoder model, ITrainingMethod method, ITokenRows rows, int maxTokens,
        bool isUntrained)
    {
        model.Parameters.ClearGradients();
        var pass = new LossPass { Training = true, Metrics = new MetricSums(), IsUntrained = isUntrained };
        foreach (var group in Tiny.Whole(rows, method, maxTokens).Groups)
            method.Run(model, group, pass);
        return (pass.Loss, pass.Metrics);
    }

    private static TokenRow Equal(Random random, bool promptLoss)
    {
        int[] answer = Tokens(random.Next(2, 9));
        return PreferenceCase.Pair(Tokens(random.Next(2, 12)), answer, [.. answer], promptLoss);

        int[] Tokens(int length) => [.. Enumerable.Range(0, length).Select(_ => random.Next(Tiny.Vocabulary))];
    }
}
