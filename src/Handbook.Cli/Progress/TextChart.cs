using Handbook.Training.Plots;

namespace Handbook.Cli.Progress;

/// <summary>Curves in a terminal, drawn in the dots of Braille letters: each letter is two dots wide and four high.</summary>
internal static class TextChart
{
    private const string Levels = "▁▂▃▄▅▆▇█";

    // Bits of the dots of a Braille letter, column by column from above. Unicode, block 2800.
    private static readonly int[][] s_dots = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

    /// <summary>Draws curves over one another, with round numbers at the left and the steps below.</summary>
    /// <param name="curves">Points with rising steps; several share the axes.</param>
    /// <param name="width">Columns of the whole.</param>
    /// <param name="height">Lines of the curves.</param>
    /// <param name="paint">Colours what belongs to a curve; a letter that several touch belongs to the last one.</param>
    public static IReadOnlyList<string> Draw(IReadOnlyList<IReadOnlyList<(double Step, double Value)>> curves, int width, int height,
        Func<int, string, string> paint)
    {
        var points = curves.SelectMany(curve => curve).ToArray();
        if (points.Length == 0)
            return [];
        var (low, high) = (points.Min(point => point.Value), points.Max(point => point.Value));
        if (high - low <= Math.Abs(high) * 1e-12)
            (low, high) = (low - Math.Max(1e-9, Math.Abs(low) / 10), high + Math.Max(1e-9, Math.Abs(high) / 10));
        var (first, last) = (points.Min(point => point.Step), points.Max(point => point.Step));
        var ticks = Ticks.Linear(low, high, height / 2);
        var labels = Ticks.Labels(ticks);
        var margin = labels.Max(label => label.Length);
        var columns = Math.Max(4, width - margin - 2);
        var (dots, owners) = (new int[height, columns], new int[height, columns]);
        for (var c = 0; c < curves.Count; c++)
        {
            (int X, int Y)? before = null;
            foreach (var (step, value) in curves[c])
            {
                var at = (X: (int)Math.Round((last > first ? (step - first) / (last - first) : 0) * (2 * columns - 1)), Y: Row(value));
                foreach (var (x, y) in Line(before ?? at, at))
                {
                    dots[y / 4, x / 2] |= s_dots[x % 2][y % 4];
                    owners[y / 4, x / 2] = c;
                }
                before = at;
            }
        }
        var lines = new List<string>();
        for (var y = 0; y < height; y++)
        {
            var tick = Array.FindIndex(ticks, value => Row(value) / 4 == y);
            lines.Add($"{(tick < 0 ? "" : labels[tick]).PadLeft(margin)} {(tick < 0 ? '│' : '┤')}" + string.Concat(Enumerable.Range(0, columns)
                .Select(x => dots[y, x] == 0 ? " " : paint(owners[y, x], $"{(char)(0x2800 + dots[y, x])}"))));
        }
        var (from, to) = ($"{first:0}", $"step {last:0}");
        lines.Add($"{new string(' ', margin)} └{new string('─', columns)}");
        lines.Add($"{new string(' ', margin + 2)}{from}{to.PadLeft(Math.Max(to.Length + 1, columns - from.Length))}");
        return lines;

        int Row(double value) => (int)Math.Round((high - value) / (high - low) * (4 * height - 1));
    }

    /// <summary>A curve in one line of letters, the newest at the right.</summary>
    public static string Spark(IReadOnlyList<(double Step, double Value)> curve, int width)
    {
        if (curve.Count == 0)
            return "";
        // Means of as many points to a letter as it takes.
        var share = Math.Max(1, (curve.Count + width - 1) / width);
        double[] means = [.. curve.Select(point => point.Value).Reverse().Chunk(share).Select(chunk => chunk.Average()).Reverse()];
        var (low, high) = (means.Min(), means.Max());
        return string.Concat(means.Select(mean => Levels[high > low ? (int)Math.Round((mean - low) / (high - low) * (Levels.Length - 1)) : 3]));
    }

    // Bresenham 1965.
    private static IEnumerable<(int X, int Y)> Line((int X, int Y) from, (int X, int Y) to)
    {
        var (dx, dy) = (Math.Abs(to.X - from.X), -Math.Abs(to.Y - from.Y));
        var (sx, sy) = (Math.Sign(to.X - from.X), Math.Sign(to.Y - from.Y));
        for (var error = dx + dy; ;)
        {
            yield return from;
            if (from == to)
                yield break;
            var twice = 2 * error;
            if (twice >= dy)
                (error, from.X) = (error + dy, from.X + sx);
            if (twice <= dx)
                (error, from.Y) = (error + dx, from.Y + sy);
        }
    }
}
