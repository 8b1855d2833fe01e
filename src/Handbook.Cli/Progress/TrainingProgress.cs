using System.Globalization;
using System.Text;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Training.Progress;

namespace Handbook.Cli.Progress;

/// <summary>The console of a training run, on stderr: banner, live line, summary.</summary>
internal sealed class TrainingProgress
{
    private static readonly TimeSpan Redraw = TimeSpan.FromMilliseconds(150);
    private static readonly TimeSpan PlainInterval = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Window = TimeSpan.FromSeconds(20);

    private readonly TrainingOutline _outline;
    private readonly LiveLine _line;
    private readonly TimeProvider _clock;
    private readonly Queue<(TimeSpan At, long Tokens, int Step)> _recent = new();
    private readonly long _started;
    private TimeSpan _aside;        // evaluating and saving: not training time
    private TimeSpan? _lastShown;
    private long _tokens;
    private long _padding;
    private int _step;
    private readonly List<double> _losses = [];

    /// <param name="outline">What the run is about to do.</param>
    /// <param name="line">The line to draw on; null for a new one on stderr.</param>
    /// <param name="clock">The time; null for the system's.</param>
    public TrainingProgress(TrainingOutline outline, LiveLine? line = null, TimeProvider? clock = null)
    {
        _outline = outline;
        _line = line ?? new LiveLine();
        _clock = clock ?? TimeProvider.System;
        _started = _clock.GetTimestamp();
        _step = outline.ResumedStep;
        _recent.Enqueue((TimeSpan.Zero, 0, _step));
    }

    /// <summary>Tokens per second of training so far, without evaluating and saving.</summary>
    public double TokensPerSecond => Elapsed.TotalSeconds > 0 ? _tokens / Elapsed.TotalSeconds : 0;

    private TimeSpan Elapsed => _clock.GetElapsedTime(_started) - _aside;

    /// <summary>Prints the banner.</summary>
    public void Start()
    {
        var o = _outline;
        var rows = new List<(string Name, string Value)>
        {
            ("examples", $"{o.Examples:N0}"),
            ("epochs", o.Epochs.ToString("0.####", CultureInfo.InvariantCulture)),
        };
        if (o.TokensPerEpoch is { } tokens)
            rows.Add(("tokens per epoch", $"{tokens:N0}"));
        rows.Add(("batch per device", $"{o.BatchPerDevice:N0}"));
        rows.Add(("accumulation steps", $"{o.AccumulationSteps:N0}"));
        if (o.DeviceCount > 1)
            rows.Add(("devices", $"{o.DeviceCount:N0}"));
        rows.Add(("total batch", $"{(long)o.BatchPerDevice * o.AccumulationSteps * o.DeviceCount:N0}"));
        rows.Add(("optimisation steps", $"{o.Steps:N0}"));
        rows.Add(("trainable parameters", o.Parameters is { } all && all != o.TrainableParameters
            ? $"{o.TrainableParameters:N0} of {all:N0} ({100.0 * o.TrainableParameters / all:0.##} %)" : $"{o.TrainableParameters:N0}"));
        var text = new StringBuilder(_line.Strong(o.Title));
        foreach (var (name, value) in rows)
            text.Append($"\n  {_line.Faint(name.PadRight(22))}{value}");
        if (o.ResumedStep > 0)
            text.Append($"\n  continuing from step {o.ResumedStep:N0}, epoch {o.ResumedEpoch:0.##}; {o.SkippedBatches:N0} batches of it "
                + $"were seen before");
        _line.Print(text.ToString());
    }

    /// <summary>Shows a step; on a terminal a few times a second, elsewhere every few seconds, and always the first and the last.</summary>
    public void Step(StepReport report)
    {
        _step = report.Step;
        _tokens += report.Tokens;
        _padding += report.PaddingTokens;
        if (report.Loss is { } loss)
            _losses.Add(loss);
        var now = Elapsed;
        _recent.Enqueue((now, _tokens, _step));
        while (_recent.Count > 2 && now - _recent.Peek().At > Window)
            _recent.Dequeue();
        var due = _lastShown is null || report.Step >= _outline.Steps || now - _lastShown >= (_line.IsTerminal ? Redraw : PlainInterval);
        if (!due)
            return;
        _lastShown = now;
        if (_line.IsTerminal)
            _line.Draw(Terminal(Fields(report)));
        else
            _line.Print($"step {report.Step}/{_outline.Steps} | "
                + string.Join(" | ", Fields(report).Select(field => $"{field.Label}{field.Value}{field.Unit}")));
    }

    /// <summary>A bar for something beside training, such as an evaluation; its time counts neither for tokens per second
    /// nor for the time left.</summary>
    public IWorkCount Aside(string what, long? total, string unit)
    {
        _line.Clear();
        return new AsideTime(this, new ProgressBar(what, total, unit, _line, _clock));
    }

