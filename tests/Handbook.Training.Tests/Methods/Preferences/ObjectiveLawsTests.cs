using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Tests.Methods.Preferences;

/// <summary>What holds for every preference loss and option.</summary>
public sealed class ObjectiveLawsTests
{
    public static TheoryData<string> Names() => [.. EveryObjective.Names];

    [Theory, MemberData(nameof(Names))] // peers.md 4.3, 25
    public void Number_25_gradients_are_the_finite_differences_of_the_loss(string name)
    {
        var objective = EveryObjective.Create(name);
        var rows = EveryObjective.Rows(name, seed: 11, count: 5, objective);
        var totals = SomeRows.Totals(rows);
        var gradients = new List<RowGradient>();
        objective.Evaluate(rows, totals, training: false, null, gradients);
        Assert.Equal(rows.Count, gradients.Count);
        for (var i = 0; i < rows.Count; i++)
        {
            if (rows[i].Chosen is { } chosen)
                Check(i, chosen, gradients[i].Chosen, answer => rows[i] with { Chosen = answer }, "chosen");
            if (rows[i].Rejected is { } rejected)
                Check(i, rejected, gradients[i].Rejected, answer => rows[i] with { Rejected = answer }, "rejected");
            CheckTokens(i, rows[i].PromptLogProbs.ToArray(), gradients[i].Prompt, (_, values) => rows[i] with { PromptLogProbs = values },
                "prompt");
        }

        void Check(int i, AnswerScore answer, double[] gradient, Func<AnswerScore, ScoredRow> with, string what) =>
            CheckTokens(i, answer.LogProbs.ToArray(), gradient,
                (token, values) => with(answer with { LogProbs = values, LogSquares = Squares(answer, token, values) }), what);

        // WPO's weight is a constant of the step: what moves it is moved back through the sums of squares
        ReadOnlyMemory<double> Squares(AnswerScore answer, int token, double[] values)
        {
            var squares = answer.LogSquares.ToArray();
            if (squares.Length > 0 && !(EveryObjective.Options(name).TrlCompat == TrlRelease.V0_24 && token == values.Length - 1))
                squares[0] += values[token] - answer.LogProbs.Span[token];
            return squares;
        }

        void CheckTokens(int i, double[] values, double[] gradient, Func<int, double[], ScoredRow> with, string what)
        {
            const double step = 1e-4;
            Assert.True(gradient.Length == 0 || gradient.Length == values.Length,
                $"{name}: {what} of row {i} has {gradient.Length} derivatives for {values.Length} tokens");
            for (var token = 0; token < values.Length; token++)
            {
                var difference = (At(step) - At(-step)) / (2 * step);
                var derivative = gradient.Length == 0 ? 0 : gradient[token];
                // 1e-6 of the value; below 1e-3 the difference of two losses has no more digits
                Assert.True(Math.Abs(difference - derivative) <= 1e-6 * Math.Max(1e-3, Math.Abs(derivative)),
                    $"{name}: {what} token {token} of row {i}: finite difference {difference:R}, derivative {derivative:R}");

                double At(double move)
                {
                    var moved = (double[])values.Clone();
                    moved[token] += move;
                    var all = new List<ScoredRow>(rows) { [i] = with(token, moved) };
                    return objective.Evaluate(all, totals, training: false, null, null);
                }
            }
        }
    }

