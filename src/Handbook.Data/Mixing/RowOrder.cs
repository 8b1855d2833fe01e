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
    /// <exception cref="InputException">They are more than can be counted.</exception>
    public static int Share(int rows, double weight) => weight * rows <= int.MaxValue ? (int)(weight * rows)
        : throw new InputException($"a weight of {weight} takes {weight * rows:N0} rows", $"at most {int.MaxValue:N0} can be mixed", "use a smaller weight");

    /// <summary>The older dialect: the sources one after the other, shuffled as one.</summary>
    /// <param name="counts">Rows of each source.</param>
    /// <param name="weights">How often each is taken from its beginning: 0.5 is its first half, 2.5 is all of it twice and the first half once
    /// more.</param>
    public static RowRef[] Mixer(IReadOnlyList<int> counts, IReadOnlyList<double> weights, long seed) =>
        Pick([.. counts.SelectMany((count, source) => InOrder(source, count, weights[source]))], seed);

    /// <summary>The rows of a source from its beginning, and from there again.</summary>
    public static IEnumerable<RowRef> InOrder(int source, int count, double weight) =>
        Enumerable.Range(0, Share(count, weight)).Select(row => new RowRef(source, row % count));

    /// <summary>The newer dialect: each source is shuffled and a share of it taken, and all of them are shuffled
    /// again with the same seed.</summary>
    public static RowRef[] Mixture(IReadOnlyList<int> counts, IReadOnlyList<double> weights, long seed) =>
        Pick([.. counts.SelectMany((count, source) => Taken(count, weights[source], seed).Select(row => new RowRef(source, row)))], seed);

    /// <summary>The rows that the newer dialect takes of a source: a weight above 1 goes on from the beginning of the same shuffled
    /// rows.</summary>
    public static int[] Taken(int count, double weight, long seed)
    {
        var shuffled = NumpyRandom.Permutation(count, seed);
        return weight <= 1 ? shuffled[..Share(count, weight)] : [.. Enumerable.Range(0, Share(count, weight)).Select(row => shuffled[row % count])];
    }

    /// <summary>Cuts a test set off mixed rows; rows that are taken more than once stand in it once.</summary>
    /// <param name="size">A share below 1, rounded up, or a number of rows.</param>
    public static (RowRef[] Train, RowRef[] Test) Split(RowRef[] rows, double size, long seed)
    {
        var held = HeldOut(rows.Length, size);
        var shuffled = Pick(rows, seed);
        return (shuffled[held..], [.. shuffled[..held].Distinct()]);
    }

    /// <summary>Rows that a test split of this size holds out.</summary>
    /// <exception cref="InputException">It leaves none to train on.</exception>
    internal static int HeldOut(int rows, double size)
    {
        var held = size < 1 ? (int)Math.Ceiling(size * rows) : (int)size;
        return held < rows ? held
            : throw new InputException($"test_split_size is {size}, which holds out {held} of {rows} rows and leaves none to train on",
            fix: rows > 1 ? "use a smaller number, or a share such as 0.05" : "give more rows, or remove test_split_size")
            { Key = "test_split_size" };
    }

    private static RowRef[] Pick(RowRef[] rows, long seed) => Array.ConvertAll(NumpyRandom.Permutation(rows.Length, seed), i => rows[i]);
}