    /// <summary>Prints the summary.</summary>
    public void Finish(TrainingSummary summary)
    {
        _line.Clear();
        var elapsed = Elapsed;
        var parts = new List<string> { $"{_step - _outline.ResumedStep:N0} steps in {Size.Of(elapsed)}" };
        if (_tokens > 0 && elapsed > TimeSpan.Zero)
            parts.Add($"{TokensPerSecond:N0} tokens/s");
        if (_losses.Count > 0)
        {
            // A step's loss is that of its rows: some are harder than others.
            var window = Math.Clamp(_losses.Count / 2, 1, _outline.LossWindow);
            parts.Add($"loss {Loss(_losses.Take(window).Average())} "
                + $"→ {Loss(_losses.TakeLast(window).Average())}{(window > 1 ? $" (means of {window:N0} steps)" : "")}");
        }
        if (summary.EvalLoss is { } held)
            parts.Add($"held-out loss {Loss(held)}");
        parts.Add($"padding {Share(_padding, _tokens)}");
        if (elapsed > TimeSpan.Zero)
            parts.Add($"waiting for data {summary.Waited / elapsed * 100:0.#} %");
        if (summary.PeakMemoryBytes is { } peak)
            parts.Add($"peak memory {Size.Of(peak, 2)}" + (summary.PeakTensorBytes is { } tensors ? $" (tensors {Size.Of(tensors, 2)})" : ""));
        _line.Print($"{_line.Strong(summary.Finished ? "done" : $"{(summary.StoppedAsAsked ? "stopped" : "interrupted")} at step {_step:N0} of {_outline.Steps:N0}")}: {string.Join(", ", parts)}");
        foreach (var note in summary.Notes)
            _line.Print("  " + note);
    }

    private readonly record struct Field(string Label, string Value, string Unit, int Rank);

    // The rank says what leaves first where the terminal is narrow.
    private List<Field> Fields(StepReport report)
    {
        var fields = new List<Field>();
        if (report.Loss is { } loss)
            fields.Add(new("loss ", Loss(loss), "", 0));
        fields.Add(new("lr ", report.LearningRate.ToString("0.00e-00", CultureInfo.InvariantCulture), "", 3));
        if (report.GradNorm is { } norm)
            fields.Add(new("grad ", norm.ToString("G3", CultureInfo.InvariantCulture), "", 4));
        var (from, tokens, step) = _recent.Peek();
        var seconds = (Elapsed - from).TotalSeconds;
        if (seconds > 0)
            fields.Add(new("", $"{(_tokens - tokens) / seconds:N0}", " tok/s", 2));
        fields.Add(new("pad ", Share(_padding, _tokens), "", 6));
        fields.Add(new("", Size.Of(report.MemoryBytes ?? Environment.WorkingSet), "", 5));
        if (_step > step && seconds > 0)
            fields.Add(new("", Size.Of(TimeSpan.FromSeconds(seconds / (_step - step) * Math.Max(0, _outline.Steps - _step))), " left", 1));
        return fields;
    }

    private string Terminal(List<Field> fields)
    {
        var position = $"{_step:N0}/{_outline.Steps:N0}";
        int Length() => position.Length + fields.Sum(field => 2 + field.Label.Length + field.Value.Length + field.Unit.Length);
        while (fields.Count > 0 && Length() > _line.Width)
            fields.Remove(fields.MaxBy(field => field.Rank));
        var room = Math.Min(24, _line.Width - Length() - 2);
        var bar = room >= 6 ? _line.Bar((double)_step / Math.Max(1, _outline.Steps), room) + "  " : "";
        return bar + _line.Strong(position)
            + string.Concat(fields.Select(field => "  " + _line.Faint(field.Label) + field.Value + _line.Faint(field.Unit)));
    }

    private static string Loss(double loss) => loss.ToString(Math.Abs(loss) is >= 0.001 or 0 ? "F4" : "G3", CultureInfo.InvariantCulture);

    private static string Share(long part, long whole) => whole == 0 || part == 0 ? "0 %" : $"{100.0 * part / whole:0.0} %";

    private sealed class AsideTime(TrainingProgress progress, ProgressBar bar) : IWorkCount
    {
        private readonly long _began = progress._clock.GetTimestamp();
        private bool _disposed;

        public void Advance(long count = 1) => bar.Advance(count);

        public void Report(long done) => bar.Report(done);

        public void Dispose()
        {
            if (_disposed)
                return;
            _disposed = true;
            bar.Dispose();
            progress._aside += progress._clock.GetElapsedTime(_began);
        }
    }
}
