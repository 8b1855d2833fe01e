using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>What happens to a block of scores between the products: distance, cap, mask, softmax and its gradient.</summary>
/// <remarks>
/// Scores stand transposed, [key][64 queries], in units of log₂: the queries lie in the lanes, so that maxima and sums over keys need no
/// shuffles. Places are those in the chain: the block's queries are q0, q0+1, …, its keys k0, k0+1, …; query q sees key k if q − w &lt; k ≤
/// q.
/// </remarks>
internal static unsafe class AttentionScores
{
    /// <summary>Keys of one block.</summary>
    public const int Keys = 64;

    /// <summary>Queries of one block; also the stride of the scores.</summary>
    public const int Queries = SegmentTable.BlockSize;

    /// <summary>Stands for "no window", and keeps the sums of places within an int.</summary>
    public const int NoWindow = 1 << 30;

    public const float Log2E = 1.44269504f;

    /// <summary>First vector of queries with a lane that sees a key at place <paramref name="key"/> or later.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int FirstVector(int key, int q0) => key > q0 ? (key - q0) / Lanes.Width : 0;

    /// <summary>Behind the last vector of queries with a lane that sees a key at place <paramref name="key"/> or before.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int EndVector(int key, int q0, int vectors, int window) =>
        window == NoWindow ? vectors : Math.Clamp((key - q0 + window + Lanes.Width - 1) / Lanes.Width, 0, vectors);

