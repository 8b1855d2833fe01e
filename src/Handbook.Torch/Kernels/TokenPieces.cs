namespace Handbook.Torch.Kernels;

/// <summary>The tokens of a stream that one of several processes computes: runs of them, which it keeps one behind the other.</summary>
internal sealed class TokenPieces
{
    private TokenPieces(IReadOnlyList<(int First, int End)> runs)
    {
        var all = new List<(int First, int End, int Row)>();
        foreach (var (first, end) in runs)
        {
            if (first < end)
                all.Add((first, end, Count));
            Count += end - first;
        }
        Runs = all;
    }

    /// <summary>First token of each run, the one behind its last, and the first one's row; in the stream's order.</summary>
    public IReadOnlyList<(int First, int End, int Row)> Runs { get; }

    /// <summary>How many tokens there are.</summary>
    public int Count { get; }

    /// <summary>The tokens by row.</summary>
    public int[] Tokens => [.. Runs.SelectMany(run => Enumerable.Range(run.First, run.End - run.First))];

    /// <summary>The part of one among several, so that all have as many tokens, and as many of them that see much.</summary>
    /// <remarks>
    /// The stream is cut into 2c pieces, of which the i-th has pieces i and 2c − 1 − i: the further back a token stands, the more it sees,
    /// and a piece from the front goes with one from the back.
    /// </remarks>
    public static TokenPieces ZigZag(int index, int count, int tokens)
    {
        int Border(int piece) => (int)((long)tokens * piece / (2 * count));
        var mirror = 2 * count - 1 - index;
        return index + 1 == mirror ? new([(Border(index), Border(mirror + 1))])
            : new([(Border(index), Border(index + 1)), (Border(mirror), Border(mirror + 1))]);
    }
}
