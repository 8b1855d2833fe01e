using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>Attention of few queries over long caches: reading the cache is the work, so each of its rows is read once for up to four
/// queries.</summary>
internal readonly unsafe struct AttentionDecode<T>(CachedSequence<T>* sequences, int count, AttentionShape shape, TokenRows<T> query,
    TokenRows<T> output, float* sinks) : IParallelBody where T : unmanaged
{
    /// <summary>Queries (of any head of the group) that share one reading.</summary>
    private const int RowsAtOnce = 4;

    /// <summary>Cached rows at a time: their values stay in the first cache while the columns are summed one vector after the
    /// other.</summary>
    private const int Block = 64;

    private readonly int _width = AttentionPanels.Width(shape.HeadSize), _valueWidth = AttentionPanels.Width(shape.ValueSize);

    public void Run() => ThreadTeam.Run(count * shape.KeyHeads, this);

    public void Invoke(int index)
    {
        var sequence = sequences[index / shape.KeyHeads];
        var keyHead = index % shape.KeyHeads;
        var rows = sequence.Queries * shape.Group;
        var stride = (sequence.Length + Lanes.Width - 1) / Lanes.Width * Lanes.Width;
        // Queries, sums, a block of rows in float32 where they are no whole vectors, scores.
        var (both, wider) = (_width + _valueWidth, Math.Max(_width, _valueWidth));
        var queries = Scratch.Get<float>(Scratch.Slot.Attention, RowsAtOnce * ((long)both + stride) + Block * wider);
        for (var row = 0; row < rows; row += RowsAtOnce)
            Rows(sequence, keyHead, row, Math.Min(RowsAtOnce, rows - row), queries, queries + RowsAtOnce * _width,
                queries + RowsAtOnce * both + Block * wider, stride);
    }

    /// <param name="rows">1 … 4 rows from <paramref name="firstRow"/> on; row r is head r mod group of query r / group.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Rows(CachedSequence<T> sequence, int keyHead, int firstRow, int rows, float* queries, float* sums, float* scores,
        int stride)
    {
        int size = shape.HeadSize, valueSize = shape.ValueSize, group = shape.Group;
        var scale = (float)(shape.SoftCap > 0 ? shape.Scale / shape.SoftCap : shape.Scale * Math.Log2(Math.E));
        new Span<float>(queries, RowsAtOnce * (_width + _valueWidth)).Clear();
        for (var r = 0; r < rows; r++)
        {
            var (token, head) = Math.DivRem(firstRow + r, group);
            AttentionPanels.Load(query.Data + (sequence.FirstQuery + token) * query.Stride + (keyHead * group + head) * size, query.Stride,
                1, size, scale, queries + r * _width, 1);
        }
        var place = sequence.Length - sequence.Queries + firstRow / group;
        var last = sequence.Length - sequence.Queries + (firstRow + rows - 1) / group;
        // Whole vectors of places: the order of the sums then does not depend on which rows come together.
        var first = shape.FirstSeen(place) / Lanes.Width * Lanes.Width;
        var count = last + 1 - first;
        var panel = sums + RowsAtOnce * _valueWidth;
        for (var k = 0; k < count;)
        {
            var keys = Part(sequence, first + k, count - k, out var segment, out var from);
            var key = segment.Key.At(from, keyHead);
            if (size == _width)
                Scores(queries, key, segment.Key.Stride, keys, rows, scores + k, stride);
            else
            {
                AttentionPanels.Load(key, segment.Key.Stride, keys, size, 1, panel, 1);
                Scores(queries, panel, _width, keys, rows, scores + k, stride);
            }
            k += keys;
        }
        for (var r = 0; r < rows; r++)
        {
            var (token, head) = Math.DivRem(firstRow + r, group);
            place = sequence.Length - sequence.Queries + token;
            Softmax(scores + r * (nint)stride, shape.FirstSeen(place) - first, place + 1 - first, count, keyHead * group + head);
        }
        for (var r = Math.Max(rows, 2); r < RowsAtOnce; r++)
            new Span<float>(scores + r * (nint)stride, count).Clear();       // rows that nobody asked for
        for (var k = 0; k < count;)
        {
            var values = Part(sequence, first + k, count - k, out var segment, out var from);
            var value = segment.Value.At(from, keyHead);
            if (valueSize == _valueWidth)
                AddValues(value, segment.Value.Stride, values, rows, scores + k, stride, sums);
            else
            {
                AttentionPanels.Load(value, segment.Value.Stride, values, valueSize, 1, panel, 1);
                AddValues(panel, _valueWidth, values, rows, scores + k, stride, sums);
            }
            k += values;
        }
        for (var r = 0; r < rows; r++)
        {
            var (token, head) = Math.DivRem(firstRow + r, group);
            AttentionPanels.Store(sums + r * _valueWidth, 1, valueSize, 1,
                output.Data + (sequence.FirstQuery + token) * output.Stride + (keyHead * group + head) * valueSize, output.Stride);
        }
    }

    /// <summary>The next places of the cache that lie behind one another in memory, at most <see cref="Block"/>.</summary>
    /// <returns>How many they are.</returns>
    private static int Part(in CachedSequence<T> sequence, int place, int most, out CachedSegment<T> segment, out int from)
    {
        segment = sequence.At(place, out from);
        return Math.Min(Math.Min(Block, most), segment.Length - from);
    }

    /// <summary>scores[r][k] = query r · key k.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Scores<TKey>(float* query, TKey* key, nint stride, int keys, int rows, float* scores, nint scoreStride) where TKey
        : unmanaged
    {
        nint width = _width;
        var k = 0;
        if (rows == 1)
            for (; k + 4 <= keys; k += 4, key += 4 * stride)
            {
                Vector512<float> s0 = Vector512<float>.Zero, s1 = s0, s2 = s0, s3 = s0;
                for (nint i = 0; i < width; i += Lanes.Width)
                {
                    var q = Vector512.Load(query + i);
                    s0 = Vector512.FusedMultiplyAdd(q, Lanes.Load(key + i), s0);
                    s1 = Vector512.FusedMultiplyAdd(q, Lanes.Load(key + stride + i), s1);
                    s2 = Vector512.FusedMultiplyAdd(q, Lanes.Load(key + 2 * stride + i), s2);
                    s3 = Vector512.FusedMultiplyAdd(q, Lanes.Load(key + 3 * stride + i), s3);
                }
                Lanes.Quarters(Lanes.InQuarters(s0, s1, s2, s3)).Store(scores + k);
            }
        for (; k < keys; k++, key += stride)
        {
            Vector512<float> s0 = Vector512<float>.Zero, s1 = s0, s2 = s0, s3 = s0;
            for (nint i = 0; i < width; i += Lanes.Width)
            {
                var x = Lanes.Load(key + i);
                s0 = Vector512.FusedMultiplyAdd(Vector512.Load(query + i), x, s0);
                s1 = Vector512.FusedMultiplyAdd(Vector512.Load(query + width + i), x, s1);
                s2 = Vector512.FusedMultiplyAdd(Vector512.Load(query + 2 * width + i), x, s2);
                s3 = Vector512.FusedMultiplyAdd(Vector512.Load(query + 3 * width + i), x, s3);
            }
            var sums = Lanes.Quarters(Lanes.InQuarters(s0, s1, s2, s3));
            scores[k] = sums[0];
            scores[k + scoreStride] = sums[1];
            scores[k + 2 * scoreStride] = sums[2];
            scores[k + 3 * scoreStride] = sums[3];
        }
    }

    /// <summary>Scores → weights that sum to 1 over [from, to), 0 in the rest of [0, count).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Softmax(float* scores, int from, int to, int count, int head)
    {
        var end = (count + Lanes.Width - 1) / Lanes.Width * Lanes.Width;
        if (shape.DistanceSlopes is { } slopes)
        {
            var slope = Vector512.Create(slopes[head] * (shape.SoftCap > 0 ? (float)(1 / shape.SoftCap) : AttentionScores.Log2E));
            var lane = Vector512.Create(0f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            for (var k = from / Lanes.Width * Lanes.Width; k < to; k += Lanes.Width)
                Vector512.FusedMultiplyAdd(slope, Vector512.Create((float)(k + 1 - to)) + lane, Vector512.Load(scores + k))
                    .Store(scores + k);
        }
        var cap = Vector512.Create((float)shape.SoftCap * AttentionScores.Log2E);
        if (shape.SoftCap > 0)
            for (var k = from / Lanes.Width * Lanes.Width; k < to; k += Lanes.Width)
                (cap * VectorMath.Tanh(Vector512.Load(scores + k))).Store(scores + k);
        new Span<float>(scores, from).Fill(float.NegativeInfinity);
        new Span<float>(scores + to, end - to).Fill(float.NegativeInfinity);
        var sink = sinks == null ? -1e30f : sinks[head] * AttentionScores.Log2E;
        var maximum = Vector512.Create(sink);
        for (var k = 0; k < end; k += Lanes.Width)
            maximum = Vector512.MaxNative(maximum, Vector512.Load(scores + k));
        var top = sink;
        for (var i = 0; i < Lanes.Width; i++)
            top = Math.Max(top, maximum[i]);
        maximum = Vector512.Create(top);
        var total = Vector512<float>.Zero;
        for (var k = 0; k < end; k += Lanes.Width)
        {
            var weight = AttentionScores.Exp2(Vector512.Load(scores + k) - maximum);
            weight.Store(scores + k);
            total += weight;
        }
        var rest = sinks == null ? Vector512<float>.Zero : AttentionScores.Exp2(Vector512.Create(sink) - maximum);
        var factor = Vector512.Create(1 / (Vector512.Sum(total) + rest[0]));
        for (var k = 0; k < end; k += Lanes.Width)
            (Vector512.Load(scores + k) * factor).Store(scores + k);
    }

    /// <summary>sums[r] += Σ weight[r][k] · value k, over at most <see cref="Block"/> values.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddValues<TValue>(TValue* value, nint stride, int values, int rows, float* weights, nint weightStride,
        float* sums) where TValue : unmanaged
    {
        nint width = _valueWidth;
        if (rows == 1)
        {
            for (nint i = 0; i < width; i += 4 * Lanes.Width)
                AddColumns(value + i, stride, values, weights, sums + i, width - i - Lanes.Width);
            return;
        }
        for (nint i = 0; i < width; i += Lanes.Width)
        {
            var sum = sums + i;
            var row = value + i;
            var s0 = Vector512.Load(sum);
            Vector512<float> s1 = Vector512.Load(sum + width), s2 = Vector512.Load(sum + 2 * width), s3 = Vector512.Load(sum + 3 * width);
            var weight = weights;
            for (var k = 0; k < values; k++, row += stride, weight++)
            {
                var x = Lanes.Load(row);
                s0 = Vector512.FusedMultiplyAdd(Vector512.Create(*weight), x, s0);
                s1 = Vector512.FusedMultiplyAdd(Vector512.Create(weight[weightStride]), x, s1);
                s2 = Vector512.FusedMultiplyAdd(Vector512.Create(weight[2 * weightStride]), x, s2);
                s3 = Vector512.FusedMultiplyAdd(Vector512.Create(weight[3 * weightStride]), x, s3);
            }
            s0.Store(sum);
            s1.Store(sum + width);
            s2.Store(sum + 2 * width);
            s3.Store(sum + 3 * width);
        }
    }

    /// <summary>The same for one row and four vectors of columns, so that no sum waits for itself; those behind the last repeat
    /// it.</summary>
    /// <param name="last">The last vector's first column.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddColumns<TValue>(TValue* value, nint stride, int values, float* weights, float* sums, nint last) where TValue
        : unmanaged
    {
        nint i1 = Math.Min(Lanes.Width, last), i2 = Math.Min(2 * Lanes.Width, last), i3 = Math.Min(3 * Lanes.Width, last);
        Vector512<float> s0 = Vector512.Load(sums), s1 = Vector512.Load(sums + i1), s2 = Vector512.Load(sums + i2),
            s3 = Vector512.Load(sums + i3);
        for (var k = 0; k < values; k++, value += stride)
        {
            var weight = Vector512.Create(weights[k]);
            s0 = Vector512.FusedMultiplyAdd(weight, Lanes.Load(value), s0);
            s1 = Vector512.FusedMultiplyAdd(weight, Lanes.Load(value + i1), s1);
            s2 = Vector512.FusedMultiplyAdd(weight, Lanes.Load(value + i2), s2);
            s3 = Vector512.FusedMultiplyAdd(weight, Lanes.Load(value + i3), s3);
        }
        s0.Store(sums);
        s1.Store(sums + i1);
        s2.Store(sums + i2);
        s3.Store(sums + i3);
    }
}
