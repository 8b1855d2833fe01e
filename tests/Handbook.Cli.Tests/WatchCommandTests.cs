using Handbook.Cli.Progress;
using Handbook.Watching;

namespace Handbook.Cli.Tests;

/// <summary><c>handbook watch</c>.</summary>
public sealed class WatchCommandTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    public void Dispose() => _handbook.Dispose();

    [Fact]
    public async Task A_run_is_followed_to_its_end_without_disturbing_it()
    {
        SmallModel.Make(_handbook);
        _handbook.Write("rows.jsonl", string.Join('\n', Enumerable.Range(0, 30).Select(i => $$"""{"text": "one two three {{i}}"}""")));
        _handbook.Write("recipe.yaml", """
            model_name_or_path: model
            dataset_name: rows.jsonl
            text_column: text
            eval_strategy: "no"
            max_steps: 60
            logging_steps: 5
            output_dir: runs/watched
            report_to: none
            """);
        using var training = _handbook.Start(["cpt", "recipe.yaml"]);
        var (output, error) = (training.StandardOutput.ReadToEndAsync(), training.StandardError.ReadToEndAsync());
        for (var waited = System.Diagnostics.Stopwatch.StartNew(); !File.Exists(At("runs/watched/run.json")) && !training.HasExited;)
        {
            Assert.True(waited.Elapsed < TimeSpan.FromMinutes(2));
            Thread.Sleep(5);
        }
        var watched = SmallModel.Succeed(_handbook.Run("watch", "runs", "--interval", "0.1"));
        await training.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(training.ExitCode == 0, await error);
        Assert.Contains("train_loss", await output);
        var lines = watched.Output.Trim().Split('\n');
        Assert.Matches(@"^watched: training, step \d+", lines[0]);
        Assert.Matches(@"^watched: finished, step 60 of 60, loss \d\.\d{4}$", lines[^1]);

        var once = SmallModel.Succeed(_handbook.Run("watch", "runs/watched", "--once"));
        Assert.Contains("60 of 60 steps", once.Output);
        Assert.Matches(@"loss +\d\.\d{4}  [▁▂▃▄▅▆▇█]{12}", once.Output);
        Assert.DoesNotContain("\e", once.Output);
        Assert.Contains("nothing is not logged; there are loss, ", SmallModel.Succeed(_handbook.Run("watch", "runs/watched", "--once", "-m", "nothing")).Output);
    }

    [Theory]
    [InlineData("watch nowhere", "nowhere is no folder")]
    [InlineData("watch .", "is no run, and there is none in it")]
    [InlineData("watch . --interval 0", "--interval is 0")]
    public void A_wrong_use_is_told(string line, string message)
    {
        var outcome = _handbook.Run(line.Split(' '));
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error);
    }

    [Fact]
    public void A_curve_is_drawn_in_dots()
    {
        (double, double)[] rising = [(0, 0), (7, 1)];
        // From the lower left to the upper right, eight dots high and fourteen wide.
        Assert.Equal(["1 ┤   ⢀⡠⠔⠊", "0 ┤⡠⠔⠊⠁"], TextChart.Draw([[(0, 0), (9, 1)]], 10, 2, (_, text) => text).Take(2).Select(text => text.TrimEnd()));
        Assert.Equal("▁█", TextChart.Spark(rising, 8));
        Assert.Equal("▁▅█", TextChart.Spark([.. Enumerable.Range(0, 6).Select(i => ((double)i, (double)i))], 3));
        Assert.Equal(["", "▄"], [TextChart.Spark([], 8), TextChart.Spark([(1, 5)], 8)]);
        Assert.Empty(TextChart.Draw([[]], 40, 4, (_, text) => text));
        // One value, one point, a jump: nothing is drawn outside.
        foreach (var curve in (IReadOnlyList<(double, double)>[])[[(1, 3)], [(1, 3), (2, 3)], [(1, 1e9), (2, -1e9), (3, 1e-9)]])
            Assert.All(TextChart.Draw([curve], 30, 5, (_, text) => text), text => Assert.InRange(text.Length, 1, 31));
    }

    [Fact]
    public void Several_runs_are_drawn_over_one_another()
    {
        using var text = new StringWriter();
        var screen = new RunScreen(new LiveLine(text, terminal: true, width: () => 70));
        RunView[] runs = [.. new[] { 1.0, 2.0 }.Select(start => new RunView
        {
            Folder = $"runs/from-{start:0}",
            Method = "sft",
            Standing = RunStanding.Training,
            Steps = 100,
            StepsPerSecond = 0.5,
            TokensPerSecond = 1234,
            Logged = [.. Enumerable.Range(1, 4).Select(step => new Training.Metrics.MetricSet { ["step"] = 10 * step, ["loss"] = start / step })],
        })];
        var lines = screen.Several(runs, "loss");
        Assert.Matches("from-1  training  40 of 100  2:00  0.2500", lines[1]);
        var isColoured = string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
        Assert.Equal(isColoured, lines[1].Contains("\e[36m", StringComparison.Ordinal));
        Assert.Equal(isColoured, lines[2].Contains("\e[33m", StringComparison.Ordinal));
        var one = screen.One(runs[0], "loss", 20);
        Assert.InRange(one.Count, 15, 22);
        Assert.Contains("2.0 s/step", one[1]);
        Assert.Contains("2:00 left", one[1]);
    }

    private string At(string name) => Path.Combine(_handbook.Folder, name);
}
