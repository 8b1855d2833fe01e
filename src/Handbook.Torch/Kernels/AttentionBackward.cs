using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>Attention backward: the weights are computed again from the stored log-sum-exp, block by block.</summary>
/// <remarks>
/// <code>
/// p = exp(s − lse)    dV = pᵀ dO    dp = dO Vᵀ    D = Σ dO ∘ O    ds = p ∘ (dp − D)    dQ = ds K · scale    dK = dsᵀ Q · scale
/// </code>
/// Source: Dao 2023, arXiv:2307.08691, §3.1. One piece of work is a chunk of a tree's keys with one key head: it alone sums their
/// gradients, over the queries and heads in a fixed order. Gradients of the queries of a tree with several chunks are summed afterwards,
/// chunk by chunk.
/// </remarks>
internal readonly unsafe struct AttentionBackward<T>(SegmentTable segments, AttentionShape shape, AttentionArguments<T> arguments,
    AttentionGradients<T> gradients, nint partials) : IParallelBody where T : unmanaged
{
    private const int Keys = AttentionScores.Keys, Queries = AttentionScores.Queries;

    private readonly int _width = AttentionPanels.Width(shape.HeadSize), _valueWidth = AttentionPanels.Width(shape.ValueSize);
    private readonly int _window = shape.Window > 0 ? Math.Min(shape.Window, AttentionScores.NoWindow) : AttentionScores.NoWindow;

    public static void Run(SegmentTable segments, in AttentionShape shape, in AttentionArguments<T> arguments,
        in AttentionGradients<T> gradients)
    {
        var partials = segments.PartialRows == 0 ? null
            : Scratch.Get<float>(Scratch.Slot.AttentionPartials,
                segments.PartialRows * shape.Heads * AttentionPanels.Width(shape.HeadSize));
        var body = new AttentionBackward<T>(segments, shape, arguments, gradients, (nint)partials);
        ThreadTeam.Run(segments.BackwardPieces.Length * shape.KeyHeads, body);
        if (partials != null)
            ThreadTeam.Run(segments.Blocks.Length, new SumOfChunks(body));
    }

    public void Invoke(int index)
    {
        var range = segments.BackwardPieces[index / shape.KeyHeads];
        for (var tree = range.First; tree < range.End; tree++)
            Chunk(segments.Trees[tree], range.Chunk, index % shape.KeyHeads);
    }

    private void Chunk(Tree tree, int chunk, int keyHead)
    {
        int size = shape.HeadSize, valueSize = shape.ValueSize, width = _width, valueWidth = _valueWidth;
        var first = chunk * tree.ChunkRows;
        var rows = Math.Min(tree.ChunkRows, tree.Rows - first);
        var (keyPanel, valuePanel) = ((long)rows * width, (long)rows * valueWidth);
        var (queryPanel, slopePanel) = ((long)Queries * width, (long)Queries * valueWidth);
        var keys = Scratch.Get<float>(Scratch.Slot.Attention, 2 * (keyPanel + valuePanel) + 2 * (queryPanel + slopePanel)
            + Math.Max(queryPanel, slopePanel) + 2 * Keys * Queries + 2 * Queries);
        var work = new Work
        {
            Keys = keys,
            Values = keys + keyPanel,
            KeyGradients = keys + keyPanel + valuePanel,
            ValueGradients = keys + 2 * keyPanel + valuePanel,
            FirstRow = first,
            EndRow = first + rows,
            Queries = keys + 2 * (keyPanel + valuePanel),
        };
        work.QueriesAcross = work.Queries + queryPanel;
        work.Slopes = work.QueriesAcross + queryPanel;
        work.SlopesAcross = work.Slopes + slopePanel;
        work.QueryGradients = work.SlopesAcross + slopePanel;
        work.Weights = work.QueryGradients + Math.Max(queryPanel, slopePanel);
        work.ScoreGradients = work.Weights + Keys * Queries;
        work.LogSum = work.ScoreGradients + Keys * Queries;
        work.Dot = work.LogSum + Queries;

        new Span<float>(work.KeyGradients, checked((int)(keyPanel + valuePanel))).Clear();
        for (var i = tree.FirstKeys; i < tree.EndKeys; i++)
        {
            var (token, row, count) = KeysOf(segments.KeyBlocks[i], work);
            if (count <= 0)
                continue;
            AttentionPanels.Load(arguments.Key.Data + token * arguments.Key.Stride + keyHead * size, arguments.Key.Stride, count, size, 1,
                work.Keys + (nint)row * width, AttentionTiles.Rows);
            AttentionPanels.Load(arguments.Value.Data + token * arguments.Value.Stride + keyHead * valueSize, arguments.Value.Stride, count,
                valueSize, 1, work.Values + (nint)row * valueWidth, AttentionTiles.Rows);
        }
        for (var i = tree.FirstBlock; i < tree.EndBlock; i++)
        {
            var block = segments.Blocks[i];
            if (tree.Chunks > 1 && !Sees(block, first, first + rows))
                continue;
            for (var head = keyHead * shape.Group; head < (keyHead + 1) * shape.Group; head++)
                Block(tree, chunk, block, head, work);
        }
        for (var i = tree.FirstKeys; i < tree.EndKeys; i++)
        {
            var (token, row, count) = KeysOf(segments.KeyBlocks[i], work);
            if (count <= 0)
                continue;
            AttentionPanels.Store(work.KeyGradients + (nint)row * width, count, size, 1,
                gradients.Key.Data + token * gradients.Key.Stride + keyHead * size, gradients.Key.Stride);
            AttentionPanels.Store(work.ValueGradients + (nint)row * valueWidth, count, valueSize, 1,
                gradients.Value.Data + token * gradients.Value.Stride + keyHead * valueSize, gradients.Value.Stride);
        }
    }

    /// <summary>The tokens of a block that are keys of the chunk: the first one, its row in the chunk, and how many.</summary>
    private (nint Token, int Row, int Count) KeysOf(QueryBlock block, in Work work)
    {
        var place = segments.Keys[block.Segment];
        var from = Math.Max(place.Local + block.First, work.FirstRow);
        var to = Math.Min(place.Local + block.First + block.Count, work.EndRow);
        return ((nint)place.Start + (from - place.Local), from - work.FirstRow, to - from);
    }

    /// <summary>Rows of the tree, within a chunk, of the keys in one link of the chain that a block of queries sees; whole tiles at the
    /// beginning.</summary>
    private (int From, int To) Visible(in SegmentPlace above, int q0, int count, int firstRow, int endRow)
    {
        var from = Math.Max(0, q0 - _window + 1 - above.Offset) / AttentionTiles.Rows * AttentionTiles.Rows;
        var to = Math.Min(above.Length, q0 + count - above.Offset);
        return (Math.Max(above.Local + from, firstRow), Math.Min(above.Local + to, endRow));
    }

    private bool Sees(QueryBlock block, int firstRow, int endRow)
    {
        var place = segments.Segments[block.Segment];
        for (var link = 0; link < place.Depth; link++)
        {
            var (from, to) = Visible(segments.Keys[segments.Chains[place.Chain + link]], place.Offset + block.First, block.Count,
                firstRow, endRow);
            if (from < to)
                return true;
        }
        return false;
    }

    /// <summary>One block of queries of one head against all the keys of the chunk that it sees.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Block(in Tree tree, int chunk, QueryBlock block, int head, in Work work)
    {
        int width = _width, valueWidth = _valueWidth;
        var place = segments.Segments[block.Segment];
        var q0 = place.Offset + block.First;
        var vectors = (block.Count + Lanes.Width - 1) / Lanes.Width;
        var cap = (float)shape.SoftCap * AttentionScores.Log2E;
        Start(place.Start + block.First, block.Count, head, work);
        for (var link = 0; link < place.Depth; link++)
        {
            var above = segments.Keys[segments.Chains[place.Chain + link]];
            var (from, to) = Visible(above, q0, block.Count, work.FirstRow, work.EndRow);
            for (; from < to; from += Keys)
            {
                var count = Math.Min(Keys, to - from);
                var k0 = above.Offset + from - above.Local;
                nint row = from - work.FirstRow;
                var keys = work.Keys + row * width;
                AttentionScores.Products(keys, width, work.QueriesAcross, shape.HeadSize, count, k0, q0, vectors, _window, work.Weights);
                AttentionScores.Products(work.Values + row * valueWidth, valueWidth, work.SlopesAcross, shape.ValueSize, count, k0, q0,
                    vectors, _window, work.ScoreGradients);
                if (shape.DistanceSlopes is { } slopes)
                    AttentionScores.AddDistance(work.Weights, slopes[head] * ScoreUnit, count, k0, q0, vectors, _window);
                if (cap > 0)
                    AttentionScores.Cap(work.Weights, cap, count, k0, q0, vectors, _window);
                AttentionScores.Mask(work.Weights, count, k0, q0, vectors, _window);
                AttentionScores.Gradient(work.Weights, work.ScoreGradients, count, k0, q0, vectors, _window, work.LogSum, work.Dot, cap);
                for (var k = 0; k < count; k += AttentionTiles.Rows)
                {
                    var first = Math.Max(0, k0 + k - q0);
                    var depth = Math.Min(block.Count, k0 + k + AttentionTiles.Rows - 1 - q0 + _window) - first;
                    if (depth <= 0)
                        continue;
                    var across = k * Queries + first;
                    AttentionTiles.Product(work.Weights + across, Queries, 1, work.Slopes + first * valueWidth, valueWidth,
                        work.ValueGradients + (row + k) * valueWidth, valueWidth, valueWidth / Lanes.Width, depth, add: true);
                    AttentionTiles.Product(work.ScoreGradients + across, Queries, 1, work.Queries + first * width, width,
                        work.KeyGradients + (row + k) * width, width, width / Lanes.Width, depth, add: true);
                }
                for (var q = 0; q < block.Count; q += AttentionTiles.Rows)
                {
                    var (first, end) = AttentionScores.KeyRange(q0 + q, AttentionTiles.Rows, k0, count, _window);
                    if (first < end)
                        AttentionTiles.Product(work.ScoreGradients + first * Queries + q, 1, Queries, keys + first * width, width,
                            work.QueryGradients + q * width, width, width / Lanes.Width, end - first, add: true);
                }
            }
        }
        if (tree.Chunks > 1)
            AttentionPanels.Store(work.QueryGradients, block.Count, width, (float)shape.Scale,
                Partial(tree, chunk, place.Local + block.First, head), (nint)shape.Heads * width);
        else
            AttentionPanels.Store(work.QueryGradients, block.Count, shape.HeadSize, (float)shape.Scale,
                QueryGradient(place.Start + block.First, head), gradients.Query.Stride);
    }

    /// <summary>Panels of the block's queries and of ∂loss/∂output, lengthwise and across, its log-sums in units of log₂ and its
    /// D.</summary>
    private void Start(int row, int count, int head, in Work work)
    {
        int size = shape.HeadSize, valueSize = shape.ValueSize, width = _width, valueWidth = _valueWidth;
        var outputs = work.QueryGradients;                              // free until the sums begin
        AttentionPanels.Load(arguments.Output.Data + row * arguments.Output.Stride + head * valueSize, arguments.Output.Stride, count,
            valueSize, 1, outputs, Lanes.Width);
        AttentionPanels.Load(gradients.Output.Data + row * gradients.Output.Stride + head * valueSize, gradients.Output.Stride, count,
            valueSize, 1, work.Slopes, Lanes.Width);
        AttentionPanels.Load(arguments.Query.Data + row * arguments.Query.Stride + head * size, arguments.Query.Stride, count, size,
            (float)shape.Scale, work.Queries, Lanes.Width);
        var logSum = (float*)arguments.LogSumExp + (nint)head * segments.Tokens + row;
        for (var q = 0; q < (count + Lanes.Width - 1) / Lanes.Width * Lanes.Width; q++)
        {
            work.LogSum[q] = q < count ? logSum[q] * AttentionScores.Log2E : float.PositiveInfinity;        // ∞: weight 0
            work.Dot[q] = q < count ? Dot(work.Slopes + q * valueWidth, outputs + q * valueWidth, valueWidth) : 0;
        }
        AttentionPanels.Transpose(work.Slopes, count, valueWidth, 1, work.SlopesAcross);
        AttentionPanels.Transpose(work.Queries, count, width, ScoreUnit, work.QueriesAcross);
        new Span<float>(work.QueryGradients, (count + AttentionTiles.Rows - 1) / AttentionTiles.Rows * AttentionTiles.Rows * width).Clear();
    }

    /// <summary>Of the scores between the product and the cap: parts of the cap, or log₂.</summary>
    private float ScoreUnit => shape.SoftCap > 0 ? (float)(1 / shape.SoftCap) : AttentionScores.Log2E;

    private static float Dot(float* a, float* b, int width)
    {
        var sum = Vector512<float>.Zero;
        for (var i = 0; i < width; i += Lanes.Width)
            sum = Vector512.FusedMultiplyAdd(Vector512.Load(a + i), Vector512.Load(b + i), sum);
        return Vector512.Sum(sum);
    }

    private float* Partial(in Tree tree, int chunk, int row, int head) =>
        (float*)partials + ((tree.Partial + (long)chunk * tree.QueryRows + row) * shape.Heads + head) * _width;

    private T* QueryGradient(int row, int head) => gradients.Query.Data + row * gradients.Query.Stride + head * shape.HeadSize;

    /// <summary>Adds the query gradients that the chunks of a tree gave, first chunk first.</summary>
    private readonly struct SumOfChunks(AttentionBackward<T> backward) : IParallelBody
    {
        public void Invoke(int index) => backward.Sum(index);
    }

    private void Sum(int index)
    {
        var block = segments.Blocks[index];
        var place = segments.Segments[block.Segment];
        var tree = segments.Trees[place.Tree];
        if (tree.Chunks == 1)
            return;
        var sum = Scratch.Get<float>(Scratch.Slot.Attention, _width);
        for (var head = 0; head < shape.Heads; head++)
            for (var q = 0; q < block.Count; q++)
            {
                new Span<float>(sum, _width).Clear();
                for (var chunk = 0; chunk < tree.Chunks; chunk++)
                {
                    if (!Sees(block, chunk * tree.ChunkRows, Math.Min(tree.Rows, (chunk + 1) * tree.ChunkRows)))
                        continue;
                    var part = Partial(tree, chunk, place.Local + block.First + q, head);
                    for (var i = 0; i < _width; i += Lanes.Width)
                        (Vector512.Load(sum + i) + Vector512.Load(part + i)).Store(sum + i);
                }
                AttentionPanels.Store(sum, 1, shape.HeadSize, 1, QueryGradient(place.Start + block.First + q, head),
                    gradients.Query.Stride);
            }
    }

    /// <summary>Where a piece of work keeps its panels: [rows of the chunk][width] for keys, [64][width] and, across, [width][64] for
    /// queries, [64 keys][64 queries] for scores; values and gradients of the output have a width of their own.</summary>
    private struct Work
    {
        public float* Keys, Values, KeyGradients, ValueGradients;
        public float* Queries, QueriesAcross, Slopes, SlopesAcross, QueryGradients;
        public float* Weights, ScoreGradients, LogSum, Dot;
        public int FirstRow, EndRow;
    }
}
