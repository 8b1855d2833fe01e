using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Training.Progress;

namespace Handbook.Cli.Tests.Progress;

public sealed partial class TrainingProgressTests : IDisposable
{
    private readonly StringWriter _out = new() { NewLine = "\n" };
    private readonly HandClock _clock = new();

    public void Dispose() => _out.Dispose();

    [Fact]
    public void Without_a_terminal_there_are_plain_lines_now_and_then_with_everything_in_them()
    {
        var progress = new TrainingProgress(Outline(steps: 100), new LiveLine(_out, terminal: false), _clock);
        progress.Start();
        for (var step = 1; step <= 100; step++)
        {
            _clock.Advance(TimeSpan.FromSeconds(0.5));
            progress.Step(new StepReport(step, step / 50.0, 10.0 / step, 5e-5, 0.8765, 2000, 0, 1_234_000_000));
        }

        var lines = _out.ToString().Split('\n').Where(line => line.StartsWith("step ", StringComparison.Ordinal)).ToList();
        Assert.DoesNotContain('\e', _out.ToString());
        Assert.Equal("step 1/100 | loss 10.0000 | lr 5.00e-05 | grad 0.876 | 4,000 tok/s | pad 0 % | 1.2 GB | 0:49 left", lines[0]);
        Assert.StartsWith("step 100/100 |", lines[^1], StringComparison.Ordinal);
        Assert.Equal(11, lines.Count);      // the first, one each 5 of 50 seconds, the last among them
    }

    [Fact]
    public void On_a_terminal_one_line_is_redrawn_and_never_wider_than_the_terminal()
    {
        foreach (var width in new[] { 200, 100, 80, 60, 40, 25 })
        {
            var output = new StringWriter();
            var progress = new TrainingProgress(Outline(steps: 10_000), new LiveLine(output, terminal: true, () => width), _clock);
            for (var step = 1; step <= 20; step++)
            {
                _clock.Advance(TimeSpan.FromSeconds(1));
                progress.Step(new StepReport(step, 0.1, 2.5, 5e-5, 0.5, 2000, 0, 1_000_000));
            }
            var text = output.ToString();
            Assert.DoesNotContain('\n', text);
            var draws = text.Split('\r', StringSplitOptions.RemoveEmptyEntries).Select(draw => Escapes().Replace(draw, "")).ToList();
            Assert.Equal(20, draws.Count);
            Assert.All(draws, draw => Assert.InRange(draw.Length, 1, width - 1));
            Assert.Contains("20/10,000", draws[^1], StringComparison.Ordinal);
            if (width >= 40)
                Assert.Contains("loss 2.5000", draws[^1], StringComparison.Ordinal);
            Assert.Equal(width >= 100, draws[^1].Contains("pad 0 %", StringComparison.Ordinal));
        }
    }

    [Fact]
    public void A_fast_run_is_not_drawn_at_every_step()
    {
        var progress = new TrainingProgress(Outline(steps: 1000), new LiveLine(_out, terminal: true, () => 100), _clock);
        for (var step = 1; step <= 1000; step++)
        {
            _clock.Advance(TimeSpan.FromMilliseconds(1));
            progress.Step(new StepReport(step, 0, 1, 1e-3, 1, 10));
        }
        Assert.InRange(_out.ToString().Count(c => c == '\r'), 5, 10);
    }

    [Fact]
    public void A_note_stays_above_the_live_line()
    {
        var line = new LiveLine(_out, terminal: true, () => 100);
        line.Draw("live");
        line.Print("saved");
        Assert.Equal("\rlive\e[K\r\e[Ksaved\nlive", _out.ToString());
    }

    [Fact]
    public void The_banner_has_the_facts_and_where_the_run_continues()
    {
        var progress = new TrainingProgress(
            Outline(steps: 231) with { ResumedStep = 50, ResumedEpoch = 0.65, SkippedBatches = 100, Parameters = 10_000_000 },
                new LiveLine(_out, terminal: false), _clock);
        progress.Start();
        var text = Regex.Replace(_out.ToString(), " +", " ");
        Assert.Contains("examples 1,234", text, StringComparison.Ordinal);
        Assert.Contains("tokens per epoch 456,789", text, StringComparison.Ordinal);
        Assert.Contains("total batch 16", text, StringComparison.Ordinal);
        Assert.Contains("optimisation steps 231", text, StringComparison.Ordinal);
        Assert.Contains("trainable parameters 4,812,032 of 10,000,000 (48.12 %)", text, StringComparison.Ordinal);
        Assert.Contains("continuing from step 50, epoch 0.65; 100 batches", text, StringComparison.Ordinal);
    }

