using Handbook.Base;
using Handbook.Data.Inspection;

namespace Handbook.Cli;

/// <summary>Writes a survey to the terminal.</summary>
internal static class SurveyReport
{
    private const int LongestBar = 40, LongestCell = 48;

    public static void Write(DataSurvey survey, TextWriter output)
    {
        foreach (var section in SurveyText.Of(survey))
        {
            output.WriteLine($"── {section.Title} ──");
            foreach (var line in section.Lines)
                output.WriteLine(InspectReport.Printable(line));
            Table(section.Table, output);
            var most = section.Bars.Select(bar => bar.Count).DefaultIfEmpty(1).Max();
            var width = section.Bars.Select(bar => bar.Label.Length).DefaultIfEmpty(0).Max();
            foreach (var (label, count) in section.Bars)
                output.WriteLine(
                    $"  {label.PadLeft(width)} {new string('█', (int)Math.Ceiling((double)LongestBar * count / Math.Max(1, most))).PadRight(LongestBar)} {count:N0}");
            output.WriteLine();
        }
    }

    private static void Table(IReadOnlyList<string[]> table, TextWriter output)
    {
        if (table.Count < 2)
            return;
        string[][] cells = [.. table.Select(row => row.Select(Cell).ToArray())];
        foreach (var line in TextTable.Lines(cells))
            output.WriteLine($"  {line}");

        static string Cell(string text) => InspectReport.Printable(text.Length <= LongestCell ? text : text[..(LongestCell - 1)] + "…");
    }
}
