using System.Globalization;

namespace Handbook.Training.Plots;

/// <summary>Training loss, raw and smoothed, and held-out loss over the steps.</summary>
/// <param name="title">Name of the run.</param>
/// <param name="train">Step and loss, by step.</param>
/// <param name="held">Step and held-out loss, by step; may be empty.</param>
internal sealed class LossFigure(string title, IReadOnlyList<PlotPoint> train, IReadOnlyList<PlotPoint> held)
{
    public const double Width = 900;
    public const double Height = 500;

    private const double Left = 66, Right = Width - 74, Top = 84, Bottom = Height - 52;
    private const int MostPoints = 1200;

    private static readonly PlotColor Paper = PlotColor.Hex(0xffffff);
    private static readonly PlotColor Grid = PlotColor.Hex(0xe8ebef);
    private static readonly PlotColor Axis = PlotColor.Hex(0xb4bac2);
    private static readonly PlotColor Ink = PlotColor.Hex(0x1f2937);
    private static readonly PlotColor Faint = PlotColor.Hex(0x6b7280);
    private static readonly PlotColor Train = PlotColor.Hex(0x2563eb);
    private static readonly PlotColor Raw = PlotColor.Hex(0x2563eb, 0.28);
    private static readonly PlotColor Held = PlotColor.Hex(0xea580c);

    private readonly List<PlotPoint> _smooth = Smooth(train);

    public void Draw(ICanvas canvas)
    {
        var (low, high, logarithmic) = Range();
        var (firstStep, lastStep) = Steps();
        double X(double step) => Left + (step - firstStep) / (lastStep - firstStep) * (Right - Left);
        double Y(double loss)
        {
            var share = logarithmic ? Math.Log(Math.Max(loss, low / 2) / low) / Math.Log(high / low) : (loss - low) / (high - low);
            return Bottom - Math.Clamp(share, -0.01, 1.02) * (Bottom - Top);
        }
        PlotPoint At(PlotPoint point) => new(X(point.X), Y(point.Y));

        canvas.Fill(0, 0, Width, Height, Paper);
        canvas.Text(new(Left - 2, 36), Fit(title, 60), 19, Ink, bold: true);

        var losses = logarithmic ? Ticks.Logarithmic(low, high) : Ticks.Linear(low, high, 6);
        foreach (var (loss, label) in losses.Zip(Ticks.Labels(losses)))
        {
            canvas.Line([new(Left, Y(loss)), new(Right, Y(loss))], 1, Grid);
            canvas.Text(new(Left - 10, Y(loss) + 4.5), label, 12.5, Faint, TextAnchor.End);
        }
        var steps = Ticks.Linear(firstStep, lastStep, 8).Where(step => step == Math.Floor(step)).ToArray();
        foreach (var (step, label) in steps.Zip(Ticks.Labels(steps)))
        {
            canvas.Line([new(X(step), Bottom), new(X(step), Bottom + 5)], 1, Axis);
            canvas.Text(new(X(step), Bottom + 21), label, 12.5, Faint, TextAnchor.Middle);
        }
        canvas.Line([new(Left, Bottom), new(Right, Bottom)], 1, Axis);
        canvas.Text(new((Left + Right) / 2, Height - 12), "step", 12.5, Faint, TextAnchor.Middle);
        canvas.Text(new(Left - 10, Top - 14), logarithmic ? "loss (log)" : "loss", 12.5, Faint, TextAnchor.End);

        if (train.Count > 1)
            canvas.Line([.. Thin(train).Select(At)], 1.1, Raw);
        if (_smooth.Count > 1)
            canvas.Line([.. Thin(_smooth).Select(At)], 2.2, Train);
        if (held.Count > 1)
            canvas.Line([.. Thin(held).Select(At)], 2, Held);
        foreach (var point in held.Count <= 60 ? held : [held[^1]])
        {
            canvas.Disc(At(point), 4.2, Paper);
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
            canvas.Text(new(Right + 10, y + 4.5), Show(_smooth[^1].Y), 13, Train, bold: true);
        if (heldEnd is { } z)
            canvas.Text(new(Right + 10, z + 4.5), Show(held[^1].Y), 13, Held, bold: true);
    }

    private void Legend(ICanvas canvas)
    {
        const double Y = 58;
        var x = Left;
        if (train.Count > 0)
        {
            canvas.Line([new(x, Y - 4), new(x + 20, Y - 4)], 2.4, Train);
            canvas.Text(new(x + 28, Y), "training, smoothed", 13, Faint);
            canvas.Line([new(x + 172, Y - 4), new(x + 192, Y - 4)], 1.1, Raw);
            canvas.Text(new(x + 200, Y), "each log", 13, Faint);
            x += 284;
        }
        if (held.Count > 0)
        {
            canvas.Line([new(x, Y - 4), new(x + 20, Y - 4)], 2, Held);
            canvas.Disc(new(x + 10, Y - 4), 3.2, Held);
            canvas.Text(new(x + 28, Y), "held out", 13, Faint);
        }
    }

    // A single spike must not flatten the curve: single logged values may leave the picture, the smoothed line and the evaluations may not.
    private (double Low, double High, bool Logarithmic) Range()
    {
        var raw = train.Select(point => point.Y).Order().ToArray();
        var shown = _smooth.Concat(held).Select(point => point.Y).ToList();
        if (raw.Length > 0)
        {
            shown.Add(raw[(int)(0.005 * (raw.Length - 1))]);
            shown.Add(raw[(int)(0.995 * (raw.Length - 1))]);
        }
        if (shown.Count == 0)
            return (0, 1, false);
        var (low, high) = (shown.Min(), shown.Max());
        if (low > 0 && high / low > 30)
            return (low / 1.1, high * 1.1, true);
        var air = Math.Max((high - low) * 0.06, Math.Max(Math.Abs(high), 1e-6) * 0.01);
        return (low >= 0 ? Math.Max(0, low - air) : low - air, high + air, false);
    }

    private (double First, double Last) Steps()
    {
        var all = train.Concat(held).Select(point => point.X).ToList();
        if (all.Count == 0)
            return (0, 1);
        var (first, last) = (all.Min(), all.Max());
        if (first <= 0.05 * last)
            first = 0;
        return (first, last > first ? last : first + 1);
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

    /// <summary>At most <see cref="MostPoints"/> points that look the same: lowest and highest of each stretch.</summary>
    private static IEnumerable<PlotPoint> Thin(IReadOnlyList<PlotPoint> series)
    {
        if (series.Count <= MostPoints)
            return series;
        return Enumerable.Range(0, MostPoints / 2).SelectMany(i =>
        {
            var from = (int)((long)i * series.Count / (MostPoints / 2));
            var to = (int)((long)(i + 1) * series.Count / (MostPoints / 2));
            var stretch = Enumerable.Range(from, to - from).Select(at => series[at]).ToList();
            var (low, high) = (stretch.MinBy(point => point.Y), stretch.MaxBy(point => point.Y));
            return low.X <= high.X ? new[] { low, high } : [high, low];
        });
    }

    private static string Show(double loss) =>
        loss.ToString(Math.Abs(loss) >= 100 ? "F0" : Math.Abs(loss) >= 0.1 ? "F3" : "G3", CultureInfo.InvariantCulture);

    private static string Fit(string text, int length) => text.Length <= length ? text : text[..(length - 3)] + "...";
}
