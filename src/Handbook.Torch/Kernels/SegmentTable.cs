using Handbook.Torch.Cuda;
using Handbook.Torch.Devices;

namespace Handbook.Torch.Kernels;

/// <summary>The segments of a batch as the attention kernels need them: chains, trees and pieces of work; made once per batch, used by all
/// layers.</summary>
/// <remarks>
/// A token sees its own segment causally and all tokens of its segment's ancestors. The chain of a segment is its ancestors, root first,
/// and itself; the place of a token in that chain is what causality and windows go by. How the work is cut depends on the segments alone,
/// never on the number of threads.
/// Queries and keys are the same tokens, unless several processes have a part of the stream each: then a table is for the queries of one
/// and the keys of one, and a segment stands in it as the parts that these have of it.
/// </remarks>
internal sealed class SegmentTable
{
    /// <summary>Queries that are worked on together.</summary>
    internal const int BlockSize = 64;

    /// <summary>Blocks of queries that one piece of forward work takes together, where a segment has as many.</summary>
    internal const int SpanBlocks = 4;

    private const int SmallestChunk = 512, MostChunks = 4;
    private readonly Lazy<CudaSegments> _cuda;
    private readonly Lazy<FlashTrees?> _flash;

    private const long SmallestPiece = 16 * 1024;      // pairs per head: some 10 µs of work, against well below 1 µs for handing it out

    private SegmentTable(SegmentPlace[] segments, SegmentPlace[] keys, int[] chains, bool positionsFollow)
    {
        Segments = segments;
        Keys = keys;
        Chains = chains;
        PositionsFollow = positionsFollow;
        foreach (var part in segments)
            Tokens += part.Length;
        (Blocks, KeyBlocks, Trees) = CutTrees();
        ForwardPieces = CutForward();
        BackwardPieces = CutBackward(Trees);
        foreach (var tree in Trees)
            PartialRows += tree.Chunks > 1 ? (long)tree.Chunks * tree.QueryRows : 0;
        (_cuda, _flash) = (new(() => new(this)), new(() => FlashTrees.Of(this)));
    }

    /// <summary>Number of tokens, N; where the stream is cut, of the queries.</summary>
    public int Tokens { get; }

    /// <summary>Whether no query sees any of the keys.</summary>
    public bool IsEmpty => Chains.Length == 0;

    /// <summary>Whether positions run on by one along every chain, which windows require.</summary>
    internal bool PositionsFollow { get; }

    internal SegmentPlace[] Segments { get; }

    /// <summary>The segments as those who are seen; the same as <see cref="Segments"/>, unless the stream is cut.</summary>
    internal SegmentPlace[] Keys { get; }

    /// <summary>The chains of all segments behind one another, as indices of <see cref="Keys"/>; segment s has
    /// <c>Chains[s.Chain .. s.Chain + s.Depth]</c>.</summary>
    internal int[] Chains { get; }

    /// <summary>All blocks of queries, tree after tree.</summary>
    internal QueryBlock[] Blocks { get; }

    /// <summary>All blocks of keys, tree after tree; the same as <see cref="Blocks"/>, unless the stream is cut.</summary>
    internal QueryBlock[] KeyBlocks { get; }

    internal Tree[] Trees { get; }

    /// <summary>The same as kernels of a GPU walk over it.</summary>
    internal CudaSegments Cuda => _cuda.Value;

