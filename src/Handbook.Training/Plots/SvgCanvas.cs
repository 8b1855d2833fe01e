using System.Globalization;
using System.Security;
using System.Text;

namespace Handbook.Training.Plots;

/// <summary>Draws into an SVG document.</summary>
internal sealed class SvgCanvas(double width, double height) : ICanvas
{
    private readonly StringBuilder _body = new();

    public void Fill(double x, double y, double width, double height, PlotColor color) =>
        _body.Append($"<rect x=\"{N(x)}\" y=\"{N(y)}\" width=\"{N(width)}\" height=\"{N(height)}\" "
            + $"fill=\"{color.Css}\"{Opacity("fill", color)}/>\n");

    public void Line(IReadOnlyList<PlotPoint> points, double width, PlotColor color)
    {
        _body.Append("<polyline points=\"");
        foreach (var point in points)
            _body.Append(N(point.X)).Append(',').Append(N(point.Y)).Append(' ');
        _body.Append($"\" fill=\"none\" stroke=\"{color.Css}\"{Opacity("stroke", color)} stroke-width=\"{N(width)}\" "
            + $"stroke-linejoin=\"round\" stroke-linecap=\"round\"/>\n");
    }

    public void Disc(PlotPoint center, double radius, PlotColor color) =>
        _body.Append($"<circle cx=\"{N(center.X)}\" cy=\"{N(center.Y)}\" r=\"{N(radius)}\" fill=\"{color.Css}\"{Opacity("fill", color)}/>\n");

    public void Text(PlotPoint position, string text, double size, PlotColor color, TextAnchor anchor = TextAnchor.Start, bool bold = false)
    {
        var at = anchor switch { TextAnchor.Middle => " text-anchor=\"middle\"", TextAnchor.End => " text-anchor=\"end\"", _ => "" };
        _body.Append($"<text x=\"{N(position.X)}\" y=\"{N(position.Y)}\" font-size=\"{N(size)}\" "
            + $"fill=\"{color.Css}\"{at}{(bold ? " font-weight=\"600\"" : "")}>{SecurityElement.Escape(Printable(text))}</text>\n");
    }

    /// <summary>The whole document.</summary>
    public string ToSvg(string title) =>
        $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {N(width)} {N(height)}\" width=\"{N(width)}\" height=\"{N(height)}\" "
            + "role=\"img\" " +
        $"font-family=\"Inter, 'Helvetica Neue', Helvetica, Arial, "
            + $"sans-serif\">\n<title>{SecurityElement.Escape(Printable(title))}</title>\n{_body}</svg>\n";

    private static string Opacity(string kind, PlotColor color) => color.Opacity >= 1 ? "" : $" {kind}-opacity=\"{N(color.Opacity)}\"";

    private static string N(double value) => Math.Round(value, 2).ToString(CultureInfo.InvariantCulture);

    // A control character has no place in XML, not even escaped.
    private static string Printable(string text) =>
        string.Concat(text.Select(c => char.IsControl(c) || char.IsSurrogate(c) || c >= '\uFFFE' ? '?' : c));
}
