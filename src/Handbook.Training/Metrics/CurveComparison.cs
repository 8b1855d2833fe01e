using System.Globalization;

namespace Handbook.Training.Metrics;

/// <summary>One number of two runs, step by step.</summary>
public sealed record CurveDifference
{
    /// <summary>Its name, such as <c>loss</c>.</summary>
    public required string Metric { get; init; }

    /// <summary>Steps at which at least one of the runs has it.</summary>
    public int Steps { get; init; }

    /// <summary>The first step at which the runs do not have the same bits; null where they have them at all.</summary>
    public int? FirstStep { get; init; }

    /// <summary>The step of the largest difference; null where there is none.</summary>
    public int? LargestStep { get; init; }

    /// <summary>Its value in the first run at <see cref="LargestStep"/>; NaN where it does not have it.</summary>
    public double Then { get; init; }

    /// <summary>Its value in the second run there.</summary>
    public double Now { get; init; }

    /// <summary>The largest difference, as a share of the largest absolute value that the number has in the first run; infinite where one of
    /// the runs lacks it, or it is not finite in one alone.</summary>
    public double LargestShare { get; init; }

    /// <summary>Whether every value has the same bits.</summary>
    public bool IsSame => FirstStep is null;
}

/// <summary>What two runs logged, step by step; what the clock says is left out.</summary>
public static class CurveComparison
{
    /// <summary>Compares every number that either run logged.</summary>
    /// <param name="then">Entries of the first run, each with its <c>step</c>.</param>
    /// <param name="now">Entries of the second.</param>
    /// <param name="lastStep">The last step that counts.</param>
    public static IReadOnlyList<CurveDifference> Of(IReadOnlyList<MetricSet> then, IReadOnlyList<MetricSet> now, int lastStep)
    {
        var (before, after) = (ByStep(then, lastStep), ByStep(now, lastStep));
        var names = before.Values.Concat(after.Values).SelectMany(entry => entry.Select(pair => pair.Key)).Distinct()
            .Where(name => name != "step" && !IsClock(name));
        var steps = before.Keys.Union(after.Keys).Order().ToArray();
        return [.. names.Select(name => Compare(name, steps, before, after))];
    }

    /// <summary>Whether a number says how long something took.</summary>
    public static bool IsClock(string metric) => metric.EndsWith("_runtime", StringComparison.Ordinal)
        || metric.EndsWith("_per_second", StringComparison.Ordinal);

    private static Dictionary<int, MetricSet> ByStep(IReadOnlyList<MetricSet> entries, int lastStep) => entries
        .Where(entry => entry.Number("step") <= lastStep).GroupBy(entry => (int)entry.Number("step")!.Value)
        .ToDictionary(group => group.Key, group => group.Last());

    private static CurveDifference Compare(string name, int[] steps, Dictionary<int, MetricSet> then, Dictionary<int, MetricSet> now)
    {
        var scale = then.Values.Select(entry => Math.Abs(entry.Number(name) ?? 0)).Where(double.IsFinite).DefaultIfEmpty(0).Max();
        var (count, first, found) = (0, default(int?), new CurveDifference { Metric = name });
        foreach (var step in steps)
        {
            var (a, b) = (then.GetValueOrDefault(step)?.Number(name), now.GetValueOrDefault(step)?.Number(name));
            if (a is null && b is null)
                continue;
            count++;
            if (a is { } x && b is { } y && BitConverter.DoubleToInt64Bits(x) == BitConverter.DoubleToInt64Bits(y))
                continue;
            first ??= step;
            var (one, other) = (a ?? double.NaN, b ?? double.NaN);
            var share = double.IsNaN(one) && double.IsNaN(other) && a is not null && b is not null ? 0
                : Math.Abs(one - other) is var gap && double.IsFinite(gap) ? gap == 0 ? 0 : gap / Math.Max(scale, double.Epsilon)
                : double.PositiveInfinity;
            if (found.LargestStep is null || share > found.LargestShare)
                found = found with { LargestStep = step, LargestShare = share, Then = one, Now = other };
        }
        return found with { Steps = count, FirstStep = first };
    }

    /// <summary>The largest difference in words: <c>2.1e-05 at step 17 (3.5 and 3.50007)</c>.</summary>
    public static string Words(CurveDifference difference) => difference.LargestStep is not { } step ? ""
        : double.IsNaN(difference.Now) && !double.IsNaN(difference.Then) ? $"missing at step {step}"
        : double.IsNaN(difference.Then) && !double.IsNaN(difference.Now) ? $"new at step {step}"
        : string.Create(CultureInfo.InvariantCulture,
            $"{Math.Abs(difference.Now - difference.Then):g2} at step {step} ({PythonJson.Number(difference.Then)}, now {PythonJson.Number(difference.Now)})");
}
