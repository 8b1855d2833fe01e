using System.Globalization;
using System.Text.Json.Nodes;

namespace Handbook.Evaluation.Judging;

/// <summary>The rates of AlpacaEval's leaderboard, in percent, by its names. arXiv:2404.04475.</summary>
/// <param name="Model">The model that is measured.</param>
/// <param name="Reference">The one that it is compared with.</param>
/// <param name="WinRate">Mean preference.</param>
/// <param name="StandardError">Of that mean.</param>
/// <param name="Discrete">Where a preference is a win, a loss or a draw.</param>
/// <param name="Wins">Preferences above one half.</param>
/// <param name="Losses">Below.</param>
/// <param name="Draws">One half.</param>
/// <param name="Unparsed">Pairs without a preference; they count nowhere.</param>
/// <param name="AverageLength">Letters of the model's answers.</param>
/// <param name="Controlled">The length-controlled win rate.</param>
/// <param name="IsMinimal">Whether difficulties were not known: <c>length_controlled_minimal</c>.</param>
internal sealed record AlpacaReport(string Model, string Reference, double WinRate, double StandardError, double Discrete, int Wins, int Losses,
    int Draws, int Unparsed, int AverageLength, LengthControl.Fit Controlled, bool IsMinimal)
{
    /// <summary>Preferences that count.</summary>
    public int Total => Wins + Losses + Draws;

    /// <summary>Measures.</summary>
    /// <param name="annotations">Judged pairs of one model, in the order of the evaluation set.</param>
    /// <param name="control">Published pairs and difficulties; null fits without.</param>
    public static AlpacaReport Of(IReadOnlyList<AlpacaAnnotation> annotations,
        (IReadOnlyList<LengthRow> Gamed, IReadOnlyList<double> Difficulty)? control)
    {
        double[] wins = [.. annotations.Select(annotation => annotation.Preference - 1).Where(preference => !double.IsNaN(preference))];
        // numpy rounds halves to even, but a half is a draw here
        var discrete = wins.Select(win => win == 0.5 ? 0.5 : Math.Round(win)).ToArray();
        var (gamed, difficulty) = control ?? ([], []);
        return new(annotations[0].Second.Generator, annotations[0].First.Generator, 100 * Mean(wins), 100 * LengthControl.StandardErrorOf(wins),
            100 * Mean(discrete), wins.Count(win => win > 0.5), wins.Count(win => win < 0.5), wins.Count(win => win == 0.5),
            annotations.Count - wins.Length, (int)annotations.Average(annotation => LengthControl.CodePoints(annotation.Second.Output)),
            LengthControl.Of(LengthControl.Rows(annotations, difficulty), gamed, hasDifficulty: difficulty.Count > 0), difficulty.Count == 0);

        static double Mean(double[] values) => values.Length == 0 ? double.NaN : values.Average();
    }

    private IEnumerable<(string Name, double Value)> Values() =>
    [
        ("win_rate", WinRate), ("standard_error", StandardError), ("discrete_win_rate", Discrete),
        (IsMinimal ? "length_controlled_minimal" : "length_controlled_winrate", 100 * Controlled.Mean),
        // without difficulties every instruction has the same probability
        .. IsMinimal ? ((string, double)[])[] : [("lc_standard_error", 100 * Controlled.StandardError)],
        ("n_wins", Wins), ("n_wins_base", Losses), ("n_draws", Draws),
        ("n_total", Total), ("n_unparsed", Unparsed), ("avg_length", AverageLength),
    ];

    /// <summary>A line a value.</summary>
    public IEnumerable<string> Table()
    {
        yield return $"{Model} against {Reference}";
        var width = Values().Max(value => value.Name.Length);
        foreach (var (name, value) in Values())
            yield return $"  {name.PadRight(width)}  " + (double.IsNaN(value) ? "–"
                : value.ToString(value == Math.Floor(value) ? "0" : "0.00", CultureInfo.InvariantCulture));
    }

    /// <summary>The same as JSON, and the regression's weights.</summary>
    public JsonObject Json()
    {
        var json = new JsonObject { ["model"] = Model, ["reference"] = Reference };
        foreach (var (name, value) in Values())
            json[name] = double.IsFinite(value) ? value : null;
        json["length_control"] = new JsonObject
        {
            ["formula"] = IsMinimal ? "length_controlled_minimal" : "length_controlled_v1",
            ["tanh_std_delta_len"] = Controlled.Weights[0],
            ["instruction_difficulty"] = IsMinimal ? null : Controlled.Weights[1],
            ["not_gamed_baseline"] = Controlled.Weights[2],
            ["C"] = double.IsFinite(Controlled.C) ? Controlled.C : null,
        };
        return json;
    }
}
