using System.Globalization;

namespace Handbook.Training.Plots;

/// <summary>Round numbers along an axis.</summary>
internal static class Ticks
{
    /// <summary>About <paramref name="count"/> multiples of 1, 2 or 5 times a power of ten inside a range.</summary>
    public static double[] Linear(double low, double high, int count)
    {
        var step = Step((high - low) / Math.Max(1, count));
        if (!(step > 0) || !double.IsFinite(step))
            return [low];
        var first = (long)Math.Ceiling(low / step - 1e-9);
        var last = (long)Math.Floor(high / step + 1e-9);
        return [.. Enumerable.Range(0, (int)(last - first + 1)).Select(i => (first + i) * step)];
    }

    /// <summary>1, 2 and 5 times the powers of ten inside a range; only the powers where those are enough.</summary>
    public static double[] Logarithmic(double low, double high)
    {
        int[] factors = Math.Log10(high / low) > 3 ? [1] : [1, 2, 5];
        var ticks = new List<double>();
        for (var power = (int)Math.Floor(Math.Log10(low)); power <= Math.Ceiling(Math.Log10(high)); power++)
            ticks.AddRange(factors.Select(factor => factor * Math.Pow(10, power))
                .Where(tick => tick >= low * 0.999 && tick <= high * 1.001));
        return [.. ticks];
    }

    /// <summary>All ticks of an axis with the same number of decimals; <c>12k</c> and <c>1.5M</c> for large ones.</summary>
    public static string[] Labels(IReadOnlyList<double> ticks)
    {
        var largest = ticks.Select(Math.Abs).DefaultIfEmpty().Max();
        var (unit, suffix) = largest >= 1e9 ? (1e9, "G") : largest >= 1e6 ? (1e6, "M") : largest >= 1e4 ? (1e3, "k") : (1.0, "");
        for (var decimals = 0; decimals < 9; decimals++)
        {
            var labels = ticks.Select(tick => tick == 0 ? "0" : Math.Round(tick / unit, decimals)
                .ToString($"F{decimals}", CultureInfo.InvariantCulture) + suffix).ToArray();
            if (ticks.All(tick => Math.Abs(Math.Round(tick / unit, decimals) - tick / unit) <= 1e-6 * Math.Abs(tick / unit)))
                return labels;
        }
        return [.. ticks.Select(tick => tick.ToString("G3", CultureInfo.InvariantCulture))];
    }

    private static double Step(double rough)
    {
        var power = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        return (rough / power) switch { <= 1 => power, <= 2 => 2 * power, <= 5 => 5 * power, _ => 10 * power };
    }
}