    /// <summary>scores = keys · queriesᵀ for each tile of 8 keys and the vectors of queries that see one of them.</summary>
    /// <param name="keys">[key][width].</param>
    /// <param name="queries">[E][64].</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Products(float* keys, int width, float* queries, int size, int count, int k0, int q0, int vectors, int window,
        float* scores)
    {
        for (var k = 0; k < count; k += AttentionTiles.Rows)
        {
            var first = FirstVector(k0 + k, q0);
            var end = EndVector(k0 + k + AttentionTiles.Rows - 1, q0, vectors, window);
            if (first < end)
                AttentionTiles.Product(keys + k * width, width, 1, queries + first * Lanes.Width, Queries,
                    scores + k * Queries + first * Lanes.Width, Queries, end - first, size, add: false);
        }
    }

    /// <summary>score += slope · (key's place − query's place).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddDistance(float* scores, float slope, int count, int k0, int q0, int vectors, int window)
    {
        var factor = Vector512.Create(slope);
        var lane = Vector512.Create(0f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        for (var k = 0; k < count; k++)
        {
            var end = EndVector(k0 + k, q0, vectors, window);
            for (var v = FirstVector(k0 + k, q0); v < end; v++)
            {
                var at = scores + k * Queries + v * Lanes.Width;
                var distance = Vector512.Create((float)(k0 + k - q0 - v * Lanes.Width)) - lane;
                Vector512.FusedMultiplyAdd(factor, distance, Vector512.Load(at)).Store(at);
            }
        }
    }

    /// <summary>score ← cap · tanh(score), for scores that were divided by the cap.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Cap(float* scores, float cap, int count, int k0, int q0, int vectors, int window)
    {
        var factor = Vector512.Create(cap);
        for (var k = 0; k < count; k++)
        {
            var end = EndVector(k0 + k, q0, vectors, window);
            for (var v = FirstVector(k0 + k, q0); v < end; v++)
            {
                var at = scores + k * Queries + v * Lanes.Width;
                (factor * VectorMath.Tanh(Vector512.Load(at))).Store(at);
            }
        }
    }

    /// <summary>Puts −∞ where a query does not see a key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Mask(float* scores, int count, int k0, int q0, int vectors, int window)
    {
        if (k0 + count - 1 <= q0 && k0 > q0 + vectors * Lanes.Width - 1 - window)
            return;
        var lane = Vector512.Create(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        for (var k = 0; k < count; k++)
        {
            // all that Products made, for backward takes whole tiles of keys
            var tile = k0 + k / AttentionTiles.Rows * AttentionTiles.Rows;
            var end = EndVector(tile + AttentionTiles.Rows - 1, q0, vectors, window);
            for (var v = FirstVector(tile, q0); v < end; v++)
            {
                var from = k0 + k - q0 - v * Lanes.Width;           // lanes from … from+w−1 see the key
                if (from <= 0 && from + window >= Lanes.Width)
                    continue;
                var at = scores + k * Queries + v * Lanes.Width;
                var sees = Vector512.GreaterThanOrEqual(lane, Vector512.Create(from)) & Vector512.LessThan(lane,
                    Vector512.Create(from + window));
                Vector512.ConditionalSelect(sees.AsSingle(), Vector512.Load(at), Vector512.Create(float.NegativeInfinity)).Store(at);
            }
        }
    }

    /// <summary>One more block of keys for the running softmax: scores become weights 2^(score − maximum).</summary>
    /// <param name="maximum">Running maximum of each query; [64].</param>
    /// <param name="sum">Running sum of weights; [64].</param>
    /// <param name="rescale">Factor by which what was summed before has to be multiplied; [64].</param>
    /// <returns>Whether any factor differs from 1.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static bool Softmax(float* scores, int count, int k0, int q0, int vectors, int window, float* maximum, float* sum,
        float* rescale)
    {
        var changed = false;
        for (var v = 0; v < vectors; v++)
        {
            var column = scores + v * Lanes.Width;
            var (first, end) = KeyRange(q0 + v * Lanes.Width, Lanes.Width, k0, count, window);
            var before = Vector512.Load(maximum + v * Lanes.Width);
            Vector512<float> m0 = before, m1 = before, m2 = before, m3 = before;
            var k = first;
            for (; k + 4 <= end; k += 4)
            {
                m0 = Vector512.MaxNative(m0, Vector512.Load(column + k * Queries));
                m1 = Vector512.MaxNative(m1, Vector512.Load(column + (k + 1) * Queries));
                m2 = Vector512.MaxNative(m2, Vector512.Load(column + (k + 2) * Queries));
                m3 = Vector512.MaxNative(m3, Vector512.Load(column + (k + 3) * Queries));
            }
            for (; k < end; k++)
                m0 = Vector512.MaxNative(m0, Vector512.Load(column + k * Queries));
            m0 = Vector512.MaxNative(Vector512.MaxNative(m0, m1), Vector512.MaxNative(m2, m3));
            var factor = Exp2(before - m0);
            var total = Vector512.Load(sum + v * Lanes.Width) * factor;
            for (k = first; k < end; k++)
            {
                var weight = Exp2(Vector512.Load(column + k * Queries) - m0);
                weight.Store(column + k * Queries);
                total += weight;
            }
            m0.Store(maximum + v * Lanes.Width);
            total.Store(sum + v * Lanes.Width);
            factor.Store(rescale + v * Lanes.Width);
            changed |= !Vector512.EqualsAll(factor, Vector512<float>.One);
        }
        return changed;
    }

    /// <summary>Backward: scores become weights p = 2^(score − lse), and dp becomes ∂loss/∂score = p · (dp − D), times the slope of the
    /// cap.</summary>
    /// <param name="logSum">log₂ Σ 2^score of each query; [64].</param>
    /// <param name="dot">D = output · ∂loss/∂output of each query; [64].</param>
    /// <param name="cap">The cap in units of log₂, 0 for none.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Gradient(float* scores, float* dp, int count, int k0, int q0, int vectors, int window, float* logSum, float* dot,
        float cap)
    {
        var perCap = Vector512.Create(cap > 0 ? 1 / cap : 0);
        for (var v = 0; v < vectors; v++)
        {
            var (first, end) = KeyRange(q0 + v * Lanes.Width, Lanes.Width, k0, count, window);
            first = first / AttentionTiles.Rows * AttentionTiles.Rows;          // whole tiles, as in Mask
            end = Math.Min(count, (end + AttentionTiles.Rows - 1) / AttentionTiles.Rows * AttentionTiles.Rows);
            var log = Vector512.Load(logSum + v * Lanes.Width);
            var mean = Vector512.Load(dot + v * Lanes.Width);
            var score = scores + v * Lanes.Width + first * Queries;
            var slope = dp + v * Lanes.Width + first * Queries;
            for (var k = first; k < end; k++, score += Queries, slope += Queries)
            {
                var s = Vector512.Load(score);
                var p = Exp2(s - log);
                var d = p * (Vector512.Load(slope) - mean);
                if (cap > 0)
                {
                    var t = s * perCap;
                    // −∞ (masked) gives slope 0, not −∞: 0 · ∞ would be NaN.
                    d *= Vector512.MaxNative(Vector512.FusedMultiplyAdd(-t, t, Vector512<float>.One), Vector512<float>.Zero);
                }
                p.Store(score);
                d.Store(slope);
            }
        }
    }

    /// <summary>The keys of a block, as indices in it, that one of <paramref name="queries"/> queries from place <paramref name="query"/>
    /// on sees.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (int First, int End) KeyRange(int query, int queries, int k0, int count, int window) =>
        (Math.Max(0, query - window + 1 - k0), Math.Min(count, query + queries - k0));

    /// <summary>2ˣ for x ≤ 127, relative error below 2e-7; 0 below −104, where sums of weights no longer notice, so that no denormal number
    /// arises. NaN stays NaN.</summary>
    /// <remarks><code>x = n + f, |f| ≤ ½;   2ˣ = 2ⁿ · ( 1 + f·P(f) ),   P a weighted least-squares fit of degree 4</code></remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Exp2(Vector512<float> x)
    {
        var magic = Vector512.Create(12582912f);        // 1.5 · 2²³: adding it rounds to an integer, which then stands in the lowest bits
        var shifted = x + magic;
        var f = x - (shifted - magic);
        var p = Vector512.FusedMultiplyAdd(Vector512.Create(0.0013264727f), f, Vector512.Create(0.009671513f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(0.055507337f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(0.24022242f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(0.69314698f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512<float>.One);
        var power = (p.AsInt32() + (shifted.AsInt32() << 23)).AsSingle();
        return Vector512.ConditionalSelect(Vector512.LessThan(x, Vector512.Create(-104f)), Vector512<float>.Zero, power);
    }
}
