using System.Globalization;

namespace Handbook.Training.Plots;

/// <summary>Training loss, raw and smoothed, and held-out loss over the steps.</summary>
/// <param name="title">Name of the run.</param>
/// <param name="train">Step and loss, by step.</param>
/// <param name="held">Step and held-out loss, by step; may be empty.</param>
internal sealed class LossFigure(string title, IReadOnlyList<PlotPoint> train, IReadOnlyList<PlotPoint> held)
{
    public const double Width = PlotFrame.Width;
    public const double Height = PlotFrame.Height;

    private static readonly PlotColor Train = PlotColor.Hex(0x2563eb);
    private static readonly PlotColor Raw = PlotColor.Hex(0x2563eb, 0.28);
    private static readonly PlotColor Held = PlotColor.Hex(0xea580c);

    private readonly List<PlotPoint> _smooth = Smooth(train);

    public void Draw(ICanvas canvas)
    {
        var frame = new PlotFrame(Range(), PlotFrame.Steps(train.Concat(held)));
        frame.Draw(canvas, title, "loss");
        PlotPoint At(PlotPoint point) => frame.At(point);

        if (train.Count > 1)
            canvas.Line([.. PlotFrame.Thin(train).Select(At)], 1.1, Raw);
        if (_smooth.Count > 1)
            canvas.Line([.. PlotFrame.Thin(_smooth).Select(At)], 2.2, Train);
        if (held.Count > 1)
            canvas.Line([.. PlotFrame.Thin(held).Select(At)], 2, Held);
        foreach (var point in held.Count <= 60 ? held : [held[^1]])
        {
            canvas.Disc(At(point), 4.2, PlotFrame.Paper);
            canvas.Disc(At(point), 3.2, Held);
        }
        if (train.Count == 1)
            canvas.Disc(At(train[0]), 3, Train);

        Ends(canvas, At);
        Legend(canvas);
    }

    /// <summary>The last values beside the ends of their lines, moved apart where they would touch.</summary>
    private void Ends(ICanvas canvas, Func<PlotPoint, PlotPoint> at)
    {
        const double Line = 15;
        var trainEnd = _smooth.Count > 0 ? at(_smooth[^1]).Y : (double?)null;
        var heldEnd = held.Count > 0 ? at(held[^1]).Y : (double?)null;
        if (trainEnd is { } a && heldEnd is { } b && Math.Abs(a - b) < Line)
        {
            var push = (Line - Math.Abs(a - b)) / 2;
            (trainEnd, heldEnd) = a <= b ? (a - push, b + push) : (a + push, b - push);
        }
        if (trainEnd is { } y)
            canvas.Text(new(PlotFrame.Right + 10, y + 4.5), PlotFrame.Show(_smooth[^1].Y), 13, Train, bold: true);
        if (heldEnd is { } z)
            canvas.Text(new(PlotFrame.Right + 10, z + 4.5), PlotFrame.Show(held[^1].Y), 13, Held, bold: true);
    }

    private void Legend(ICanvas canvas)
    {
        const double Y = 58;
        var x = PlotFrame.Left;
        if (train.Count > 0)
        {
            canvas.Line([new(x, Y - 4), new(x + 20, Y - 4)], 2.4, Train);
            canvas.Text(new(x + 28, Y), "training, smoothed", 13, PlotFrame.Faint);
            canvas.Line([new(x + 172, Y - 4), new(x + 192, Y - 4)], 1.1, Raw);
            canvas.Text(new(x + 200, Y), "each log", 13, PlotFrame.Faint);
            x += 284;
        }
        if (held.Count > 0)
        {
            canvas.Line([new(x, Y - 4), new(x + 20, Y - 4)], 2, Held);
            canvas.Disc(new(x + 10, Y - 4), 3.2, Held);
            canvas.Text(new(x + 28, Y), "held out", 13, PlotFrame.Faint);
        }
    }

    // A single spike must not flatten the curve: single logged values may leave the picture, the smoothed line and the evaluations may not.
    private PlotRange Range()
    {
        var raw = train.Select(point => point.Y).Order().ToArray();
        var shown = _smooth.Concat(held).Select(point => point.Y).ToList();
        if (raw.Length > 0)
        {
            shown.Add(raw[(int)(0.005 * (raw.Length - 1))]);
            shown.Add(raw[(int)(0.995 * (raw.Length - 1))]);
        }
        return PlotFrame.Range(shown);
    }

    /// <summary>Mean over a window around each step that grows with the steps before it: sharp at the steep start,
    /// calm in the long run.</summary>
    private static List<PlotPoint> Smooth(IReadOnlyList<PlotPoint> series)
    {
        var sums = new double[series.Count + 1];
        for (var i = 0; i < series.Count; i++)
            sums[i + 1] = sums[i] + series[i].Y;
        return [.. series.Select((point, i) =>
        {
            var half = i / 12;
            var (from, to) = (i - half, Math.Min(series.Count, i + half + 1));
            return new PlotPoint(point.X, (sums[to] - sums[from]) / (to - from));
        })];
    }
}
