using System.Globalization;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Runs;
using Handbook.Training.Metrics;
using Handbook.Training.Progress;

namespace Handbook.Cli.Progress;

/// <summary>Shows a run in the terminal: progress and messages on stderr, results on stdout.</summary>
/// <param name="line">The line on stderr; null for a new one.</param>
internal sealed class ConsoleObserver(LiveLine? line = null) : IRejectionObserver
{
    private static readonly string[] s_shown = ["eval_loss", "eval_reward", "eval_rewards/accuracies", "eval_rewards/margins",
        "eval_accuracy", "eval_mean_token_accuracy"];

    private readonly LiveLine _line = line ?? new LiveLine();
    private TrainingProgress? _training;

    /// <summary>The least that is told beside steps and results.</summary>
    public Severity Least { get; init; }

    /// <summary>Whether the run has begun to write to its folder.</summary>
    public bool HasEntered { get; private set; }

    public void Said(string text)
    {
        if (Talk.Of(text) >= Least)
            _line.Print(text);
    }

    public void Entered(string folder) => HasEntered = true;

    public IWorkCount Began(string what, long? total, string unit) => _training?.Aside(what, total, unit)
        ?? new ProgressBar(what, total, unit, _line);

    public void Started(TrainingOutline outline)
    {
        _training = new TrainingProgress(outline, _line);
        if (Least == Severity.Note)
            _training.Start();
    }

    public void Stepped(StepReport report) => _training?.Step(report);

    public void Evaluated(int steps, double epoch, MetricSet metrics) =>
        _line.Print($"step {steps}: {string.Join(", ", s_shown.Where(name => metrics.Number(name) is not null).Select(name => $"{name} {metrics.Number(name):f4}"))}");

    public void Saved(string checkpoint) => Said($"saved {Path.GetFileName(checkpoint)}");

    public void Ended(TrainingSummary summary)
    {
        _training?.Finish(summary);
        _training = null;
    }

    public void Measured(string split, MetricSet results) => Console.Out.Write(MetricsReport.Format(split, results));

    public void Sampled(IReadOnlyList<RejectionRoundResult> rounds, IReadOnlyDictionary<string, int> promptsLeftOut)
    {
        string[][] table = [["round", "prompts", "answers", "mean score", "mean best", "selected", "not used"], .. rounds.Select(Cells)];
        foreach (var row in TextTable.Lines(table, right: [0, 1, 2, 3, 4, 5]))
            Console.Out.WriteLine(row);
        foreach (var (reason, count) in promptsLeftOut)
            Console.Out.WriteLine($"prompts left out: {count:N0} {reason}");
    }

    private static string[] Cells(RejectionRoundResult round) =>
    [
        $"{round.Round}", $"{round.Prompts:N0}", $"{round.Answers:N0}", Shown(round.MeanScore),
            Shown(round.MeanBest), $"{round.Selected:N0}",
        string.Join(", ", round.NotUsed.OrderByDescending(entry => entry.Value).Select(entry => $"{entry.Value:N0} {entry.Key}")),
    ];

    private static string Shown(double value) => double.IsNaN(value) ? "–" : value.ToString("0.000", CultureInfo.InvariantCulture);
}
