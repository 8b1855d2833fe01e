using System.Globalization;
using System.Text;

namespace Handbook.Text.Templates;

/// <summary>Python's <c>strftime</c> on Linux in the C locale, with the flags of glibc.</summary>
internal static class Strftime
{
    private static readonly string[] _days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    private static readonly string[] _months = ["January", "February", "March", "April", "May", "June", "July", "August", "September",
        "October", "November", "December"];

    public static string Format(DateTime at, string format)
    {
        var result = new StringBuilder();
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 == format.Length)
            {
                result.Append(format[i]);
                continue;
            }
            var start = i++;
            var flag = '\0';
            bool upper = false, swap = false;
            for (; i < format.Length && format[i] is '-' or '_' or '0' or '^' or '#'; i++)
            {
                if (format[i] == '^')
                    upper = true;
                else if (format[i] == '#')
                    swap = true;
                else
                    flag = format[i];
            }
            var width = 0;
            for (; i < format.Length && char.IsAsciiDigit(format[i]); i++)
            {
                width = (width * 10) + (format[i] - '0');
                Budget.Text(width);
            }
            if (i < format.Length && format[i] is 'E' or 'O')
                i++;
            if (i == format.Length || Field(at, format[i], flag, width) is not { } text)
            {
                // What is no directive stays as it is, as glibc does.
                result.Append(format.AsSpan(start, Math.Min(i + 1, format.Length) - start));
                continue;
            }
            result.Append(upper ? text.ToUpperInvariant() : swap
                ? (format[i] is 'p' or 'Z' ? text.ToLowerInvariant() : text.ToUpperInvariant()) : text);
        }
        return result.ToString();
    }

    private static string? Field(DateTime at, char directive, char flag, int width)
    {
        var week = (at.DayOfYear + 6 - (int)at.DayOfWeek) / 7;
        var mondayWeek = (at.DayOfYear + 6 - (((int)at.DayOfWeek + 6) % 7)) / 7;
        var hour12 = at.Hour % 12 == 0 ? 12 : at.Hour % 12;
        return directive switch
        {
            'a' => Text(_days[(int)at.DayOfWeek][..3]),
            'A' => Text(_days[(int)at.DayOfWeek]),
            'b' or 'h' => Text(_months[at.Month - 1][..3]),
            'B' => Text(_months[at.Month - 1]),
            'c' => Format(at, "%a %b %e %H:%M:%S %Y"),
            'C' => Number(at.Year / 100, 2),
            'd' => Number(at.Day, 2),
            'D' or 'x' => Format(at, "%m/%d/%y"),
            'e' => Number(at.Day, 2, ' '),
            'f' => (at.Ticks % TimeSpan.TicksPerSecond / 10).ToString("000000"),
            'F' => Format(at, "%Y-%m-%d"),
            'g' => Number(ISOWeek.GetYear(at) % 100, 2),
            'G' => Number(ISOWeek.GetYear(at), 1),
            'H' => Number(at.Hour, 2),
            'I' => Number(hour12, 2),
            'j' => Number(at.DayOfYear, 3),
            'k' => Number(at.Hour, 2, ' '),
            'l' => Number(hour12, 2, ' '),
            'm' => Number(at.Month, 2),
            'M' => Number(at.Minute, 2),
            'n' => "\n",
            'p' => Text(at.Hour < 12 ? "AM" : "PM"),
            'P' => Text(at.Hour < 12 ? "am" : "pm"),
            'r' => Format(at, "%I:%M:%S %p"),
            'R' => Format(at, "%H:%M"),
            's' => new DateTimeOffset(at).ToUnixTimeSeconds().ToString(),
            'S' => Number(at.Second, 2),
            't' => "\t",
            'T' or 'X' => Format(at, "%H:%M:%S"),
            'u' => Number(at.DayOfWeek == DayOfWeek.Sunday ? 7 : (int)at.DayOfWeek, 1),
            'U' => Number(week, 2),
            'V' => Number(ISOWeek.GetWeekOfYear(at), 2),
            'w' => Number((int)at.DayOfWeek, 1),
            'W' => Number(mondayWeek, 2),
            'y' => Number(at.Year % 100, 2),
            'Y' => Number(at.Year, 1),
            'z' or 'Z' => "", // a time without zone, as datetime.now() gives it
            '%' => "%",
            _ => null,
        };

        string Text(string text) => flag == '0' ? text.PadLeft(width, '0') : text.PadLeft(width);

        string Number(int value, int digits, char fill = '0')
        {
            fill = flag switch { '_' => ' ', '0' => '0', _ => fill };
            return flag == '-' && width == 0 ? value.ToString() : value.ToString().PadLeft(Math.Max(digits, width), fill);
        }
    }
}