    // losses 9 2 … 2 1 … 1 8: the first and the last batch are odd ones. By hand: (9 + 9·2)/10 = 2.7 and (9·1 + 8)/10 = 1.7; (9 + 3·2)/4 =
    // 3.75, (3·1 + 8)/4 = 2.75
    [Theory]
    [InlineData(20, "loss 2.7000 → 1.7000 (means of 10 steps)")]
    [InlineData(8, "loss 3.7500 → 2.7500 (means of 4 steps)")]
    [InlineData(1, "loss 9.0000 → 9.0000,")]
    public void The_summary_compares_means_of_several_steps(int steps, string text)
    {
        var progress = new TrainingProgress(Outline(steps), new LiveLine(_out, terminal: false), _clock);
        for (var step = 1; step <= steps; step++)
            progress.Step(new StepReport(step, 0, step == 1 ? 9 : step == steps ? 8 : step <= steps / 2 ? 2 : 1, 1e-3, 1, 10));
        _clock.Advance(TimeSpan.FromSeconds(1));
        progress.Finish(new TrainingSummary());
        Assert.Contains(text, _out.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void The_summary_leaves_out_the_time_of_evaluations()
    {
        var progress = new TrainingProgress(Outline(steps: 2), new LiveLine(_out, terminal: false), _clock);
        _clock.Advance(TimeSpan.FromSeconds(1));
        progress.Step(new StepReport(1, 0.5, 3.0, 1e-3, 1, 1000));
        using (var count = progress.Aside("evaluating", 4, "rows"))
        {
            _clock.Advance(TimeSpan.FromSeconds(100));
            count.Advance(4);
        }
        _clock.Advance(TimeSpan.FromSeconds(1));
        progress.Step(new StepReport(2, 1, 2.0, 1e-3, 1, 1000));
        progress.Finish(new TrainingSummary
        {
            EvalLoss = 2.25,
            Waited = TimeSpan.FromSeconds(0.01),
            PeakMemoryBytes = 2_000_000_000,
            PeakTensorBytes = 1_500_000_000,
            Notes = ["model: runs/x"]
        });
        Assert.EndsWith("done: 2 steps in 0:02, 1,000 tokens/s, loss 3.0000 → 2.0000, held-out loss 2.2500, padding 0 %, waiting for data "
            + "0.5 %, peak memory 2.00 GB (tensors 1.50 GB)\n  model: runs/x\n",
            _out.ToString(), StringComparison.Ordinal);
        Assert.Contains("evaluating: 4 rows in 1:40", _out.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_bar_counts_from_many_threads_and_leaves_a_line()
    {
        using (var bar = new ProgressBar("tokenising", 8000, "rows", new LiveLine(_out, terminal: true, () => 100), _clock))
        {
            Parallel.For(0, 8, _ =>
            {
                for (var i = 0; i < 1000; i++)
                    bar.Advance();
            });
            Assert.Equal(8000, bar.Done);
            _clock.Advance(TimeSpan.FromSeconds(2));
        }
        Assert.EndsWith("tokenising: 8,000 rows in 0:02, 4,000 rows/s\n", _out.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, "0:00")]
    [InlineData(754, "12:34")]
    [InlineData(11109, "3:05:09")]
    [InlineData(183900, "2d 03:05")]
    public void Durations_read_well(int seconds, string expected) => Assert.Equal(expected, Size.Of(TimeSpan.FromSeconds(seconds)));

    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(999, "999 B")]
    [InlineData(1500, "1.5 kB")]
    [InlineData(123_456_789, "123 MB")]
    [InlineData(999_999_999, "1.0 GB")]
    public void Sizes_read_well(long bytes, string expected) => Assert.Equal(expected, Size.Of(bytes));

    private static TrainingOutline Outline(int steps) => new()
    {
        Title = "sft runs/tiny-sft",
        Examples = 1234,
        Epochs = 3,
        TokensPerEpoch = 456_789,
        BatchPerDevice = 8,
        AccumulationSteps = 2,
        Steps = steps,
        TrainableParameters = 4_812_032,
    };

    [GeneratedRegex("\e\\[[0-9;]*[A-Za-z]")]
    private static partial Regex Escapes();

    private sealed class HandClock : TimeProvider
    {
        private long _now;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Interlocked.Read(ref _now);

        public void Advance(TimeSpan time) => Interlocked.Add(ref _now, time.Ticks);
    }
}
