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
    private readonly int _width = AttentionPanels.Width(shape.HeadSize), _valueWidth = AttentionPanels.Width(shape.ValueSize);
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
        int size = shape.HeadSize, valueSize = shape.ValueSize, width = _width, valueWidth = _valueWidth;
        var place = segments.Segments[blocks[0].Segment];
        var states = blocks.Length * heads;
        var perState = Queries * (width + Math.Max(width, valueWidth)) + 2 * Queries;
        var keys = Scratch.Get<float>(Scratch.Slot.Attention,
            (long)Keys * (width + valueWidth) + Keys * Queries + Queries + states * perState);
        var values = keys + Keys * width;
        var scores = values + Keys * valueWidth;
        var state = scores + Keys * Queries + Queries;
        for (var s = 0; s < states; s++)
            Start(new(state + s * perState, width, valueWidth), place.Start, blocks[s / heads], head + s % heads);

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
                AttentionPanels.Load(arguments.Value.Data + first * arguments.Value.Stride + keyHead * valueSize, arguments.Value.Stride,
                    count, valueSize, 1, values, AttentionTiles.Rows);
                for (var s = 0; s < states; s++)
                {
                    var block = blocks[s / heads];
                    var q0 = place.Offset + block.First;
                    var seen = Math.Min(count, q0 + block.Count - k0);
                    if (seen > 0 && k0 + seen > q0 - _window + 1)
                        Add(new(state + s * perState, width, valueWidth), keys, values, seen, k0, q0, block.Count, head + s % heads,
                            scores);
                }
            }
        }
        for (var s = 0; s < states; s++)
            Finish(new(state + s * perState, width, valueWidth), place.Start, blocks[s / heads], head + s % heads);
    }

    /// <summary>One block of keys for one block of queries of one head.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Add(State state, float* keys, float* values, int count, int k0, int q0, int queries, int head, float* scores)
    {
        int width = _width, valueWidth = _valueWidth;
        var vectors = (queries + Lanes.Width - 1) / Lanes.Width;
        var rescale = scores + Keys * Queries;
        AttentionScores.Products(keys, width, state.Queries, shape.HeadSize, count, k0, q0, vectors, _window, scores);
        if (shape.DistanceSlopes is { } slopes)
            AttentionScores.AddDistance(scores, slopes[head] * ScoreUnit, count, k0, q0, vectors, _window);
        if (shape.SoftCap > 0)
            AttentionScores.Cap(scores, (float)shape.SoftCap * AttentionScores.Log2E, count, k0, q0, vectors, _window);
        AttentionScores.Mask(scores, count, k0, q0, vectors, _window);
        if (AttentionScores.Softmax(scores, count, k0, q0, vectors, _window, state.Maximum, state.Sum, rescale))
            Scale(state.Output, rescale, queries, valueWidth);
        for (var q = 0; q < queries; q += AttentionTiles.Rows)
        {
            var (from, to) = AttentionScores.KeyRange(q0 + q, AttentionTiles.Rows, k0, count, _window);
            if (from < to)
                AttentionTiles.Product(scores + from * Queries + q, 1, Queries, values + from * valueWidth, valueWidth,
                    state.Output + q * valueWidth, valueWidth, valueWidth / Lanes.Width, to - from, add: true);
        }
    }

    /// <summary>Of the scores between the product and the cap: parts of the cap, or log₂.</summary>
    private float ScoreUnit => shape.SoftCap > 0 ? (float)(1 / shape.SoftCap) : AttentionScores.Log2E;

    private void Start(State state, int start, QueryBlock block, int head)
    {
        var scale = shape.SoftCap > 0 ? shape.Scale / shape.SoftCap : shape.Scale * Math.Log2(Math.E);
        var row = (nint)start + block.First;
        AttentionPanels.Load(arguments.Query.Data + row * arguments.Query.Stride + head * shape.HeadSize, arguments.Query.Stride,
            block.Count, shape.HeadSize, (float)scale, state.Output, Lanes.Width);
        AttentionPanels.Transpose(state.Output, block.Count, _width, 1, state.Queries);
        var rows = (block.Count + AttentionTiles.Rows - 1) / AttentionTiles.Rows * AttentionTiles.Rows;
        new Span<float>(state.Output, rows * _valueWidth).Clear();
        // The sink is there before the first key. Without one a finite number, so that a difference of maxima is never ∞ − ∞.
        new Span<float>(state.Maximum, Queries).Fill(arguments.Sinks == null ? -1e30f
            : ((float*)arguments.Sinks)[head] * AttentionScores.Log2E);
        new Span<float>(state.Sum, Queries).Fill(arguments.Sinks == null ? 0 : 1);
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
        Scale(state.Output, state.Sum, block.Count, _valueWidth);
        AttentionPanels.Store(state.Output, block.Count, shape.ValueSize, 1,
            arguments.Output.Data + row * arguments.Output.Stride + head * shape.ValueSize, arguments.Output.Stride);
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
    private readonly struct State(float* start, int width, int valueWidth)
    {
        /// <summary>Scaled queries, [width][64].</summary>
        public float* Queries => start;

        /// <summary>Σ weight · value, [64][value width]; before the first key the queries lengthwise.</summary>
        public float* Output => start + AttentionScores.Queries * width;

        /// <summary>Running maximum of the scores, [64].</summary>
        public float* Maximum => start + AttentionScores.Queries * (width + Math.Max(width, valueWidth));

        /// <summary>Running sum of the weights, [64].</summary>
        public float* Sum => Maximum + AttentionScores.Queries;
    }
}
