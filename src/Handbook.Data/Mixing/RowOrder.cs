using Handbook.Base;
using Handbook.Data.RandomNumbers;

namespace Handbook.Data.Mixing;

/// <summary>One row of one source.</summary>
/// <param name="Source">Number of the source.</param>
/// <param name="Row">Number of the row in it, from 0.</param>
public readonly record struct RowRef(int Source, int Row);

/// <summary>The order in which mixed rows are trained on, exactly as the Python handbook has it.</summary>
public static class RowOrder
{
    /// <summary>Rows of a share: the product is cut, not rounded, as in Python's <c>int(0.29 * 100)</c>, which is 28.</summary>
    public static int Share(int rows, double weight) => (int)(weight * rows);

    /// <summary>The older dialect: the sources one after the other, shuffled as one.</summary>
    /// <param name="counts">Rows to take of each source, from its beginning.</param>
    public static RowRef[] Mixer(IReadOnlyList<int> counts, long seed) =>
        Pick([.. counts.SelectMany((count, source) => Enumerable.Range(0, count).Select(row => new RowRef(source, row)))], seed);

    /// <summary>The newer dialect: each source is shuffled and a share of it taken, and all of them are shuffled again with the same seed.</summary>
    public static RowRef[] Mixture(IReadOnlyList<int> counts, IReadOnlyList<double> weights, long seed) =>
        Pick([.. counts.SelectMany((count, source) => Taken(count, weights[source], seed).Select(row => new RowRef(source, row)))], seed);

    /// <summary>The rows that the newer dialect takes of a source.</summary>
    public static ReadOnlySpan<int> TakenSpan(int count, double weight, long seed) => NumpyRandom.Permutation(count, seed).AsSpan(0, Share(count, weight));

    /// <summary>Cuts a test set off mixed rows.</summary>
    /// <param name="size">A share below 1, rounded up, or a number of rows.</param>
    public static (RowRef[] Train, RowRef[] Test) Split(RowRef[] rows, double size, long seed)
    {
        var held = size < 1 ? (int)Math.Ceiling(size * rows.Length) : (int)size;
        if (held >= rows.Length)
            throw new InputException($"test_split_size is {size}, which holds out {held} of {rows.Length} rows and leaves none to train on", fix: "use a smaller number, or a share such as 0.05");
        var shuffled = Pick(rows, seed);
        return (shuffled[held..], shuffled[..held]);
    }

    private static int[] Taken(int count, double weight, long seed) => TakenSpan(count, weight, seed).ToArray();

    private static RowRef[] Pick(RowRef[] rows, long seed) => Array.ConvertAll(NumpyRandom.Permutation(rows.Length, seed), i => rows[i]);
}
