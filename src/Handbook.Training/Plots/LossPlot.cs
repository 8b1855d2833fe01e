using System.Diagnostics;
using Handbook.Base.Files;
using Handbook.Training.Metrics;
using Handbook.Training.Progress;

namespace Handbook.Training.Plots;

/// <summary><c>loss.svg</c> and <c>loss.png</c> of a run, drawn anew as it goes.</summary>
internal sealed class LossPlot(string outputDir, string title) : IRunObserver
{
    private const double PixelsPerUnit = 2;

    private readonly List<PlotPoint> _train = [];
    private readonly List<PlotPoint> _held = [];
    private readonly Stopwatch _sinceWrite = new();
    private TimeSpan _lastCost;
    private bool _changed;

    /// <inheritdoc/>
    public void Logged(int steps, double epoch, MetricSet metrics)
    {
        Add(new MetricSet(metrics) { ["step"] = steps });
        WriteIfDue();
    }

    /// <inheritdoc/>
    public void Evaluated(int steps, double epoch, MetricSet metrics) => Logged(steps, epoch, metrics);

    /// <summary>Takes <c>loss</c> and <c>eval_loss</c> of a logged step.</summary>
    public void Add(MetricSet entry)
    {
        var step = entry.Number("step") ?? 0;
        Add(_train, step, entry.Number("loss"));
        Add(_held, step, entry.Number("eval_loss"));
    }

    private void Add(List<PlotPoint> series, double step, double? loss)
    {
        if (loss is not { } value || !double.IsFinite(value))
            return;
        series.Add(new(step, value));
        _changed = true;
    }

    /// <summary>Writes the files where that costs the run less than a hundredth of its time: at most every two seconds.</summary>
    public void WriteIfDue()
    {
        if (!_sinceWrite.IsRunning || (_sinceWrite.Elapsed > TimeSpan.FromSeconds(2) && _sinceWrite.Elapsed > 100 * _lastCost))
            Write();
    }

    /// <summary>Writes the files where something has been logged since they were written.</summary>
    public void Write()
    {
        if (!_changed)
            return;
        var start = Stopwatch.GetTimestamp();
        var figure = new LossFigure(title, _train, _held);
        var svg = new SvgCanvas(LossFigure.Width, LossFigure.Height);
        figure.Draw(svg);
        WholeFile.WriteText(Path.Combine(outputDir, "loss.svg"), svg.ToSvg($"Loss of {title}"), durable: false);
        var pixels = new PixelCanvas(LossFigure.Width, LossFigure.Height, PixelsPerUnit);
        figure.Draw(pixels);
        WholeFile.WriteBytes(Path.Combine(outputDir, "loss.png"),
            PngFile.Encode(pixels.Pixels, pixels.Width, pixels.Height), durable: false);
        _changed = false;
        _lastCost = Stopwatch.GetElapsedTime(start);
        _sinceWrite.Restart();
    }
}
