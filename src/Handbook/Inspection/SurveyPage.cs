using System.Globalization;
using System.Net;
using System.Text;
using Handbook.Data.Inspection;
using Handbook.Training.Plots;

namespace Handbook.Inspection;

/// <summary>Surveys as one HTML page that needs nothing beside itself: no script, no picture, no font from elsewhere.</summary>
internal static class SurveyPage
{
    /// <summary>How every page begins.</summary>
    public const string Opening = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        + "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        + "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n";

    private const string Style = """
        :root { color-scheme: light dark; --ink: #1f2937; --paper: #ffffff; --faint: #4b5563; --line: #d1d5db; --warn: #92400e; --warnpaper: #fef3c7; }
        @media (prefers-color-scheme: dark) { :root { --ink: #e5e7eb; --paper: #111827; --faint: #9ca3af; --line: #374151; --warn: #fde68a; --warnpaper: #451a03; } }
        body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
        h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; border-bottom: 1px solid var(--line); margin-top: 2.5rem; } h3 { font-size: 1.05rem; }
        .table { overflow-x: auto; } table { border-collapse: collapse; } caption { text-align: left; color: var(--faint); }
        th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
        figure { margin: 1rem 0; } figcaption { color: var(--faint); } svg { max-width: 100%; height: auto; border-radius: 6px; }
        .warning { color: var(--warn); background: var(--warnpaper); padding: .25rem .5rem; border-radius: 4px; } .note { color: var(--faint); }
        nav ul { padding-left: 1.2rem; }
        """;

    /// <summary>The page.</summary>
    /// <param name="title">What was surveyed.</param>
    /// <param name="surveys">The surveys of its splits.</param>
    public static string Of(string title, IReadOnlyList<DataSurvey> surveys)
    {
        var page = new StringBuilder();
        page.Append(Opening)
            .Append(CultureInfo.InvariantCulture, $"<title>{Escape(title)}</title>\n<style>\n{Style}\n</style>\n</head>\n<body>\n<main>\n<h1>{Escape(title)}</h1>\n");
        if (surveys.Count > 1)
            page.Append("<nav aria-label=\"Splits\"><ul>\n")
                .AppendJoin('\n', surveys.Select((survey, i) => $"<li><a href=\"#s{i}\">{Escape(survey.Name)}</a></li>")).Append("\n</ul></nav>\n");
        foreach (var (i, survey) in surveys.Index())
        {
            page.Append(CultureInfo.InvariantCulture, $"<section aria-labelledby=\"s{i}\">\n<h2 id=\"s{i}\">{Escape(survey.Name)}</h2>\n");
            foreach (var section in SurveyText.Of(survey))
                Section(page, section);
            page.Append("</section>\n");
        }
        return page.Append("</main>\n</body>\n</html>\n").ToString();
    }

    private static void Section(StringBuilder page, SurveySection section)
    {
        page.Append(CultureInfo.InvariantCulture, $"<h3>{Escape(section.Title)}</h3>\n");
        foreach (var line in section.Lines)
        {
            var weight = line.StartsWith("warning: ", StringComparison.Ordinal) ? " class=\"warning\""
                : line.StartsWith("note: ", StringComparison.Ordinal) ? " class=\"note\"" : "";
            page.Append(CultureInfo.InvariantCulture, $"<p{weight}>{Escape(line)}</p>\n");
        }
        if (section.Table.Count > 1)
            Table(page, section);
        if (section.Bars.Count == 0)
            return;
        var figure = new BarFigure(section.Bars);
        var canvas = new SvgCanvas(BarFigure.Width, figure.Height);
        figure.Draw(canvas);
        // Who cannot see the bars hears them: the picture's own title says each.
        page.Append(CultureInfo.InvariantCulture, $"<figure>\n{canvas.ToSvg($"{section.BarsTitle}: "
            + string.Join(", ", section.Bars.Select(bar => $"{bar.Label}: {bar.Count:N0}")))}<figcaption>{Escape(section.BarsTitle)}</figcaption>\n</figure>\n");
    }

    private static void Table(StringBuilder page, SurveySection section)
    {
        page.Append(CultureInfo.InvariantCulture, $"<div class=\"table\"><table>\n<caption>{Escape(section.Title)}</caption>\n<thead><tr>")
            .AppendJoin("", section.Table[0].Select(cell => $"<th scope=\"col\">{Escape(cell)}</th>")).Append("</tr></thead>\n<tbody>\n");
        foreach (var row in section.Table.Skip(1))
            page.Append(CultureInfo.InvariantCulture, $"<tr><th scope=\"row\">{Escape(row[0])}</th>")
                .AppendJoin("", row.Skip(1).Select(cell => $"<td>{Escape(cell)}</td>")).Append("</tr>\n");
        page.Append("</tbody>\n</table></div>\n");
    }

    /// <summary>Text for HTML; control characters, which have no place in it, become marks.</summary>
    private static string Escape(string text) =>
        WebUtility.HtmlEncode(string.Concat(text.Select(c => char.IsControl(c) && c is not ('\n' or '\t') ? '\uFFFD' : c)));
}
