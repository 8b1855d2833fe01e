namespace Handbook.Training.Plots;

/// <summary>Draws into pixels, with smooth edges: each pixel takes as much colour as its distance to the line says.</summary>
internal sealed class PixelCanvas : ICanvas
{
    private readonly double _scale;
    private readonly float[] _cover;    // of the line being drawn: the largest cover counts, so that joints are not drawn twice

    /// <param name="width">In the drawing's units.</param>
    /// <param name="height">In the drawing's units.</param>
    /// <param name="scale">Pixels per unit.</param>
    public PixelCanvas(double width, double height, double scale)
    {
        _scale = scale;
        Width = (int)Math.Round(width * scale);
        Height = (int)Math.Round(height * scale);
        Pixels = new byte[Width * Height * 3];
        _cover = new float[Width * Height];
    }

    public int Width { get; }

    public int Height { get; }

    /// <summary>Red, green, blue, row by row.</summary>
    public byte[] Pixels { get; }

    public void Fill(double x, double y, double width, double height, PlotColor color)
    {
        var (left, right) = (Clamp(x * _scale, Width), Clamp((x + width) * _scale, Width));
        var (top, bottom) = (Clamp(y * _scale, Height), Clamp((y + height) * _scale, Height));
        for (var row = top; row < bottom; row++)
            for (var column = left; column < right; column++)
                Blend(row * Width + column, color, 1);
    }

    public void Line(IReadOnlyList<PlotPoint> points, double width, PlotColor color) => Stroke([points], width, color);

    public void Disc(PlotPoint center, double radius, PlotColor color) => Stroke([[center, center]], 2 * radius, color);

    public void Text(PlotPoint position, string text, double size, PlotColor color, TextAnchor anchor = TextAnchor.Start, bool bold = false)
    {
        var start = anchor switch { TextAnchor.Middle => 0.5, TextAnchor.End => 1.0, _ => 0.0 } * StrokeFont.Width(text, size);
        var strokes = StrokeFont.Strokes(text, new PlotPoint(position.X - start, position.Y), size);
        Stroke(strokes, size * (bold ? StrokeFont.BoldWeight : StrokeFont.Weight), color);
    }

    private void Stroke(IEnumerable<IReadOnlyList<PlotPoint>> lines, double width, PlotColor color)
    {
        var half = width * _scale / 2;
        var (minRow, maxRow) = (Height, 0);
        var (minColumn, maxColumn) = (Width, 0);
        foreach (var points in lines)
        {
            for (var i = 0; i + 1 < points.Count; i++)
            {
                var (x0, y0, x1, y1) = (points[i].X * _scale, points[i].Y * _scale, points[i + 1].X * _scale, points[i + 1].Y * _scale);
                var (top, bottom) = (Clamp(Math.Min(y0, y1) - half - 1, Height), Clamp(Math.Max(y0, y1) + half + 2, Height));
                var (left, right) = (Clamp(Math.Min(x0, x1) - half - 1, Width), Clamp(Math.Max(x0, x1) + half + 2, Width));
                (minRow, maxRow) = (Math.Min(minRow, top), Math.Max(maxRow, bottom));
                (minColumn, maxColumn) = (Math.Min(minColumn, left), Math.Max(maxColumn, right));
                Cover(x0, y0, x1, y1, half, top, bottom, left, right);
            }
        }
        for (var row = minRow; row < maxRow; row++)
        {
            var cover = _cover.AsSpan(row * Width, Width);
            for (var column = minColumn; column < maxColumn; column++)
            {
                if (cover[column] == 0)
                    continue;
                Blend(row * Width + column, color, cover[column]);
                cover[column] = 0;
            }
        }
    }

    private void Cover(double x0, double y0, double x1, double y1, double half, int top, int bottom, int left, int right)
    {
        var (dx, dy) = (x1 - x0, y1 - y0);
        var squared = dx * dx + dy * dy;
        for (var row = top; row < bottom; row++)
        {
            var cover = _cover.AsSpan(row * Width, Width);
            var py = row + 0.5 - y0;
            for (var column = left; column < right; column++)
            {
                var px = column + 0.5 - x0;
                var along = squared == 0 ? 0 : Math.Clamp((px * dx + py * dy) / squared, 0, 1);
                var (ex, ey) = (px - along * dx, py - along * dy);
                var distance = Math.Sqrt(ex * ex + ey * ey);
                // A line thinner than a pixel covers only its width of it.
                var covered = Math.Clamp(half + 0.5 - distance, 0, Math.Min(1, 2 * half));
                if (covered > cover[column])
                    cover[column] = (float)covered;
            }
        }
    }

    private void Blend(int pixel, PlotColor color, double cover)
    {
        var share = cover * color.Opacity;
        var at = Pixels.AsSpan(pixel * 3, 3);
        at[0] = Mix(at[0], color.Red, share);
        at[1] = Mix(at[1], color.Green, share);
        at[2] = Mix(at[2], color.Blue, share);
    }

    private static byte Mix(byte below, byte above, double share) => (byte)Math.Round(below + (above - below) * share);

    private static int Clamp(double value, int limit) => (int)Math.Clamp(Math.Round(value), 0, limit);
}
