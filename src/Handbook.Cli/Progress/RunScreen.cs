using System.Globalization;
using Handbook.Base;
using Handbook.Watching;

namespace Handbook.Cli.Progress;

/// <summary>Runs as lines of a terminal.</summary>
/// <param name="line">Tells colours and width.</param>
internal sealed class RunScreen(LiveLine line)
{
    // What stands before a run's name, in the colour of its curve.
    private const string Mark = "──";

    private static readonly string[] s_colors = ["\e[36m", "\e[33m", "\e[35m", "\e[32m", "\e[34m", "\e[31m"];

    // What people look at first; the others follow in the order of the log.
    private static readonly string[] s_first = ["loss", "eval_loss", "rewards/accuracies", "eval_rewards/accuracies", "rewards/margins",
        "eval_rewards/margins", "reward", "accuracy", "eval_accuracy", "mean_token_accuracy", "eval_mean_token_accuracy", "grad_norm",
        "learning_rate"];

    /// <summary>One run: where it is, its curve, and every number.</summary>
    /// <param name="run">The run.</param>
    /// <param name="metric">What is drawn; with its <c>eval_</c> counterpart where there is one.</param>
    /// <param name="height">Most lines; null for any number.</param>
    public IReadOnlyList<string> One(RunView run, string metric, int? height)
    {
        var lines = new List<string> { Head(run), Place(run), "" };
        string[] drawn = [metric, $"eval_{metric}"];
        var curves = drawn.Select(run.Series).ToArray();
        if (curves.All(curve => curve.Count == 0))
            lines.Add(run.Logged.Count == 0 ? "nothing is logged yet" : $"{metric} is not logged; there are {string.Join(", ", run.Names())}");
        else
        {
            lines.Add("  " + string.Join("   ", drawn.Where((_, i) => curves[i].Count > 0).Select(name => Painted(Array.IndexOf(drawn, name), $"── {name}"))));
            lines.AddRange(TextChart.Draw(curves, Math.Min(line.Width, 110), 12, Painted));
        }
        lines.Add("");
        var names = run.Names().OrderBy(name => Array.IndexOf(s_first, name) is >= 0 and var place ? place : s_first.Length).ToArray();
        var width = names.Select(name => name.Length).DefaultIfEmpty().Max();
        var rest = height - lines.Count - 1;
        foreach (var name in rest < names.Length ? names.Take(Math.Max(0, rest.Value)) : names)
        {
            var series = run.Series(name);
            if (series.Count > 0)
                lines.Add($"  {name.PadRight(width)}  {Number(series[^1].Value),12}  {line.Faint(TextChart.Spark(series, 32))}");
        }
        if (rest < names.Length)
            lines.Add(line.Faint($"  and {names.Length - Math.Max(0, rest.Value)} more: the window is too low"));
        foreach (var prompt in run.LatestAnswers())
            if (height is null || lines.Count + 4 < height)
                lines.AddRange("", $"  {line.Faint(Short(prompt.Prompt, fromEnd: true))}",
                    $"  step {prompt.Answers[^1].Last}: {Short(prompt.Answers[^1].Text, fromEnd: false)}");
        return lines;
    }

    // One line of a text: what a prompt asks stands at its end.
    private string Short(string text, bool fromEnd)
    {
        var one = string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        var most = Math.Max(20, Math.Min(line.Width, 110) - 14);
        return one.Length <= most ? one : fromEnd ? "…" + one[^most..] : one[..most] + "…";
    }

