using Handbook.Torch;
using Handbook.Torch.Distributed;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Models;

/// <summary>The tokens of a batch that one of several processes computes, and how what each of them has learnt of its own becomes known to
/// all.</summary>
/// <remarks>Between the embedding and the head each row of the network is one of these tokens; before and behind, everything goes by their
/// places in the whole batch, and is the same for all.</remarks>
internal sealed class StreamCut
{
    private static readonly int[] s_first = [0];

    private readonly ContextGroup _group;
    private readonly int[] _rows;       // of each token of the batch; −1 where another process has it

    /// <param name="group">Who has the others.</param>
    /// <param name="pieces">This one's.</param>
    /// <param name="tokens">How many the batch has.</param>
    public StreamCut(ContextGroup group, TokenPieces pieces, int tokens)
    {
        _group = group;
        Places = pieces.Tokens;
        _rows = new int[tokens];
        Array.Fill(_rows, -1);
        for (var row = 0; row < pieces.Count; row++)
            _rows[Places[row]] = row;
        // A network reads at least one row. This one belongs to another process: nobody sees it here, and nothing is learnt from it.
        if (Places.Length == 0)
            Places = [0];
    }

    /// <summary>The place in the batch of each row.</summary>
    public int[] Places { get; }

    /// <summary>What belongs to this process's tokens.</summary>
    public T[] Select<T>(T[] all) => Array.ConvertAll(Places, place => all[place]);

    /// <summary>How much this process's tokens count; a token that belongs to another process counts nothing here.</summary>
    public float[] Weigh(float[] all) => Array.ConvertAll(Places, place => _rows[place] < 0 ? 0 : all[place]);

    /// <summary>Which of some places of the batch this process has.</summary>
    /// <param name="places">In the batch.</param>
    /// <returns>The rows, and for each the index of its place.</returns>
    public (int[] Rows, int[] Which) Own(int[] places)
    {
        int[] which = [.. Enumerable.Range(0, places.Length).Where(i => _rows[places[i]] >= 0)];
        return (Array.ConvertAll(which, i => _rows[places[i]]), which);
    }

    /// <summary>All numbers, of which each process has some.</summary>
    /// <param name="mine">One for each of <paramref name="which"/>.</param>
    /// <param name="count">How many there are of all.</param>
    public Tensor Gather(Tensor mine, int[] which, int count) => Gathered.Of(mine, which, count, _group);

    /// <summary>The sum of a number of each process.</summary>
    public Tensor Sum(Tensor mine) => Gathered.Of(mine, s_first, 1, _group);

    /// <summary>Gives everyone what the heads of all said.</summary>
    /// <param name="mine">Of the targets that <paramref name="which"/> names.</param>
    /// <param name="all">Of all targets; written.</param>
    public void Gather(HeadStatistics mine, int[] which, HeadStatistics all)
    {
        using var scope = TensorScope.Enter();
        var (count, columns) = (all.LogProb.Length, all.Columns.Length);
        var values = Tensor.Zeros(DType.Float64, columns + 1, count);
        var span = values.AsSpan<double>();
        for (var i = 0; i < which.Length; i++)
        {
            for (var column = 0; column < columns; column++)
                span[column * count + which[i]] = mine.Columns[column][i];
            span[columns * count + which[i]] = mine.ArgMax[i];
        }
        _group.Sum(values);
        for (var column = 0; column < columns; column++)
            span.Slice(column * count, count).CopyTo(all.Columns[column]);
        for (var i = 0; i < count; i++)
            all.ArgMax[i] = (int)span[columns * count + i];
    }
}
