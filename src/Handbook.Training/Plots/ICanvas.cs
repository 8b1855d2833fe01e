namespace Handbook.Training.Plots;

/// <summary>A point of a drawing, in its own units: x to the right, y down.</summary>
internal readonly record struct PlotPoint(double X, double Y);

/// <summary>A colour as in CSS, with opacity 0–1.</summary>
internal readonly record struct PlotColor(byte Red, byte Green, byte Blue, double Opacity = 1)
{
    public static PlotColor Hex(int rgb, double opacity = 1) => new((byte)(rgb >> 16), (byte)(rgb >> 8), (byte)rgb, opacity);

    public string Css => $"#{Red:x2}{Green:x2}{Blue:x2}";
}

/// <summary>Where on a text its position is.</summary>
internal enum TextAnchor
{
    Start,
    Middle,
    End,
}

/// <summary>What a plot needs to be drawn, as vectors or as pixels.</summary>
internal interface ICanvas
{
    void Fill(double x, double y, double width, double height, PlotColor color);

    /// <summary>A line through the points with round joints.</summary>
    void Line(IReadOnlyList<PlotPoint> points, double width, PlotColor color);

    void Disc(PlotPoint center, double radius, PlotColor color);

    /// <param name="position">On the baseline.</param>
    /// <param name="text">One line.</param>
    /// <param name="size">Font size, as in CSS.</param>
    /// <param name="color">Its colour.</param>
    /// <param name="anchor">Which end of the text is at the position.</param>
    /// <param name="bold">Heavier strokes.</param>
    void Text(PlotPoint position, string text, double size, PlotColor color, TextAnchor anchor = TextAnchor.Start, bool bold = false);
}