    /// <summary>Several runs: their curves over one another, and a line each.</summary>
    public IReadOnlyList<string> Several(IReadOnlyList<RunView> runs, string metric)
    {
        string[][] table = [["", "run", "state", "step", "left", metric, $"eval_{metric}", "tokens/s"], .. runs.Select(run => new[]
        {
            Mark, Name(run), State(run), run.Steps is { } steps ? $"{run.Step:N0} of {steps:N0}" : $"{run.Step:N0}",
            run.Left is { } left ? Time(left) : "", Latest(run, metric), Latest(run, $"eval_{metric}"),
            run.TokensPerSecond is { } speed ? $"{speed:N0}" : "",
        })];
        var lines = TextTable.Lines(table, right: [3, 4, 5, 6, 7])
            .Select((text, row) => row == 0 ? text : Painted(row - 1, Mark) + text[Mark.Length..]).ToList();
        lines.Add("");
        lines.AddRange(TextChart.Draw([.. runs.Select(run => run.Series(metric))], Math.Min(line.Width, 110), 12, Painted));
        return lines;

        static string Latest(RunView run, string name) => run.Series(name) is [.., var last] ? Number(last.Value) : "";
    }

    /// <summary>A line about a run, for logs.</summary>
    public static string Line(RunView run, string metric) => string.Join(", ", ((string?[])
    [
        $"{Name(run)}: {State(run)}", run.Steps is { } steps ? $"step {run.Step} of {steps}" : $"step {run.Step}",
        run.Series(metric) is [.., var last] ? $"{metric} {Number(last.Value)}" : null,
        run.Series($"eval_{metric}") is [.., var held] ? $"eval_{metric} {Number(held.Value)}" : null,
        run.Left is { } left ? $"{Time(left)} left" : null,
    ]).Where(part => part is not null));

    private string Head(RunView run) => $"{line.Strong(Name(run))}  {run.Method}{(run.Model is { } model ? $" of {model}" : "")}  {State(run)}"
        + (run.Holder is { } holder ? line.Faint($"  process {holder.Split(':')[0]}") : "");

    private string Place(RunView run)
    {
        var parts = new List<string>();
        if (run.Steps is { } steps && steps > 0)
            parts.Add($"{line.Bar((double)run.Step / steps, 24)} {run.Step:N0} of {steps:N0} steps");
        else
            parts.Add($"step {run.Step:N0}");
        if (run.Logged.Count > 0 && run.Logged[^1].Number("epoch") is { } epoch)
            parts.Add($"epoch {epoch.ToString("0.00", CultureInfo.InvariantCulture)}");
        if (run.StepsPerSecond is { } speed)
            parts.Add(speed >= 1 ? $"{speed.ToString("0.0", CultureInfo.InvariantCulture)} steps/s"
                : $"{(1 / speed).ToString("0.0", CultureInfo.InvariantCulture)} s/step");
        if (run.TokensPerSecond is { } tokens)
            parts.Add($"{tokens.ToString("N0", CultureInfo.InvariantCulture)} tokens/s");
        if (run.Left is { } left)
            parts.Add($"{Time(left)} left");
        if (run.Checkpoints.Count > 0)
            parts.Add($"checkpoint {run.Checkpoints[^1]:N0}");
        return string.Join(" · ", parts);
    }

    private static string State(RunView run) =>
        run.Standing switch { RunStanding.Training => "training", RunStanding.Finished => "finished", _ => "stopped" };

    private static string Name(RunView run) => RealPath.NameOf(run.Folder);

    private string Painted(int curve, string text) => line.Colors ? $"{s_colors[curve % s_colors.Length]}{text}\e[39m" : text;

    private static string Time(TimeSpan time) => time.TotalDays >= 1 ? $"{(int)time.TotalDays} d {time.Hours} h"
        : time.TotalHours >= 1 ? $"{(int)time.TotalHours}:{time.Minutes:00}:{time.Seconds:00}" : $"{time.Minutes}:{time.Seconds:00}";

    private static string Number(double value) => Math.Abs(value) is >= 1e-3 and < 1e6 || value == 0
        ? value.ToString(Math.Abs(value) >= 1000 ? "#,0" : "0.0000", CultureInfo.InvariantCulture) : value.ToString("0.00e0", CultureInfo.InvariantCulture);
}
