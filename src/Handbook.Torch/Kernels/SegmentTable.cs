namespace Handbook.Torch.Kernels;

/// <summary>The segments of a batch as the attention kernels need them: chains, trees and pieces of work; made once per batch, used by all
/// layers.</summary>
/// <remarks>
/// A token sees its own segment causally and all tokens of its segment's ancestors. The chain of a segment is its ancestors, root first,
/// and itself; the place of a token in that chain is what causality and windows go by. How the work is cut depends on the segments alone,
/// never on the number of threads.
/// </remarks>
internal sealed class SegmentTable
{
    /// <summary>Queries that are worked on together.</summary>
    internal const int BlockSize = 64;

    /// <summary>Blocks of queries that one piece of forward work takes together, where a segment has as many.</summary>
    internal const int SpanBlocks = 4;

    private const int SmallestChunk = 512, MostChunks = 4;
    private const long SmallestPiece = 16 * 1024;      // pairs per head: some 10 µs of work, against well below 1 µs for handing it out

    private SegmentTable(int tokens, SegmentPlace[] segments, int[] chains, bool positionsFollow)
    {
        Tokens = tokens;
        Segments = segments;
        Chains = chains;
        PositionsFollow = positionsFollow;
        (Blocks, Trees) = CutTrees(segments);
        ForwardPieces = CutForward(Blocks, Segments);
        BackwardPieces = CutBackward(Trees);
        foreach (var tree in Trees)
            PartialRows += tree.Chunks > 1 ? (long)tree.Chunks * tree.Rows : 0;
    }

    /// <summary>Number of tokens, N.</summary>
    public int Tokens { get; }

    /// <summary>Number of segments, S.</summary>
    public int Count => Segments.Length;

    /// <summary>Number of pairs (token, token it sees) without a window; the cost of attention per head.</summary>
    public long VisiblePairs { get; private init; }

    /// <summary>Whether positions run on by one along every chain, which windows require.</summary>
    internal bool PositionsFollow { get; }

    internal SegmentPlace[] Segments { get; }

    /// <summary>The chains of all segments behind one another; segment s has <c>Chains[s.Chain .. s.Chain + s.Depth]</c>.</summary>
    internal int[] Chains { get; }

    /// <summary>All blocks of queries, tree after tree.</summary>
    internal QueryBlock[] Blocks { get; }

    internal Tree[] Trees { get; }

    /// <summary>Ranges of <see cref="Blocks"/>, heaviest first.</summary>
    internal Range[] ForwardPieces { get; }

    /// <summary>Ranges of (tree, chunk of keys), heaviest first.</summary>
    internal ChunkRange[] BackwardPieces { get; }

    /// <summary>Rows of partial query gradients over all trees that are cut into chunks.</summary>
    internal long PartialRows { get; }

    /// <param name="start">Index of each segment's first token; [S].</param>
    /// <param name="length">Number of tokens, at least 1; [S]. Together the segments cover N = their sum of tokens, each token
    /// once.</param>
    /// <param name="parent">Index of the segment that each one continues, −1 for a root; parents stand before their children; [S].</param>
    /// <param name="positions">Position of each token; [N]. Empty: those that follow from the chains. Only windows look at them.</param>
    public static SegmentTable Create(ReadOnlySpan<int> start, ReadOnlySpan<int> length, ReadOnlySpan<int> parent,
        ReadOnlySpan<int> positions = default)
    {
        if (start.Length != length.Length || start.Length != parent.Length)
            throw new ArgumentException($"{start.Length} starts, {length.Length} lengths and {parent.Length} parents; each segment has "
                + "one of each");
        var segments = new SegmentPlace[start.Length];
        var chains = new List<int>(start.Length);
        var children = new int[start.Length];
        var trees = 0;
        long tokens = 0, pairs = 0;
        for (var s = 0; s < segments.Length; s++)
        {
            if (length[s] < 1)
                throw new ArgumentException($"segment {s} has {length[s]} tokens; a segment has at least 1");
            if (parent[s] < -1 || parent[s] >= s)
                throw new ArgumentException($"segment {s} continues segment {parent[s]}; parents stand before their children");
            var chain = chains.Count;
            SegmentPlace place;
            if (parent[s] < 0)
                place = new(start[s], length[s], chain, 1, 0, trees++);
            else
            {
                var above = segments[parent[s]];
                children[parent[s]]++;
                for (var i = 0; i < above.Depth; i++)
                    chains.Add(chains[above.Chain + i]);
                place = new(start[s], length[s], chain, above.Depth + 1, checked(above.Offset + above.Length), above.Tree);
            }
            chains.Add(s);
            segments[s] = place;
            tokens += length[s];
            pairs += (long)place.Length * place.Offset + (long)place.Length * (place.Length + 1) / 2;
        }
        CheckCover(segments, tokens);
        if (positions.Length != 0 && positions.Length != tokens)
            throw new ArgumentException($"{positions.Length} positions for {tokens} tokens");
        return new((int)tokens, segments, [.. chains],
            positions.Length == 0 || Follow(segments, parent, positions))
        { VisiblePairs = pairs };
    }

