using Handbook.Data;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Grpo;

namespace Handbook.Training.Tests.Methods.Grpo;

public sealed class GrpoObjectiveTests
{
    public static TheoryData<GrpoAggregation, RatioLevel, double?, double, bool> Options()
    {
        var data = new TheoryData<GrpoAggregation, RatioLevel, double?, double, bool>();
        foreach (var aggregation in Enum.GetValues<GrpoAggregation>())
            foreach (var level in Enum.GetValues<RatioLevel>())
                foreach (var delta in (double?[])[null, 1.6])
                    foreach (var beta in (double[])[0, 0.3])
                        foreach (var onPolicy in (bool[])[false, true])
                            data.Add(aggregation, level, delta, beta, onPolicy);
        return data;
    }

    [Fact] // by hand: ratios e^0.1 = 1.10517 (kept) and e^0.5 = 1.64872 (cut to 1.2), A = 2, both over two tokens: −2·(1.10517 + 1.2)/2
    public void A_ratio_above_the_clip_range_counts_no_further()
    {
        var answers = new[] { Answer([-1.0, -1.0], 2, old: [-1.1, -1.5]) };
        var gradients = new List<double[]>();
        var metrics = new MetricSums();

        var clipped = new List<(double Low, double High)>();
        var loss = GrpoObjective.Evaluate(new(), answers, Totals(answers), metrics, gradients, clipped);

        Assert.Equal(-2.3051709, loss, 1e-7);
        Assert.Equal([-1.1051709, 0], gradients[0].Select(g => Math.Round(g, 7)));
        var means = metrics.Means.ToDictionary();
        Assert.Equal((0.5, 0.0, 0.5), (means["clip_ratio/high_mean"], means["clip_ratio/low_mean"], means["clip_ratio/region_mean"]));
        Assert.Equal([(0.0, 0.5)], clipped);
    }

    [Fact] // by hand: on the policy every ratio is 1, so the loss is −mean(A) however tokens are counted
    public void On_the_policy_the_loss_is_minus_the_advantage()
    {
        var answers = new[] { Answer([-1, -2, -3], 1), Answer([-1], -1) };
        var gradients = new List<double[]>();

        Assert.Equal(-(3.0 - 1) / 4,
            GrpoObjective.Evaluate(new() { Aggregation = GrpoAggregation.Dapo }, answers, Totals(answers), null, gradients), 1e-12);
        Assert.Equal([-0.25, -0.25, -0.25], gradients[0]);
        Assert.Equal(0, GrpoObjective.Evaluate(new() { Aggregation = GrpoAggregation.Grpo }, answers, Totals(answers), null, null), 1e-12);
        Assert.Equal(-(3.0 - 1) / (2 * 10), GrpoObjective.Evaluate(new() { Aggregation = GrpoAggregation.DrGrpo, MaxLength = 10 }, answers,
            Totals(answers), null, null), 1e-12);
    }

    [Theory, MemberData(nameof(Options))]
    public void Number_25_the_loss_is_that_of_padded_tensors(GrpoAggregation aggregation, RatioLevel level, double? delta, double beta,
        bool onPolicy)
    {
        var options = new GrpoLoss
        {
            Aggregation = aggregation,
            Level = level,
            Delta = delta,
            Beta = beta,
            Epsilon = 0.1,
            EpsilonHigh = 0.3,
            MaxLength = 9
        };
        for (var seed = 0; seed < 20; seed++)
        {
            var answers = Some(seed, onPolicy);
            Assert.Equal(Padded(options, answers), GrpoObjective.Evaluate(options, answers, Totals(answers), null, null), 1e-12);
        }
    }

    [Theory, MemberData(nameof(Options))]
    public void Number_25_gradients_are_the_finite_differences_of_the_loss(GrpoAggregation aggregation, RatioLevel level, double? delta,
        double beta, bool onPolicy)
    {
        const double step = 1e-6;       // central differences: error about step², and rounding 1e-16 / step
        var options = new GrpoLoss
        {
            Aggregation = aggregation,
            Level = level,
            Delta = delta,
            Beta = beta,
            Epsilon = 0.1,
            EpsilonHigh = 0.3,
            MaxLength = 9
        };
        var answers = Some(3, onPolicy);
        if (onPolicy)       // the old log-probabilities are a constant, which a difference must not move
            answers = [.. answers.Select(answer => answer with { Score = answer.Score with { Old = answer.LogProbs.ToArray() } })];
        var gradients = new List<double[]>();
        GrpoObjective.Evaluate(options, answers, Totals(answers), null, gradients);
        for (var a = 0; a < answers.Length; a++)
            for (var t = 0; t < answers[a].LogProbs.Length; t++)
                Assert.Equal((Moved(a, t, step) - Moved(a, t, -step)) / (2 * step), gradients[a][t], 1e-7);

        double Moved(int a, int t, double by)
        {
            var moved = answers.ToArray();
            var values = answers[a].LogProbs.ToArray();
            values[t] += by;
            moved[a] = answers[a] with { LogProbs = values };
            return GrpoObjective.Evaluate(options, moved, Totals(moved), null, null);
        }
    }

