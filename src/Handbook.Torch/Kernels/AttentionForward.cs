using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>Attention forward: blocks of 64 queries against the keys of their chain, block by block, with a running softmax.</summary>
/// <remarks>
/// <code>
/// m' = max(m, max s)    O = O · 2^(m − m') + Σ 2^(s − m') v    l = l · 2^(m − m') + Σ 2^(s − m')    output = O / l
/// </code>
/// Source: Dao 2023, arXiv:2307.08691, §3.1; scores are in units of log₂.
/// </remarks>
internal readonly unsafe struct AttentionForward<T>(SegmentTable segments, AttentionShape shape, AttentionArguments<T> arguments) : IParallelBody where T : unmanaged
{
    /// <summary>Query heads of one group that share a pass over the keys; more would push each other out of the cache.</summary>
    private const int HeadsAtOnce = 4;

    private const int Keys = AttentionScores.Keys, Queries = AttentionScores.Queries;

    private readonly int _parts = (shape.Group + HeadsAtOnce - 1) / HeadsAtOnce;

    public void Run() => ThreadTeam.Run(segments.ForwardPieces.Length * shape.KeyHeads * _parts, this);

    public void Invoke(int index)
    {
        var perPiece = shape.KeyHeads * _parts;
        var range = segments.ForwardPieces[index / perPiece];
        var keyHead = index % perPiece / _parts;
        var part = index % _parts;
        var head = keyHead * shape.Group + part * HeadsAtOnce;
        var heads = Math.Min(HeadsAtOnce, shape.Group - part * HeadsAtOnce);
        for (var block = range.Start.Value; block < range.End.Value; block++)
            Block(segments.Blocks[block], keyHead, head, heads);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Block(QueryBlock block, int keyHead, int head, int heads)
    {
        int size = shape.HeadSize, width = AttentionPanels.Width(size);
        var place = segments.Segments[block.Segment];
        var row = place.Start + block.First;
        var q0 = place.Offset + block.First;
        var vectors = (block.Count + Lanes.Width - 1) / Lanes.Width;
        var window = shape.Window > 0 ? Math.Min(shape.Window, AttentionScores.NoWindow) : AttentionScores.NoWindow;
        var cap = (float)shape.SoftCap;
        var scale = (float)(shape.SoftCap > 0 ? shape.Scale / shape.SoftCap : shape.Scale * Math.Log2(Math.E));

        var perHead = 2 * Queries * width + 2 * Queries;                // queries, output, maximum, sum
        var keys = Scratch.Get<float>(Scratch.Slot.Attention, 2L * Keys * width + Keys * Queries + Queries + heads * perHead);
        var values = keys + Keys * width;
        var scores = values + Keys * width;
        var rescale = scores + Keys * Queries;
        var state = rescale + Queries;
        for (var h = 0; h < heads; h++)
            Start(state + h * perHead, row, block.Count, head + h, scale);

        var lowest = Math.Max(0, q0 - window + 1);
        for (var link = 0; link < place.Depth; link++)
        {
            var above = segments.Segments[segments.Chains[place.Chain + link]];
            var end = Math.Min(above.Offset + above.Length, q0 + block.Count);
            for (var k0 = Math.Max(above.Offset, lowest); k0 < end; k0 += Keys)
            {
                var count = Math.Min(Keys, end - k0);
                var first = (nint)above.Start + (k0 - above.Offset);
                AttentionPanels.Load(arguments.Key.Data + first * arguments.Key.Stride + keyHead * size, arguments.Key.Stride, count, size, 1, keys);
                AttentionPanels.Load(arguments.Value.Data + first * arguments.Value.Stride + keyHead * size, arguments.Value.Stride, count, size, 1, values);
                for (var h = 0; h < heads; h++)
                {
                    var queries = state + h * perHead;
                    var output = queries + Queries * width;
                    var maximum = output + Queries * width;
                    AttentionScores.Products(keys, width, queries, size, count, k0, q0, vectors, window, scores);
                    if (cap > 0)
                        AttentionScores.Cap(scores, cap * AttentionScores.Log2E, count, k0, q0, vectors, window);
                    AttentionScores.Mask(scores, count, k0, q0, vectors, window);
                    if (AttentionScores.Softmax(scores, count, k0, q0, vectors, window, maximum, maximum + Queries, rescale))
                        Scale(output, rescale, block.Count, width);
                    for (var q = 0; q < block.Count; q += AttentionTiles.Rows)
                    {
                        var (from, to) = AttentionScores.KeyRange(q0 + q, AttentionTiles.Rows, k0, count, window);
                        if (from < to)
                            AttentionTiles.Product(scores + from * Queries + q, 1, Queries, values + from * width, width, output + q * width, width, width / Lanes.Width, to - from, add: true);
                    }
                }
            }
        }
        for (var h = 0; h < heads; h++)
            Finish(state + h * perHead, row, block.Count, head + h);
    }

    private void Start(float* state, int row, int count, int head, float scale)
    {
        int size = shape.HeadSize, width = AttentionPanels.Width(size);
        var output = state + Queries * width;
        var maximum = output + Queries * width;
        AttentionPanels.Load(arguments.Query.Data + row * arguments.Query.Stride + head * size, arguments.Query.Stride, count, size, scale, output);
        AttentionPanels.Transpose(output, count, width, 1, state);
        new Span<float>(output, Queries * width).Clear();
        new Span<float>(maximum, Queries).Fill(-1e30f);                 // finite, so that a difference of maxima is never ∞ − ∞
        new Span<float>(maximum + Queries, Queries).Clear();
    }

    private void Finish(float* state, int row, int count, int head)
    {
        int size = shape.HeadSize, width = AttentionPanels.Width(size);
        var output = state + Queries * width;
        var maximum = output + Queries * width;
        var sum = maximum + Queries;
        for (var q = 0; q < count; q += Lanes.Width)
        {
            var total = Vector512.Load(sum + q);
            ((Vector512.Load(maximum + q) + Vector512.Log2(total)) * Vector512.Create(0.693147181f)).Store(maximum + q);
            (Vector512<float>.One / total).Store(sum + q);
        }
        Scale(output, sum, count, width);
        AttentionPanels.Store(output, count, size, 1, arguments.Output.Data + row * arguments.Output.Stride + head * size, arguments.Output.Stride);
        if (arguments.LogSumExp != null)
            new Span<float>(maximum, count).CopyTo(new((float*)arguments.LogSumExp + (nint)head * segments.Tokens + row, count));
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
}
