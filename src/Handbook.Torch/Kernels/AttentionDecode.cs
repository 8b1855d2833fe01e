using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>One sequence of a generation step: its newest tokens ask, its cache answers.</summary>
/// <param name="key">Cached keys, the new tokens' included; [Length, K, E].</param>
/// <param name="value">Cached values, the new tokens' included; [Length, K, E].</param>
/// <param name="length">Tokens in the cache.</param>
/// <param name="firstQuery">Row of the first new token in the query and output rows.</param>
/// <param name="queries">Number of new tokens, at least 1; they are the last of the cache, in order.</param>
public readonly struct CachedSequence<T>(TokenRows<T> key, TokenRows<T> value, int length, int firstQuery, int queries) where T : unmanaged
{
    public TokenRows<T> Key { get; } = key;

    public TokenRows<T> Value { get; } = value;

    public int Length { get; } = length;

    public int FirstQuery { get; } = firstQuery;

    public int Queries { get; } = queries;
}

/// <summary>Attention of few queries over long caches: reading the cache is the work, so each of its rows is read once for up to four queries.</summary>
internal readonly unsafe struct AttentionDecode<T>(CachedSequence<T>* sequences, int count, AttentionShape shape, TokenRows<T> query, TokenRows<T> output) : IParallelBody where T : unmanaged
{
    /// <summary>Queries (of any head of the group) that share one reading.</summary>
    private const int RowsAtOnce = 4;

    /// <summary>Values that stay in the first cache while their columns are summed one vector at a time.</summary>
    private const int ValuesAtOnce = 64;

    /// <summary>Rows between the one that is fetched into the cache and the one that is read; rows of one head lie too far apart for the processor to guess.</summary>
    private const int Ahead = 16;

    private readonly int _width = AttentionPanels.Width(shape.HeadSize);

    public void Run() => ThreadTeam.Run(count * shape.KeyHeads, this);

    public void Invoke(int index)
    {
        var sequence = sequences[index / shape.KeyHeads];
        var keyHead = index % shape.KeyHeads;
        var rows = sequence.Queries * shape.Group;
        var stride = (sequence.Length + Lanes.Width - 1) / Lanes.Width * Lanes.Width;
        var queries = Scratch.Get<float>(Scratch.Slot.Attention, RowsAtOnce * (2L * _width + stride));
        for (var row = 0; row < rows; row += RowsAtOnce)
            Rows(sequence, keyHead, row, Math.Min(RowsAtOnce, rows - row), queries, queries + RowsAtOnce * _width, queries + 2 * RowsAtOnce * _width, stride);
    }

    /// <param name="rows">1 … 4 rows from <paramref name="firstRow"/> on; row r is head r mod group of query r / group.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Rows(CachedSequence<T> sequence, int keyHead, int firstRow, int rows, float* queries, float* sums, float* scores, int stride)
    {
        int size = shape.HeadSize, group = shape.Group;
        var scale = (float)(shape.SoftCap > 0 ? shape.Scale / shape.SoftCap : shape.Scale * Math.Log2(Math.E));
        new Span<float>(queries, 2 * RowsAtOnce * _width).Clear();
        for (var r = 0; r < rows; r++)
        {
            var (token, head) = Math.DivRem(firstRow + r, group);
            AttentionPanels.Load(query.Data + (sequence.FirstQuery + token) * query.Stride + (keyHead * group + head) * size, query.Stride, 1, size, scale, queries + r * _width, 1);
        }
        var place = sequence.Length - sequence.Queries + firstRow / group;
        var last = sequence.Length - sequence.Queries + (firstRow + rows - 1) / group;
        var first = FirstSeen(place);
        var keys = sequence.Key.Data + first * sequence.Key.Stride + keyHead * size;
        if (rows == 1)
            DotOne(queries, keys, sequence.Key.Stride, last + 1 - first, scores);
        else
            DotFour(queries, keys, sequence.Key.Stride, last + 1 - first, scores, stride);
        for (var r = 0; r < rows; r++)
        {
            place = sequence.Length - sequence.Queries + (firstRow + r) / group;
            Softmax(scores + r * (nint)stride, FirstSeen(place) - first, place + 1 - first, last + 1 - first);
        }
        for (var r = Math.Max(rows, 2); r < RowsAtOnce; r++)
            new Span<float>(scores + r * (nint)stride, last + 1 - first).Clear();       // rows that nobody asked for
        AddValues(sequence.Value.Data + first * sequence.Value.Stride + keyHead * size, sequence.Value.Stride, last + 1 - first, rows, scores, stride, sums);
        for (var r = 0; r < rows; r++)
        {
            var (token, head) = Math.DivRem(firstRow + r, group);
            AttentionPanels.Store(sums + r * _width, 1, size, 1, output.Data + (sequence.FirstQuery + token) * output.Stride + (keyHead * group + head) * size, output.Stride);
        }
    }

    private int FirstSeen(int place) => shape.Window > 0 ? Math.Max(0, place - shape.Window + 1) : 0;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void DotOne(float* query, T* key, nint keyStride, int keys, float* scores)
    {
        var size = shape.HeadSize;
        for (var k = 0; k < keys; k++, key += keyStride)
        {
            var sum = Vector512<float>.Zero;
            for (var i = 0; i < size; i += Lanes.Width)
            {
                Fetch(key + Ahead * keyStride + i);
                sum = Vector512.FusedMultiplyAdd(Vector512.Load(query + i), Lanes.Load(key, i, size), sum);
            }
            scores[k] = Vector512.Sum(sum);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void DotFour(float* query, T* key, nint keyStride, int keys, float* scores, nint stride)
    {
        int size = shape.HeadSize, width = _width;
        for (var k = 0; k < keys; k++, key += keyStride)
        {
            Vector512<float> s0 = Vector512<float>.Zero, s1 = s0, s2 = s0, s3 = s0;
            for (var i = 0; i < size; i += Lanes.Width)
            {
                Fetch(key + Ahead * keyStride + i);
                var x = Lanes.Load(key, i, size);
                s0 = Vector512.FusedMultiplyAdd(Vector512.Load(query + i), x, s0);
                s1 = Vector512.FusedMultiplyAdd(Vector512.Load(query + width + i), x, s1);
                s2 = Vector512.FusedMultiplyAdd(Vector512.Load(query + 2 * width + i), x, s2);
                s3 = Vector512.FusedMultiplyAdd(Vector512.Load(query + 3 * width + i), x, s3);
            }
            scores[k] = Vector512.Sum(s0);
            scores[k + stride] = Vector512.Sum(s1);
            scores[k + 2 * stride] = Vector512.Sum(s2);
            scores[k + 3 * stride] = Vector512.Sum(s3);
        }
    }

    /// <summary>Scores → weights that sum to 1 over [from, to), 0 in the rest of [0, count).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Softmax(float* scores, int from, int to, int count)
    {
        var end = (count + Lanes.Width - 1) / Lanes.Width * Lanes.Width;
        var cap = Vector512.Create((float)shape.SoftCap * AttentionScores.Log2E);
        if (shape.SoftCap > 0)
            for (var k = from / Lanes.Width * Lanes.Width; k < to; k += Lanes.Width)
                (cap * VectorMath.Tanh(Vector512.Load(scores + k))).Store(scores + k);
        new Span<float>(scores, from).Fill(float.NegativeInfinity);
        new Span<float>(scores + to, end - to).Fill(float.NegativeInfinity);
        var maximum = Vector512.Create(-1e30f);
        for (var k = 0; k < end; k += Lanes.Width)
            maximum = Vector512.MaxNative(maximum, Vector512.Load(scores + k));
        var top = -1e30f;
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
        var factor = Vector512.Create(1 / Vector512.Sum(total));
        for (var k = 0; k < end; k += Lanes.Width)
            (Vector512.Load(scores + k) * factor).Store(scores + k);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddValues(T* value, nint valueStride, int keys, int rows, float* weights, nint stride, float* sums)
    {
        int size = shape.HeadSize, width = _width;
        for (var k0 = 0; k0 < keys; k0 += ValuesAtOnce, value += ValuesAtOnce * valueStride)
        {
            var end = Math.Min(ValuesAtOnce, keys - k0);
            for (var i = 0; i < size; i += Lanes.Width)
            {
                var sum = sums + i;
                var row = value + i;
                var weight = weights + k0;
                var s0 = Vector512.Load(sum);
                if (rows == 1)
                {
                    for (var k = 0; k < end; k++, row += valueStride)
                    {
                        Fetch(row + Ahead * valueStride);
                        s0 = Vector512.FusedMultiplyAdd(Vector512.Create(weight[k]), Lanes.Load(row, 0, size - i), s0);
                    }
                    s0.Store(sum);
                    continue;
                }
                Vector512<float> s1 = Vector512.Load(sum + width), s2 = Vector512.Load(sum + 2 * width), s3 = Vector512.Load(sum + 3 * width);
                for (var k = 0; k < end; k++, row += valueStride)
                {
                    Fetch(row + Ahead * valueStride);
                    var x = Lanes.Load(row, 0, size - i);
                    s0 = Vector512.FusedMultiplyAdd(Vector512.Create(weight[k]), x, s0);
                    s1 = Vector512.FusedMultiplyAdd(Vector512.Create(weight[k + stride]), x, s1);
                    s2 = Vector512.FusedMultiplyAdd(Vector512.Create(weight[k + 2 * stride]), x, s2);
                    s3 = Vector512.FusedMultiplyAdd(Vector512.Create(weight[k + 3 * stride]), x, s3);
                }
                s0.Store(sum);
                s1.Store(sum + width);
                s2.Store(sum + 2 * width);
                s3.Store(sum + 3 * width);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Fetch(T* address)
    {
        if (Sse.IsSupported)
            Sse.Prefetch0(address);
    }
}