    [Theory, MemberData(nameof(Options))]
    public void Number_13_extreme_ratios_stay_finite(GrpoAggregation aggregation, RatioLevel level, double? delta, double beta,
        bool onPolicy)
    {
        var options = new GrpoLoss { Aggregation = aggregation, Level = level, Delta = delta, Beta = beta };
        foreach (var (now, then) in (ReadOnlySpan<(double, double)>)[(-1e4, 0), (0, -1e4)])
            foreach (var advantage in (double[])[-3, 0, 3])
            {
                SampledAnswerLogProbs[] answers = [Answer([now], advantage, onPolicy ? [] : [then], [then])];
                var gradients = new List<double[]>();
                Assert.True(double.IsFinite(GrpoObjective.Evaluate(options, answers, Totals(answers), new(), gradients)));
                Assert.True(double.IsFinite(gradients[0][0]));
            }
    }

    [Fact]
    public void Answers_that_do_not_count_change_nothing_but_the_numbers()
    {
        SampledAnswerLogProbs[] all = [Answer([-1, -2], 1), Answer([-1, -1, -1], 5) with { Score = new(5, false, [], []) }];
        var gradients = new List<double[]>();

        Assert.Equal(-2.0 / 5, GrpoObjective.Evaluate(new(), all, Totals(all), null, gradients), 1e-12);
        Assert.Equal([0, 0, 0], gradients[1]);
        Assert.Equal(-1.0, GrpoObjective.Evaluate(new() { Aggregation = GrpoAggregation.Bnpo }, all, Totals(all), null, null), 1e-12);
        Assert.Equal(-0.5, GrpoObjective.Evaluate(new() { Aggregation = GrpoAggregation.Grpo }, all, Totals(all), null, null), 1e-12);
    }

    /// <summary>The same loss as a padded trainer writes it: whole tables with a mask, without gradients.</summary>
    private static double Padded(GrpoLoss options, SampledAnswerLogProbs[] answers)
    {
        var (rows, columns) = (answers.Length, answers.Max(answer => answer.LogProbs.Length));
        var (mask, loss) = (new double[rows, columns], new double[rows, columns]);
        for (var i = 0; i < rows; i++)
        {
            var (logProbs, score) = (answers[i].LogProbs.ToArray(), answers[i].Score);
            var old = score.Old.Length == 0 ? logProbs : score.Old;
            var length = logProbs.Length;
            var logRatio = Enumerable.Range(0, length).Select(t => logProbs[t] - old[t]).ToArray();
            for (var t = 0; t < length; t++)
            {
                mask[i, t] = score.Counts ? 1 : 0;
                var importance = options.Level == RatioLevel.Sequence ? logRatio.Average() : logRatio[t];
                var first = Math.Exp(importance);
                var second = Math.Min(Math.Max(first, 1 - options.Epsilon), 1 + options.EpsilonHigh);
                if (options.Delta is { } delta)
                    first = Math.Min(first, delta);
                loss[i, t] = -Math.Min(first * score.Advantage, second * score.Advantage);
                if (options.Beta != 0)
                    loss[i, t] += options.Beta * (Math.Exp(score.Reference[t] - logProbs[t]) - (score.Reference[t] - logProbs[t]) - 1);
            }
        }
        var cells = from i in Enumerable.Range(0, rows) from t in Enumerable.Range(0, columns) select loss[i, t] * mask[i, t];
        var lengths = answers.Select(answer => answer.LogProbs.Length).ToArray();
        return options.Aggregation switch
        {
            GrpoAggregation.Grpo =>
                Enumerable.Range(0, rows).Average(i => Enumerable.Range(0, columns).Sum(t => loss[i, t] * mask[i, t]) / lengths[i]),
            GrpoAggregation.Bnpo => cells.Sum() / Math.Max(1, mask.Cast<double>().Sum()),
            GrpoAggregation.DrGrpo => cells.Sum() / (rows * options.MaxLength),
            _ => cells.Sum() / lengths.Sum(),
        };
    }

    private static SampledAnswerLogProbs[] Some(int seed, bool onPolicy)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, 6).Select(i =>
        {
            var length = i == 2 ? 1 : random.Next(1, 8);
            double[] now = [.. Enumerable.Range(0, length).Select(_ => -4 * random.NextDouble())];
            double[] Near() => [.. now.Select(x => x + random.NextDouble() - 0.5)];
            var answer = Answer(now, (2 * random.NextDouble()) - 1, onPolicy ? [] : Near(), Near());
            return i == 4 ? answer with { Score = answer.Score with { Counts = false } } : answer;
        })];
    }

    internal static GroupTotals Totals(IReadOnlyList<SampledAnswerLogProbs> answers) => new()
    {
        Rows = 1,
        Samples = answers.Count,
        SampleTokens = answers.Sum(answer => answer.LogProbs.Length),
        CountedTokens = answers.Sum(answer => answer.Score.Counts ? answer.LogProbs.Length : 0),
    };

    private static SampledAnswerLogProbs Answer(double[] logProbs, double advantage, double[]? old = null, double[]? reference = null) =>
        new(logProbs, new SampleScore(advantage, true, old ?? [], reference ?? []));
}
