using Handbook.Base;

namespace Handbook.Models.Adapters;

/// <summary>One array out of several changes of the same weights.</summary>
/// <remarks>
/// τₜ is change t after pruning, wₜ its weight; every line is by element:
/// <code>
/// sum:     Σₜ wₜ·τₜ
/// elected: γ = sign( Σₜ τₜ )  or  sign( Σₜ sign τₜ ),  0 counts as +
///          Σₜ [sign τₜ = γ] · wₜ·τₜ / max( 1, Σₜ [sign τₜ = γ] )            arXiv:2306.01708, §3, with a weight
/// trimmed: the ⌊density·n⌋ largest stay;   dropped: each stays with the probability density, and is divided by it
/// </code>
/// As the reference implementation has it, the election does not see the weights.
/// </remarks>
internal static class ChangeSum
{
    /// <param name="changes">Arrays of one length.</param>
    /// <param name="weights">One for each.</param>
    /// <param name="name">What the arrays are of: the dropped elements follow from it, the seed and their place among
    /// <paramref name="changes"/>.</param>
    public static double[] Of(IReadOnlyList<double[]> changes, IReadOnlyList<double> weights, CombinationMethod method,
        CombinationOptions options, string name)
    {
        double[][] kept = [.. changes.Select((change, t) => method.Pruning switch
        {
            ChangePruning.Smallest when options.Density < 1 => Trimmed(change, options.Density),
            ChangePruning.Random when options.Density < 1 => Dropped(change, options.Density, options.Seed, $"{name} {t}"),
            _ => change,
        })];
        var result = new double[changes[0].Length];
        for (var i = 0; i < result.Length; i++)
            result[i] = method.ElectsSigns ? Elected(kept, weights, i, options.SignsByFrequency) : Sum(kept, weights, i);
        return result;
    }

    private static double Sum(double[][] changes, IReadOnlyList<double> weights, int i)
    {
        var sum = 0.0;
        for (var t = 0; t < changes.Length; t++)
            sum += weights[t] * changes[t][i];
        return sum;
    }

    private static double Elected(double[][] changes, IReadOnlyList<double> weights, int i, bool byFrequency)
    {
        var votes = 0.0;
        foreach (var change in changes)
            votes += byFrequency ? Math.Sign(change[i]) : change[i];
        var (elected, sum, count) = (votes >= 0 ? 1 : -1, 0.0, 0);
        for (var t = 0; t < changes.Length; t++)
            if (Math.Sign(changes[t][i]) == elected)
            {
                sum += weights[t] * changes[t][i];
                count++;
            }
        return sum / Math.Max(1, count);
    }

    /// <summary>The largest elements; of equal ones the first.</summary>
    private static double[] Trimmed(double[] change, double density)
    {
        var result = new double[change.Length];
        var count = (int)(density * change.Length);
        if (count == 0)
            return result;
        var sizes = Array.ConvertAll(change, Math.Abs);
        Array.Sort(sizes);
        var smallest = sizes[^count];
        var equal = count - sizes.Count(size => size > smallest);
        for (var i = 0; i < change.Length; i++)
            if (Math.Abs(change[i]) > smallest || Math.Abs(change[i]) == smallest && equal-- > 0)
                result[i] = change[i];
        return result;
    }

    private static double[] Dropped(double[] change, double density, long seed, string name)
    {
        var random = new SplitMix(SplitMix.Mix((ulong)seed) ^ NameNumber.Of(name));
        return Array.ConvertAll(change, value => (random.Next() >> 11) * (1.0 / (1L << 53)) < density ? value / density : 0);
    }
}