    /// <summary>The same as sequences that stand behind one another; null where it cannot be put that way.</summary>
    internal FlashTrees? Flash => _flash.Value;

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
    /// <param name="queries">The tokens that ask; null for all.</param>
    /// <param name="keys">The tokens that are seen; null for all.</param>
    public static SegmentTable Create(ReadOnlySpan<int> start, ReadOnlySpan<int> length, ReadOnlySpan<int> parent,
        ReadOnlySpan<int> positions = default, TokenPieces? queries = null, TokenPieces? keys = null)
    {
        if (start.Length != length.Length || start.Length != parent.Length)
            throw new ArgumentException($"{start.Length} starts, {length.Length} lengths and {parent.Length} parents; each segment has "
                + "one of each");
        var whole = Whole(start, length, parent);
        if (positions.Length != 0 && positions.Length != whole.Sum(place => place.Length))
            throw new ArgumentException($"{positions.Length} positions for {whole.Sum(place => place.Length)} tokens");
        var (asking, asked) = Parts(whole, queries);
        var (seen, first) = ReferenceEquals(queries, keys) ? (asking, asked) : Parts(whole, keys);
        var chains = new List<int>(asking.Length);
        var ancestors = new List<int>();
        for (var s = 0; s < whole.Length; s++)
        {
            ancestors.Clear();
            for (var above = s; above >= 0; above = parent[above])
                ancestors.Add(above);
            for (var part = asked[s]; part < asked[s + 1]; part++)
            {
                var chain = chains.Count;
                for (var i = ancestors.Count - 1; i >= 0; i--)
                    for (var key = first[ancestors[i]]; key < first[ancestors[i] + 1]; key++)
                        if (seen[key].Offset < asking[part].Offset + asking[part].Length)
                            chains.Add(key);
                asking[part] = asking[part] with { Chain = chain, Depth = chains.Count - chain };
            }
        }
        return new(asking, seen, [.. chains], positions.Length == 0 || Follow(whole, parent, positions));
    }

    /// <summary>Where each segment stands in the stream and in its chain.</summary>
    private static SegmentPlace[] Whole(ReadOnlySpan<int> start, ReadOnlySpan<int> length, ReadOnlySpan<int> parent)
    {
        var segments = new SegmentPlace[start.Length];
        var trees = 0;
        for (var s = 0; s < segments.Length; s++)
        {
            if (length[s] < 1)
                throw new ArgumentException($"segment {s} has {length[s]} tokens; a segment has at least 1");
            if (parent[s] < -1 || parent[s] >= s)
                throw new ArgumentException($"segment {s} continues segment {parent[s]}; parents stand before their children");
            segments[s] = parent[s] < 0 ? new(start[s], length[s], 0, trees++)
                : new(start[s], length[s], checked(segments[parent[s]].Offset + segments[parent[s]].Length), segments[parent[s]].Tree);
        }
        CheckCover(segments);
        return segments;
    }

    /// <summary>The parts of the segments that some pieces of the stream have.</summary>
    /// <returns>The parts, and for each segment the first of its own; one more at the end.</returns>
    private static (SegmentPlace[] Parts, int[] First) Parts(SegmentPlace[] whole, TokenPieces? pieces)
    {
        var (parts, first) = (new List<SegmentPlace>(whole.Length), new int[whole.Length + 1]);
        for (var s = 0; s < whole.Length; s++)
        {
            var place = whole[s];
            if (pieces is null)
                parts.Add(place);
            foreach (var (from, end, row) in pieces?.Runs ?? [])
            {
                var (begin, behind) = (Math.Max(from, place.Start), Math.Min(end, place.Start + place.Length));
                if (begin < behind)
                    parts.Add(new(row + begin - from, behind - begin, place.Offset + begin - place.Start, place.Tree));
            }
            first[s + 1] = parts.Count;
        }
        return ([.. parts], first);
    }