    [Theory, MemberData(nameof(Names))] // peers.md 4.3, 13
    public void Number_13_extreme_log_ratios_give_finite_losses_and_gradients(string name)
    {
        double[] scores = [0, -1e-7, -1e-3, -1, -100, -1e4];
        var objective = EveryObjective.Create(name);
        List<ScoredRow> all = [];
        foreach (var a in scores)
            foreach (var b in scores)
                foreach (var (c, d) in new[] { (a, b), (0.0, 0.0), (-1e4, -1e4), (0, -1e4), (-1e4, 0) })
                {
                    var pair = SomeRows.Pair(a, b, c, d);
                    if (EveryObjective.IsPaired(name))
                        all.Add(pair with { PromptLogProbs = new[] { a } });
                    else
                        all.AddRange([pair with { Rejected = null, Mismatched = pair.Rejected },
                            pair with { Chosen = null, Mismatched = pair.Chosen }]);
                }
        foreach (var rows in all.Select(row => new List<ScoredRow> { row }).Append(all))
        {
            var gradients = new List<RowGradient>();
            var metrics = new MetricSums();
            var loss = objective.Evaluate(rows, SomeRows.Totals(rows), training: true, metrics, gradients);
            Assert.True(double.IsFinite(loss), $"{name}: the loss is {loss}");
            foreach (var derivative in gradients.SelectMany(g => g.Chosen.Concat(g.Rejected).Concat(g.Prompt)))
                Assert.True(float.IsFinite((float)derivative), $"{name}: a derivative is {derivative}");
            foreach (var (metric, mean) in metrics.Means)
                Assert.True(double.IsFinite(mean), $"{name}: {metric} is {mean}");
            Assert.All(objective.State, value => Assert.True(double.IsFinite(value), $"{name}: state {value}"));
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void Parts_of_a_group_add_up_to_the_whole(string name)
    {
        var objective = EveryObjective.Create(name);
        if (objective.CouplesRows)
            return;
        for (var seed = 0; seed < 5; seed++)
        {
            var rows = EveryObjective.Rows(name, seed, 9, objective);
            var totals = SomeRows.Totals(rows);
            var (whole, parts) = (new MetricSums(), new MetricSums());
            List<RowGradient> wholeGradients = [], partGradients = [];
            var loss = objective.Evaluate(rows, totals, true, whole, wholeGradients);
            var sum = new[] { 0..2, 2..3, 3..9 }.Sum(part => objective.Evaluate(rows[part], totals, true, parts, partGradients));
            Assert.Equal(loss, sum, 1e-12);
            foreach (var (a, b) in wholeGradients.Zip(partGradients))
            {
                Assert.Equal(a.Chosen, b.Chosen);
                Assert.Equal(a.Rejected, b.Rejected);
                Assert.Equal(a.Prompt, b.Prompt);
            }
            foreach (var ((metric, mean), (_, other)) in whole.Means.Zip(parts.Means))
                Assert.True(Math.Abs(mean - other) < 1e-12 * Math.Max(1, Math.Abs(mean)), $"{name}: {metric} is {mean}, in parts {other}");
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void Evaluation_measures_without_moving_anything(string name)
    {
        var objective = EveryObjective.Create(name);
        var rows = EveryObjective.Rows(name, 3, 6, objective);
        var before = objective.State;
        var first = objective.Evaluate(rows, SomeRows.Totals(rows), training: false, new MetricSums(), null);
        Assert.Equal(before, objective.State);
        Assert.Equal(first, objective.Evaluate(rows, SomeRows.Totals(rows), training: false, null, []));
    }

    [Theory, MemberData(nameof(Names))]
    public void Only_a_release_groups_by_micro_batch(string name) =>
        Assert.Equal(EveryObjective.Options(name).TrlCompat is not null, EveryObjective.Create(name).GroupsByMicroBatch);

    [Theory, MemberData(nameof(Names))] // peers.md 4.3, 15
    public void Number_15_a_group_without_one_class_of_answers_is_whole(string name)
    {
        if (EveryObjective.IsPaired(name))
            return;
        var objective = EveryObjective.Create(name);
        var all = EveryObjective.Rows(name, 5, 8, objective);
        foreach (var rows in new[] { all.FindAll(row => row.Chosen is not null), all.FindAll(row => row.Rejected is not null) })
        {
            var metrics = new MetricSums();
            var gradients = new List<RowGradient>();
            Assert.True(double.IsFinite(objective.Evaluate(rows, SomeRows.Totals(rows), true, metrics, gradients)));
            Assert.Equal(rows.Count, gradients.Count);
            var side = rows[0].Chosen is not null ? "chosen" : "rejected";
            Assert.Equal([$"logps/{side}", $"rewards/{side}"], metrics.Means.Select(m => m.Name).Where(m => m.Contains('/')));
        }
    }
}
