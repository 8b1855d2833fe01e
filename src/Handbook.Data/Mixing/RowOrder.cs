using Handbook.Base;
using Handbook.Data.RandomNumbers;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Data.Mixing;

/// <summary>One row of one source.</summary>
/// <param name="Source">Number of the source.</param>
/// <param name="Row">Number of the row in it, from 0.</param>
internal readonly record struct RowRef(int Source, int Row);

/// <summary>The order in which mixed rows are trained on, exactly as the Python handbook has it.</summary>
internal static class RowOrder
{
    /// <summary>Rows of a share: the product is cut, not rounded, as in Python's <c>int(0.29 * 100)</c>, which is 28.</summary>
    public static int Share(int rows, double weight) => (int)(weight * rows);

    /// <summary>The older dialect: the sources one after the other, shuffled as one.</summary>
    /// <param name="counts">Rows to take of each source, from its beginning.</param>
    public static RowRef[] Mixer(IReadOnlyList<int> counts, long seed) =>
        Pick([.. counts.SelectMany((count, source) => Enumerable.Range(0, count).Select(row => new RowRef(source, row)))], seed);

    /// <summary>The newer dialect: each source is shuffled and a share of it taken, and all of them are shuffled
    /// again with the same seed.</summary>
    public static RowRef[] Mixture(IReadOnlyList<int> counts, IReadOnlyList<double> weights, long seed) =>
        Pick([.. counts.SelectMany((count, source) => Taken(count, weights[source], seed).Select(row => new RowRef(source, row)))], seed);

    /// <summary>The rows that the newer dialect takes of a source.</summary>
    public static ReadOnlySpan<int> TakenSpan(int count, double weight, long seed) =>
        NumpyRandom.Permutation(count, seed).AsSpan(0, Share(count, weight));

    /// <summary>Cuts a test set off mixed rows.</summary>
    /// <param name="size">A share below 1, rounded up, or a number of rows.</param>
    public static (RowRef[] Train, RowRef[] Test) Split(RowRef[] rows, double size, long seed)
    {
        var held = HeldOut(rows.Length, size);
        var shuffled = Pick(rows, seed);
        return (shuffled[held..], shuffled[..held]);
    }

    /// <summary>Rows that a test split of this size holds out.</summary>
    /// <exception cref="InputException">It leaves none to train on.</exception>
    internal static int HeldOut(int rows, double size)
    {
        var held = size < 1 ? (int)Math.Ceiling(size * rows) : (int)size;
        return held < rows ? held
            : throw new InputException($"test_split_size is {size}, which holds out {held} of {rows} rows and leaves none to train on",
            fix: rows > 1 ? "use a smaller number, or a share such as 0.05" : "give more rows, or remove test_split_size");
    }

    private static int[] Taken(int count, double weight, long seed) => TakenSpan(count, weight, seed).ToArray();

    private static RowRef[] Pick(RowRef[] rows, long seed) => Array.ConvertAll(NumpyRandom.Permutation(rows.Length, seed), i => rows[i]);
}
