using System.Globalization;

namespace Handbook.Training.Plots;

/// <summary>The values that an axis spans.</summary>
internal readonly record struct PlotRange(double Low, double High, bool IsLogarithmic);

/// <summary>The axes of a figure over the steps of a run, and where on it a value lies.</summary>
/// <param name="values">What the upright axis spans.</param>
/// <param name="steps">What the other one spans.</param>
internal sealed class PlotFrame(PlotRange values, (double First, double Last) steps)
{
    public const double Width = 900;
    public const double Height = 500;
    public const double Left = 66, Right = Width - 74;

    private const double Top = 84, Bottom = Height - 52;
    private const int MostPoints = 1200;

    public static readonly PlotColor Paper = PlotColor.Hex(0xffffff);
    public static readonly PlotColor Faint = PlotColor.Hex(0x6b7280);

    private static readonly PlotColor s_grid = PlotColor.Hex(0xe8ebef);
    private static readonly PlotColor s_axis = PlotColor.Hex(0xb4bac2);
    private static readonly PlotColor s_ink = PlotColor.Hex(0x1f2937);

    /// <summary>Where a step and its value lie.</summary>
    public PlotPoint At(PlotPoint point) => new(X(point.X), Y(point.Y));

    private double X(double step) => Left + (step - steps.First) / (steps.Last - steps.First) * (Right - Left);

    private double Y(double value)
    {
        var (low, high, isLogarithmic) = values;
        var share = isLogarithmic ? Math.Log(Math.Max(value, low / 2) / low) / Math.Log(high / low) : (value - low) / (high - low);
        return Bottom - Math.Clamp(share, -0.01, 1.02) * (Bottom - Top);
    }

    /// <summary>Draws paper, title, grid and axes.</summary>
    /// <param name="title">Name of the figure.</param>
    /// <param name="what">What the upright axis measures.</param>
    public void Draw(ICanvas canvas, string title, string what)
    {
        canvas.Fill(0, 0, Width, Height, Paper);
        canvas.Text(new(Left - 2, 36), Fit(title, 60), 19, s_ink, bold: true);

        var marks = values.IsLogarithmic ? Ticks.Logarithmic(values.Low, values.High) : Ticks.Linear(values.Low, values.High, 6);
        foreach (var (value, label) in marks.Zip(Ticks.Labels(marks)))
        {
            canvas.Line([new(Left, Y(value)), new(Right, Y(value))], 1, s_grid);
            canvas.Text(new(Left - 10, Y(value) + 4.5), label, 12.5, Faint, TextAnchor.End);
        }
        var whole = Ticks.Linear(steps.First, steps.Last, 8).Where(step => step == Math.Floor(step)).ToArray();
        foreach (var (step, label) in whole.Zip(Ticks.Labels(whole)))
        {
            canvas.Line([new(X(step), Bottom), new(X(step), Bottom + 5)], 1, s_axis);
            canvas.Text(new(X(step), Bottom + 21), label, 12.5, Faint, TextAnchor.Middle);
        }
        canvas.Line([new(Left, Bottom), new(Right, Bottom)], 1, s_axis);
        canvas.Text(new((Left + Right) / 2, Height - 12), "step", 12.5, Faint, TextAnchor.Middle);
        canvas.Text(new(Left - 10, Top - 14), values.IsLogarithmic ? $"{what} (log)" : what, 12.5, Faint, TextAnchor.End);
    }

    /// <summary>A range with some air around what is shown; logarithmic where the largest is many times the smallest.</summary>
    public static PlotRange Range(IReadOnlyCollection<double> shown)
    {
        if (shown.Count == 0)
            return new(0, 1, false);
        var (low, high) = (shown.Min(), shown.Max());
        if (low > 0 && high / low > 30)
            return new(low / 1.1, high * 1.1, true);
        var air = Math.Max((high - low) * 0.06, Math.Max(Math.Abs(high), 1e-6) * 0.01);
        return new(low >= 0 ? Math.Max(0, low - air) : low - air, high + air, false);
    }

    /// <summary>From the first step to the last; from 0 where the first is near it.</summary>
    public static (double First, double Last) Steps(IEnumerable<PlotPoint> points)
    {
        var all = points.Select(point => point.X).ToList();
        if (all.Count == 0)
            return (0, 1);
        var (first, last) = (all.Min(), all.Max());
        if (first <= 0.05 * last)
            first = 0;
        return (first, last > first ? last : first + 1);
    }

    /// <summary>At most <see cref="MostPoints"/> points that look the same: lowest and highest of each stretch.</summary>
    public static IEnumerable<PlotPoint> Thin(IReadOnlyList<PlotPoint> series)
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

    /// <summary>A value beside the end of its line.</summary>
    public static string Show(double value) =>
        value.ToString(Math.Abs(value) >= 100 ? "F0" : Math.Abs(value) >= 0.1 ? "F3" : "G3", CultureInfo.InvariantCulture);

    private static string Fit(string text, int length) => text.Length <= length ? text : text[..(length - 3)] + "...";
}