    private static void CheckCover(SegmentPlace[] segments)
    {
        var order = Enumerable.Range(0, segments.Length).ToArray();
        Array.Sort(order, (a, b) => segments[a].Start.CompareTo(segments[b].Start));
        long next = 0;
        foreach (var s in order)
        {
            if (segments[s].Start != next)
                throw new ArgumentException($"segment {s} starts at token {segments[s].Start}, but the segments before it end at {next}; "
                    + $"of {segments.Sum(segment => (long)segment.Length)} tokens each belongs to one segment");
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

    private (QueryBlock[] Blocks, QueryBlock[] KeyBlocks, Tree[] Trees) CutTrees()
    {
        var count = Segments.Concat(Keys).Select(s => s.Tree + 1).DefaultIfEmpty().Max();
        var (blocks, queries) = CutBlocks(Segments, count);
        var (keyBlocks, keys) = ReferenceEquals(Keys, Segments) ? (blocks, queries) : CutBlocks(Keys, count);
        var trees = new Tree[count];
        long partial = 0;
        for (var t = 0; t < count; t++)
        {
            var rows = keys[t].Rows;
            long pairs = 0;
            for (var i = queries[t].First; i < queries[t].End; i++)
                pairs += Pairs(blocks[i]);
            var chunk = Math.Max(SmallestChunk, ((rows + MostChunks - 1) / MostChunks + BlockSize - 1) / BlockSize * BlockSize);
            var chunks = Math.Max(1, (rows + chunk - 1) / chunk);
            trees[t] = new(queries[t].First, queries[t].End, keys[t].First, keys[t].End, queries[t].Rows, rows, Math.Min(chunk, rows),
                chunks, partial, pairs);
            partial += chunks > 1 ? (long)chunks * queries[t].Rows : 0;
        }
        return (blocks, keyBlocks, trees);
    }

    /// <summary>Cuts segments into blocks, tree after tree, and gives each its first row in its tree.</summary>
    private static (QueryBlock[] Blocks, (int First, int End, int Rows)[] Trees) CutBlocks(SegmentPlace[] segments, int count)
    {
        var members = new List<int>[count];
        for (var s = 0; s < segments.Length; s++)
            (members[segments[s].Tree] ??= []).Add(s);
        var (blocks, trees) = (new List<QueryBlock>(), new (int First, int End, int Rows)[count]);
        for (var t = 0; t < count; t++)
        {
            var (first, rows) = (blocks.Count, 0);
            foreach (var s in members[t] ?? [])
            {
                ref var place = ref segments[s];
                place = place with { Local = rows };
                // Whole tiles, so that a tile of one segment never reaches into the rows of the next.
                rows += (place.Length + AttentionTiles.Rows - 1) / AttentionTiles.Rows * AttentionTiles.Rows;
                for (var i = 0; i < place.Length; i += BlockSize)
                    blocks.Add(new(s, i, Math.Min(BlockSize, place.Length - i)));
            }
            trees[t] = (first, blocks.Count, rows);
        }
        return ([.. blocks], trees);
    }

    /// <summary>What a block of queries costs: its queries times the keys that the last of them sees.</summary>
    private long Pairs(QueryBlock block)
    {
        var place = Segments[block.Segment];
        var (end, keys) = (place.Offset + block.First + block.Count, 0L);
        for (var link = place.Chain; link < place.Chain + place.Depth; link++)
            keys += Math.Clamp(end - Keys[Chains[link]].Offset, 0, Keys[Chains[link]].Length);
        return block.Count * keys;
    }

    private Range[] CutForward()
    {
        var pieces = new List<(Range Range, long Pairs)>();
        for (var i = 0; i < Blocks.Length;)
        {
            var first = i;
            long pairs = 0;
            while (i < Blocks.Length && pairs < SmallestPiece)
            {
                var end = i + 1;
                while (end < Blocks.Length && end - i < SpanBlocks && Blocks[end].Segment == Blocks[i].Segment)
                    end++;
                for (; i < end; i++)
                    pairs += Pairs(Blocks[i]);
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

/// <summary>One segment, or a part of one: its tokens, the place of the first one in the chain, its tree, its chain in
/// <see cref="SegmentTable.Chains"/> and its first row in the tree's own order.</summary>
internal readonly record struct SegmentPlace(int Start, int Length, int Offset, int Tree, int Chain = 0, int Depth = 0, int Local = 0);

/// <summary>Up to <see cref="SegmentTable.BlockSize"/> queries (or keys) of one segment, from its token <paramref name="First"/>
/// on.</summary>
internal readonly record struct QueryBlock(int Segment, int First, int Count);

/// <summary>A root with all that continues it: the blocks of its queries and of its keys, the rows of both (whole tiles per segment), and
/// how its keys are cut into chunks.</summary>
/// <param name="Partial">First row of its partial query gradients; [Chunks][QueryRows].</param>
internal readonly record struct Tree(int FirstBlock, int EndBlock, int FirstKeys, int EndKeys, int QueryRows, int Rows, int ChunkRows,
    int Chunks, long Partial, long Pairs);

/// <summary>Chunk <paramref name="Chunk"/> of the trees from <paramref name="First"/> to before <paramref name="End"/>.</summary>
internal readonly record struct ChunkRange(int First, int End, int Chunk);