    private static void CheckCover(SegmentPlace[] segments, long tokens)
    {
        var order = Enumerable.Range(0, segments.Length).ToArray();
        Array.Sort(order, (a, b) => segments[a].Start.CompareTo(segments[b].Start));
        long next = 0;
        foreach (var s in order)
        {
            if (segments[s].Start != next)
                throw new ArgumentException($"segment {s} starts at token {segments[s].Start}, but the segments before it end at {next}; "
                    + $"of {tokens} tokens each belongs to one segment");
            next += segments[s].Length;
        }
    }

    private static bool Follow(SegmentPlace[] segments, ReadOnlySpan<int> parent, ReadOnlySpan<int> positions)
    {
        for (var s = 0; s < segments.Length; s++)
        {
            var first = segments[s].Start;
            if (parent[s] >= 0 && positions[first] != positions[segments[parent[s]].Start + segments[parent[s]].Length - 1] + 1)
                return false;
            for (var i = 1; i < segments[s].Length; i++)
                if (positions[first + i] != positions[first + i - 1] + 1)
                    return false;
        }
        return true;
    }

    private static (QueryBlock[], Tree[]) CutTrees(SegmentPlace[] segments)
    {
        var count = segments.Length == 0 ? 0 : segments.Max(s => s.Tree) + 1;
        var members = new List<int>[count];
        for (var s = 0; s < segments.Length; s++)
            (members[segments[s].Tree] ??= []).Add(s);
        var blocks = new List<QueryBlock>();
        var trees = new Tree[count];
        long partial = 0;
        for (var t = 0; t < count; t++)
        {
            var first = blocks.Count;
            var rows = 0;
            long pairs = 0;
            foreach (var s in members[t])
            {
                ref var place = ref segments[s];
                place = place with { Local = rows };
                // Whole tiles, so that a tile of one segment never reaches into the rows of the next.
                rows += (place.Length + AttentionTiles.Rows - 1) / AttentionTiles.Rows * AttentionTiles.Rows;
                for (var i = 0; i < place.Length; i += BlockSize)
                {
                    var size = Math.Min(BlockSize, place.Length - i);
                    blocks.Add(new(s, i, size));
                    pairs += (long)size * (place.Offset + i + size);
                }
            }
            var chunk = Math.Max(SmallestChunk, ((rows + MostChunks - 1) / MostChunks + BlockSize - 1) / BlockSize * BlockSize);
            var chunks = (rows + chunk - 1) / chunk;
            trees[t] = new(first, blocks.Count, rows, Math.Min(chunk, rows), chunks, partial, pairs);
            partial += chunks > 1 ? (long)chunks * rows : 0;
        }
        return ([.. blocks], trees);
    }

    private static Range[] CutForward(QueryBlock[] blocks, SegmentPlace[] segments)
    {
        var pieces = new List<(Range Range, long Pairs)>();
        for (var i = 0; i < blocks.Length;)
        {
            var first = i;
            long pairs = 0;
            while (i < blocks.Length && pairs < SmallestPiece)
            {
                var end = i + 1;
                while (end < blocks.Length && end - i < SpanBlocks && blocks[end].Segment == blocks[i].Segment)
                    end++;
                for (; i < end; i++)
                    pairs += (long)blocks[i].Count * (segments[blocks[i].Segment].Offset + blocks[i].First + blocks[i].Count);
            }
            pieces.Add((first..i, pairs));
        }
        return [.. pieces.OrderByDescending(p => p.Pairs).Select(p => p.Range)];
    }

    private static ChunkRange[] CutBackward(Tree[] trees)
    {
        var pieces = new List<(ChunkRange Range, long Pairs)>();
        for (var t = 0; t < trees.Length;)
        {
            if (trees[t].Chunks > 1)
            {
                for (var c = 0; c < trees[t].Chunks; c++)           // earlier keys are seen by more queries
                    pieces.Add((new(t, t + 1, c), trees[t].Pairs * 2 * (trees[t].Chunks - c) / (trees[t].Chunks * (trees[t].Chunks + 1))));
                t++;
                continue;
            }
            var first = t;
            long pairs = 0;
            while (t < trees.Length && trees[t].Chunks == 1 && pairs < SmallestPiece)
                pairs += trees[t++].Pairs;
            pieces.Add((new(first, t, 0), pairs));
        }
        return [.. pieces.OrderByDescending(p => p.Pairs).Select(p => p.Range)];
    }
}

/// <summary>One segment: its tokens, its chain in <see cref="SegmentTable.Chains"/>, the number of tokens above it, its tree and its first
/// row in the tree's own order.</summary>
internal readonly record struct SegmentPlace(int Start, int Length, int Chain, int Depth, int Offset, int Tree, int Local = 0);

/// <summary>Up to <see cref="SegmentTable.BlockSize"/> queries of one segment, from its token <paramref name="First"/> on.</summary>
internal readonly record struct QueryBlock(int Segment, int First, int Count);

/// <summary>A root with all that continues it: the blocks of its queries, its rows (whole tiles per segment), and how its keys are cut into
/// chunks.</summary>
/// <param name="Partial">First row of its partial query gradients; [Chunks][Rows].</param>
internal readonly record struct Tree(int FirstBlock, int EndBlock, int Rows, int ChunkRows, int Chunks, long Partial, long Pairs);

/// <summary>Chunk <paramref name="Chunk"/> of the trees from <paramref name="First"/> to before <paramref name="End"/>.</summary>
internal readonly record struct ChunkRange(int First, int End, int Chunk);
