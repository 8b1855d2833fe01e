using System.Globalization;
using System.Text.Json.Nodes;
using Handbook.Base;

namespace Handbook.Evaluation.Judging;

/// <summary>Marks and wins of models as tables and as JSON (<c>show_result.py</c> of FastChat), with intervals of 95 %.</summary>
internal static class BenchReport
{
    /// <summary>What a model got.</summary>
    /// <param name="Model">Its name.</param>
    /// <param name="Values">Named values, in order.</param>
    /// <param name="Unparsed">Judgements without a verdict; they count in no value.</param>
    /// <param name="Count">Judgements.</param>
    internal sealed record Standing(string Model, IReadOnlyList<(string Name, MeasuredValue Value)> Values, int Unparsed, int Count);

    /// <summary>Mean marks: first turn, second turn, all, and by category. Best first.</summary>
    public static IReadOnlyList<Standing> Marks(IReadOnlyList<BenchJudgement> judgements, long seed) => [.. judgements
        .GroupBy(judgement => judgement.Match.Model.Name).Select(model =>
        {
            var marks = model.Where(judgement => judgement.Mark is not null).ToArray();
            var values = new List<(string, MeasuredValue)>
            {
                ("turn_1", Mean(marks.Where(judgement => judgement.Match.Turn == 1), seed)),
                ("turn_2", Mean(marks.Where(judgement => judgement.Match.Turn == 2), seed)),
                ("average", Mean(marks, seed)),
            };
            values.AddRange(marks.GroupBy(judgement => judgement.Match.Question.Category).Select(group => (group.Key, Mean(group, seed))));
            return new Standing(model.Key, values, model.Count() - marks.Length, model.Count());
        }).OrderByDescending(standing => standing.Values[2].Value.Value)];

    /// <summary>Wins, losses and ties of each model; a match whose two orders disagree is a tie. Best first.</summary>
    /// <param name="baseline">The model that all are compared with, which is left out; null for none.</param>
    public static IReadOnlyList<Standing> Wins(IReadOnlyList<BenchJudgement> judgements, string? baseline, long seed)
    {
        var sides = judgements.SelectMany(judgement => ((string, double?)[])
        [
            (judgement.Match.Model.Name, judgement.Winner is { } won ? won == 0 ? 0.5 : won == 1 ? 1 : 0 : null),
            (judgement.Match.Other!.Name, judgement.Winner is { } lost ? lost == 0 ? 0.5 : lost == 2 ? 1 : 0 : null),
        ]);
        return [.. sides.Where(side => side.Item1 != baseline).GroupBy(side => side.Item1).Select(model =>
        {
            double[] points = [.. model.Where(side => side.Item2 is not null).Select(side => side.Item2!.Value)];
            return new Standing(model.Key,
            [
                ("win_rate", ConfidenceInterval.Wilson(points.Count(point => point == 1), points.Length)),
                ("loss_rate", ConfidenceInterval.Wilson(points.Count(point => point == 0), points.Length)),
                ("tie_rate", ConfidenceInterval.Wilson(points.Count(point => point == 0.5), points.Length)),
                ("win_rate_adjusted", ConfidenceInterval.Mean(points, seed)),
            ], model.Count() - points.Length, model.Count());
        }).OrderByDescending(standing => standing.Values[3].Value.Value)];
    }

    // A question's turns belong together: questions are drawn, not marks.
    private static MeasuredValue Mean(IEnumerable<BenchJudgement> judgements, long seed)
    {
        double[][] questions = [.. judgements.GroupBy(judgement => judgement.Match.Question.Id)
            .Select(question => question.Select(judgement => judgement.Mark!.Value).ToArray())];
        return ConfidenceInterval.Bootstrap(questions.Length, rows =>
        {
            var (sum, count) = (0.0, 0);
            foreach (var row in rows)
                (sum, count) = (sum + questions[row].Sum(), count + questions[row].Length);
            return sum / count;
        }, seed, questions.Sum(question => question.Length));
    }

    /// <summary>A line a model and value; none where nothing was judged.</summary>
    public static IEnumerable<string> Table(IReadOnlyList<Standing> standings)
    {
        if (standings.Count == 0)
            yield break;
        string[] head = ["model", "metric", "value", "95 % interval", "judgements"];
        string[][] table = [head, .. standings.SelectMany(standing => standing.Values.Select(value => new[]
        {
            standing.Model, value.Name, Shown(value.Value.Value),
            double.IsNaN(value.Value.Low) ? "–" : $"{Shown(value.Value.Low)} … {Shown(value.Value.High)} ({value.Value.Way})",
            $"{value.Value.Count:N0}",
        }))];
        foreach (var line in TextTable.Lines(table, right: [2, 4]))
            yield return line;
        foreach (var standing in standings.Where(standing => standing.Unparsed > 0))
            yield return $"{standing.Model}: {standing.Unparsed:N0} of {standing.Count:N0} judgements hold no verdict and count nowhere";
    }

    /// <summary>The same as JSON, by model.</summary>
    public static JsonObject Json(IReadOnlyList<Standing> standings) => new(standings.Select(standing =>
    {
        var values = new JsonObject(standing.Values.Select(value => KeyValuePair.Create<string, JsonNode?>(value.Name, new JsonObject
        {
            ["value"] = Number(value.Value.Value),
            ["low"] = Number(value.Value.Low),
            ["high"] = Number(value.Value.High),
            ["way"] = value.Value.Way,
            ["count"] = value.Value.Count,
        })));
        values["unparsed"] = standing.Unparsed;
        values["judgements"] = standing.Count;
        return KeyValuePair.Create<string, JsonNode?>(standing.Model, values);
    }));

    private static JsonNode? Number(double value) => double.IsFinite(value) ? value : null;

    private static string Shown(double value) => double.IsNaN(value) ? "–" : value.ToString("0.0000", CultureInfo.InvariantCulture);
}
