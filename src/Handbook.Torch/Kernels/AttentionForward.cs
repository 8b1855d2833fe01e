using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>Attention forward: blocks of 64 queries against the keys of their chain, block by block, with a running softmax.</summary>
/// <remarks>
/// <code>
/// m' = max(m, max s)    O = O · 2^(m − m') + Σ 2^(s − m') v    l = l · 2^(m − m') + Σ 2^(s − m')    output = O / l
/// </code>
/// Source: Dao 2023, arXiv:2307.08691, §3.1; scores are in units of log₂. A block of keys is read once for several states: heads that share
/// it, and neighbouring blocks of queries.
/// </remarks>
internal readonly unsafe struct AttentionForward<T>(SegmentTable segments, AttentionShape shape, AttentionArguments<T> arguments)
    : IParallelBody where T : unmanaged
{
    /// <summary>More states at once would push each other out of the cache.</summary>
    private const int StatesAtOnce = SegmentTable.SpanBlocks;

    private const int Keys = AttentionScores.Keys, Queries = AttentionScores.Queries;

    private readonly int _parts = (shape.Group + StatesAtOnce - 1) / StatesAtOnce;
    private readonly int _width = AttentionPanels.Width(shape.HeadSize);
    private readonly int _window = shape.Window > 0 ? Math.Min(shape.Window, AttentionScores.NoWindow) : AttentionScores.NoWindow;

    public void Run() => ThreadTeam.Run(segments.ForwardPieces.Length * shape.KeyHeads * _parts, this);

    public void Invoke(int index)
    {
        var perPiece = shape.KeyHeads * _parts;
        var range = segments.ForwardPieces[index / perPiece];
        var keyHead = index % perPiece / _parts;
        var part = index % _parts;
        var head = keyHead * shape.Group + part * StatesAtOnce;
        var heads = Math.Min(StatesAtOnce, shape.Group - part * StatesAtOnce);
        for (var first = range.Start.Value; first < range.End.Value;)
        {
            var end = first + 1;
            while (end < range.End.Value && (end - first + 1) * heads <= StatesAtOnce
                && segments.Blocks[end].Segment == segments.Blocks[first].Segment)
                end++;
            Span(segments.Blocks.AsSpan(first..end), keyHead, head, heads);
            first = end;
        }
    }

    /// <summary>Neighbouring blocks of queries of one segment, for some heads of one group.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Span(ReadOnlySpan<QueryBlock> blocks, int keyHead, int head, int heads)
    {
        int size = shape.HeadSize, width = _width;
        var place = segments.Segments[blocks[0].Segment];
        var states = blocks.Length * heads;
        var perState = 2 * Queries * width + 2 * Queries;
        var keys = Scratch.Get<float>(Scratch.Slot.Attention, 2L * Keys * width + Keys * Queries + Queries + states * perState);
        var values = keys + Keys * width;
        var scores = values + Keys * width;
        var state = scores + Keys * Queries + Queries;
        for (var s = 0; s < states; s++)
            Start(new(state + s * perState, width), place.Start, blocks[s / heads], head + s % heads);

        var lowest = Math.Max(0, place.Offset + blocks[0].First - _window + 1);
        var highest = place.Offset + blocks[^1].First + blocks[^1].Count;
        for (var link = 0; link < place.Depth; link++)
        {
            var above = segments.Keys[segments.Chains[place.Chain + link]];
            var end = Math.Min(above.Offset + above.Length, highest);
            for (var k0 = Math.Max(above.Offset, lowest); k0 < end; k0 += Keys)
            {
                var count = Math.Min(Keys, end - k0);
                var first = (nint)above.Start + (k0 - above.Offset);
                AttentionPanels.Load(arguments.Key.Data + first * arguments.Key.Stride + keyHead * size, arguments.Key.Stride, count, size,
                    1, keys, AttentionTiles.Rows);
                AttentionPanels.Load(arguments.Value.Data + first * arguments.Value.Stride + keyHead * size, arguments.Value.Stride, count,
                    size, 1, values, AttentionTiles.Rows);
                for (var s = 0; s < states; s++)
                {
                    var block = blocks[s / heads];
                    var q0 = place.Offset + block.First;
                    var seen = Math.Min(count, q0 + block.Count - k0);
                    if (seen > 0 && k0 + seen > q0 - _window + 1)
                        Add(new(state + s * perState, width), keys, values, seen, k0, q0, block.Count, scores);
                }
            }
        }
        for (var s = 0; s < states; s++)
            Finish(new(state + s * perState, width), place.Start, blocks[s / heads], head + s % heads);
    }

    /// <summary>One block of keys for one block of queries of one head.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Add(State state, float* keys, float* values, int count, int k0, int q0, int queries, float* scores)
    {
        var width = _width;
        var vectors = (queries + Lanes.Width - 1) / Lanes.Width;
        var rescale = scores + Keys * Queries;
        AttentionScores.Products(keys, width, state.Queries, shape.HeadSize, count, k0, q0, vectors, _window, scores);
        if (shape.SoftCap > 0)
            AttentionScores.Cap(scores, (float)shape.SoftCap * AttentionScores.Log2E, count, k0, q0, vectors, _window);
        AttentionScores.Mask(scores, count, k0, q0, vectors, _window);
        if (AttentionScores.Softmax(scores, count, k0, q0, vectors, _window, state.Maximum, state.Sum, rescale))
            Scale(state.Output, rescale, queries, width);
        for (var q = 0; q < queries; q += AttentionTiles.Rows)
        {
            var (from, to) = AttentionScores.KeyRange(q0 + q, AttentionTiles.Rows, k0, count, _window);
            if (from < to)
                AttentionTiles.Product(scores + from * Queries + q, 1, Queries, values + from * width, width, state.Output + q * width,
                    width, width / Lanes.Width, to - from, add: true);
        }
    }

    private void Start(State state, int start, QueryBlock block, int head)
    {
        var scale = shape.SoftCap > 0 ? shape.Scale / shape.SoftCap : shape.Scale * Math.Log2(Math.E);
        var row = (nint)start + block.First;
        AttentionPanels.Load(arguments.Query.Data + row * arguments.Query.Stride + head * shape.HeadSize, arguments.Query.Stride,
            block.Count, shape.HeadSize, (float)scale, state.Output, Lanes.Width);
        AttentionPanels.Transpose(state.Output, block.Count, _width, 1, state.Queries);
        new Span<float>(state.Output, (block.Count + AttentionTiles.Rows - 1) / AttentionTiles.Rows * AttentionTiles.Rows * _width).Clear();
        new Span<float>(state.Maximum, Queries).Fill(-1e30f);           // finite, so that a difference of maxima is never ∞ − ∞
        new Span<float>(state.Sum, Queries).Clear();
    }

    private void Finish(State state, int start, QueryBlock block, int head)
    {
        var row = (nint)start + block.First;
        for (var q = 0; q < block.Count; q += Lanes.Width)
        {
            var total = Vector512.Load(state.Sum + q);
            ((Vector512.Load(state.Maximum + q) + Vector512.Log2(total)) * Vector512.Create(0.693147181f)).Store(state.Maximum + q);
            // a query that sees none of these keys: output 0, log-sum-exp −∞
            Vector512.ConditionalSelect(Vector512.Equals(total, Vector512<float>.Zero), total, Vector512<float>.One / total)
                .Store(state.Sum + q);
        }
        Scale(state.Output, state.Sum, block.Count, _width);
        AttentionPanels.Store(state.Output, block.Count, shape.HeadSize, 1,
            arguments.Output.Data + row * arguments.Output.Stride + head * shape.HeadSize, arguments.Output.Stride);
        if (arguments.LogSumExp != null)
            new Span<float>(state.Maximum, block.Count)
                .CopyTo(new((float*)arguments.LogSumExp + (nint)head * segments.Tokens + row, block.Count));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Scale(float* rows, float* factors, int count, int width)
    {
        for (var i = 0; i < count; i++)
        {
            var factor = Vector512.Create(factors[i]);
            for (var j = 0; j < width; j += Lanes.Width, rows += Lanes.Width)
                (Vector512.Load(rows) * factor).Store(rows);
        }
    }

    /// <summary>What is kept for a block of queries of one head while keys pass by.</summary>
    private readonly struct State(float* start, int width)
    {
        /// <summary>Scaled queries, [width][64].</summary>
        public float* Queries => start;

        /// <summary>Σ weight · value, [64][width].</summary>
        public float* Output => start + AttentionScores.Queries * width;

        /// <summary>Running maximum of the scores, [64].</summary>
        public float* Maximum => start + 2 * AttentionScores.Queries * width;

        /// <summary>Running sum of the weights, [64].</summary>
        public float* Sum => Maximum + AttentionScores.Queries;
    }
}
