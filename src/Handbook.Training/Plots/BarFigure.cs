using System.Globalization;

namespace Handbook.Training.Plots;

/// <summary>Counts as bars that lie, one below the other, each with its label and its number.</summary>
/// <param name="bars">Label and count of each.</param>
internal sealed class BarFigure(IReadOnlyList<(string Label, long Count)> bars)
{
    public const double Width = 760;

    private const double Row = 26, Labels = 190, Numbers = 90;
    private const int LongestLabel = 26;

    private static readonly PlotColor s_paper = PlotColor.Hex(0xffffff);
    private static readonly PlotColor s_bar = PlotColor.Hex(0x2563eb);
    private static readonly PlotColor s_ink = PlotColor.Hex(0x1f2937);

    /// <summary>How high the figure is.</summary>
    public double Height => 12 + Row * bars.Count;

    public void Draw(ICanvas canvas)
    {
        canvas.Fill(0, 0, Width, Height, s_paper);
        var most = Math.Max(1, bars.Select(bar => bar.Count).DefaultIfEmpty(1).Max());
        foreach (var (i, (label, count)) in bars.Index())
        {
            var top = 6 + Row * i;
            canvas.Text(new(Labels - 10, top + 17), label.Length <= LongestLabel ? label : label[..(LongestLabel - 3)] + "...", 13, s_ink, TextAnchor.End);
            var width = (Width - Labels - Numbers) * count / most;
            if (count > 0)
                canvas.Fill(Labels, top + 4, Math.Max(1, width), Row - 8, s_bar);
            canvas.Text(new(Labels + width + 8, top + 17), count.ToString("N0", CultureInfo.InvariantCulture), 13, s_ink);
        }
    }
}
