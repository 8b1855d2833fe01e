namespace Handbook.Training.Plots;

/// <summary>One number of two runs over their steps: the first as a broad pale line, the second as a narrow dark one upon it, so that both
/// are seen where they agree.</summary>
/// <param name="title">What is compared.</param>
/// <param name="what">The number.</param>
/// <param name="first">Name and points of the first run, by step.</param>
/// <param name="second">Those of the second.</param>
internal sealed class ComparedFigure(string title, string what, (string Name, IReadOnlyList<PlotPoint> Points) first,
    (string Name, IReadOnlyList<PlotPoint> Points) second)
{
    private static readonly PlotColor s_first = PlotColor.Hex(0xea580c, 0.45);
    private static readonly PlotColor s_second = PlotColor.Hex(0x1d4ed8);

    public void Draw(ICanvas canvas)
    {
        var all = first.Points.Concat(second.Points).Where(point => double.IsFinite(point.Y)).ToArray();
        var frame = new PlotFrame(PlotFrame.Range([.. all.Select(point => point.Y)]), PlotFrame.Steps(all));
        frame.Draw(canvas, title, what);
        var x = PlotFrame.Left;
        foreach (var (series, width, color) in (ReadOnlySpan<((string Name, IReadOnlyList<PlotPoint> Points), double, PlotColor)>)
            [(first, 6, s_first), (second, 1.4, s_second)])
        {
            PlotPoint[] points = [.. series.Points.Where(point => double.IsFinite(point.Y))];
            if (points.Length > 1)
                canvas.Line([.. PlotFrame.Thin(points).Select(frame.At)], width, color);
            else
                foreach (var point in points)
                    canvas.Disc(frame.At(point), width, color);
            canvas.Line([new(x, 54), new(x + 20, 54)], width, color);
            canvas.Text(new(x + 28, 58), series.Name, 13, PlotFrame.Faint);
            x += 60 + 7.5 * series.Name.Length;
        }
    }
}
